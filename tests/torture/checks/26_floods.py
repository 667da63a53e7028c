"""Row 26: floods before admission: bodies, answers, forged secrets, guessed names. Memory keeps to its budget, and
the owner of the key and the admin get in every time."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

from check import Check
from driver import CHAT, MODEL, Client
from forged import wrong_secret
from server import World

TITLE = "floods before admission"
QUICK = False
PLANTS = {
    "no-budget": "the server is given budgets of 4 GiB, and held to 128 MiB",
    "lost-key": "the owner comes with a key that was revoked",
    "mistyped": "the admin comes with a wrong password",
}
MIB = 1 << 20
BUDGET_MIB = 128
# The sockets' buffers, the connections themselves, what an allocator keeps.
SLACK = 64 * MIB
BODY = 31 * MIB
ANSWER = 60 * MIB
PASSWORD = "correct horse battery staple"
FLOOD_SECONDS, QUICK_SECONDS = 12, 5


class Peak:
    """The most memory that the server has while it is watched, above what it had."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.before = self.most = world.memory()

    @property
    def more(self) -> int:
        """In bytes."""
        return self.most - self.before

    @contextlib.contextmanager
    def watched(self) -> Iterator[Peak]:
        """Looks every few milliseconds, on a thread of its own."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.005):
                self.most = max(self.most, self.world.memory())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()


def post(world: World, key: str, body: bytes, announced: int) -> socket.socket:
    """Sends a request, or the beginning of one; nothing is read."""
    sock = socket.create_connection((world.target.host, world.target.port))
    sock.settimeout(20)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    # Who is refused before the end is cut off in the middle.
    with contextlib.suppress(OSError):
        sock.sendall(f"{head}content-length: {announced}\r\n\r\n".encode() + body)
    return sock


def bodies(world: World, key: str, number: int, unfinished: bool) -> int:
    """So many large bodies of one key at once; the most memory that they took."""
    text = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "word " * (BODY // 5)}]}).encode()
    with Peak(world).watched() as peak:
        sockets: list[socket.socket] = []

        def one() -> None:
            sockets.append(post(world, key, text, len(text) + (1000 if unfinished else 0)))

        threads = [threading.Thread(target=one) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if unfinished:
            time.sleep(2)
        for sock in sockets:
            if not unfinished:
                with contextlib.suppress(OSError):
                    sock.recv(1024)
            sock.close()
    settle(world)
    return peak.more


def answers(check: Check, world: World, number: int, mode: str) -> int:
    """So many large answers that their clients leave unread; the most memory that they took."""
    script = {"events": 1, "pad": ANSWER, "mode": mode}
    messages = [{"role": "user", "content": "hello"}]
    body = json.dumps({"model": MODEL, "messages": messages, "max_tokens": 100_000, "torture": script}).encode()
    with Peak(world).watched() as peak:
        # No account can take it all: they come from several.
        sockets = [post(world, world.keys[n % len(world.keys)][0], body, len(body)) for n in range(number)]
        statuses = collections.Counter(status(sock) for sock in sockets)
        for sock in sockets:
            sock.close()
    # One finds room at the least; what finds none has waited, and may come again.
    check.expect(statuses["200"] and set(statuses) <= {"200", "503"}, f"large answers: {dict(statuses)}")
    settle(world)
    return peak.more


def status(sock: socket.socket) -> str:
    """What a request is answered, of which nothing more is read."""
    sock.settimeout(60)
    with contextlib.suppress(OSError):
        return sock.recv(12)[9:].decode()
    return ""


def settle(world: World) -> None:
    """Gives the allocator its time to give back."""
    end, last = time.monotonic() + 15, world.memory()
    while time.monotonic() < end:
        time.sleep(1.5)
        now = world.memory()
        if now > last - 2 * MIB:
            return
        last = now


async def warm(world: World) -> None:
    """The tokenizer, which counts what nobody reports, is loaded once for all."""
    client = Client(world.target, *world.keys[0])
    for mode in ("ok", "no_usage"):
        await client.chat({"mode": mode})
    client.close()


async def asked(world: World, source: str, path: str, body: bytes) -> int:
    """The status of one POST from an address of this machine."""
    reader, writer = await asyncio.open_connection(world.target.host, world.target.port, local_addr=(source, 0))
    try:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
        line = await asyncio.wait_for(reader.readline(), 30)
        return int(line.split()[1])
    finally:
        writer.close()


async def forge(check: Check, world: World, until: float, seen: collections.Counter[int]) -> None:
    """500 wrong secrets a second for the owner's key."""

    async def one() -> None:
        client, due = Client(world.target), time.monotonic()
        while due < until:
            due += 8 / 500
            client.key = wrong_secret(world.keys[0][0], check.rng)
            seen[(await client.request("GET", "/v1/payments/balance")).status] += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        client.close()

    await asyncio.gather(*(one() for _ in range(8)))


async def guess(check: Check, world: World, until: float, seen: collections.Counter[int]) -> None:
    """The admin's name with wrong passwords, from many addresses, and from each again and again."""
    sources = [f"127.{check.rng.randrange(1, 255)}.{check.rng.randrange(256)}.7" for _ in range(20)]

    async def one(source: str) -> None:
        while time.monotonic() < until:
            body = json.dumps({"name": "guarded", "password": f"guess {check.rng.random()}"}).encode()
            with contextlib.suppress(OSError, TimeoutError, IndexError):
                seen[await asked(world, source, "/v1/admin/session", body)] += 1
            await asyncio.sleep(0.1)

    await asyncio.gather(*(one(source) for source in sources))


async def get_in(check: Check, world: World, until: float) -> tuple[list[int], list[int]]:
    """What the owner of the key and the admin are answered, in the midst of it."""
    key = world.keys[-1][0] if check.planted("lost-key") else world.keys[0][0]
    password = "wrong" if check.planted("mistyped") else PASSWORD
    body = json.dumps({"name": "guarded", "password": password}).encode()

    async def owner() -> list[int]:
        client, statuses = Client(world.target, key), []
        while time.monotonic() < until:
            statuses.append((await client.chat({"events": 1})).status)
            await asyncio.sleep(0.1)
        client.close()
        return statuses

    async def admin() -> list[int]:
        statuses = []
        while time.monotonic() < until:
            statuses.append(await asked(world, "127.0.0.1", "/v1/admin/session", body))
            await asyncio.sleep(0.5)
        return statuses

    both = await asyncio.gather(owner(), admin())
    return both[0], both[1]


async def doors(check: Check, world: World) -> str:
    """Forged secrets and guessed names at once; who belongs there gets in."""
    until = time.monotonic() + check.count(FLOOD_SECONDS, QUICK_SECONDS)
    forged: collections.Counter[int] = collections.Counter()
    guessed: collections.Counter[int] = collections.Counter()
    beside = asyncio.gather(forge(check, world, until, forged), guess(check, world, until, guessed))
    owner, admin = await get_in(check, world, until)
    await beside
    check.expect(owner and all(status == 200 for status in owner), f"the owner of the key was answered {owner}")
    check.expect(admin and all(200 <= status < 300 for status in admin), f"the admin was answered {admin}")
    check.expect(set(forged) <= {401}, f"forged secrets were answered {dict(forged)}")
    check.expect(not any(status < 400 for status in guessed), f"guesses were answered {dict(guessed)}")
    check.times += sum(forged.values()) + sum(guessed.values())
    return f"in: owner {owner.count(200)}/{len(owner)}, admin {sum(s < 300 for s in admin)}/{len(admin)}"


def run(check: Check) -> None:
    """One flood after the other, in one server."""
    budget = "4096" if check.planted("no-budget") else str(BUDGET_MIB)
    env = {"COORDINATOR_BODY_BUDGET_MIB": budget, "COORDINATOR_ANSWER_BUDGET_MIB": budget}
    with check.world() as world:
        world.prepare(accounts=4, keys=1)
        world.cli_in(PASSWORD + "\n", "admin", "create", "guarded", "--password-stdin")
        _, [(poor_key, _)] = world.add_account("0")
        world.keys.pop()
        world.start(env=env)
        asyncio.run(warm(world))
        most = {
            "unfinished of $0": bodies(world, poor_key, 12, unfinished=True),
            "whole of $0": bodies(world, poor_key, 4, unfinished=False),
            "unfinished, paid": bodies(world, world.keys[0][0], 12, unfinished=True),
            "answers": answers(check, world, check.count(8, 6), "ok"),
            "answers, no usage": answers(check, world, check.count(8, 6), "no_usage"),
        }
        for what, more in most.items():
            check.expect(more <= BUDGET_MIB * MIB + SLACK, f"{what}: {more // MIB} MiB more")
        if check.planted("lost-key"):
            world.cli("key", "revoke", world.keys[-1][1])
        said = asyncio.run(doors(check, world))
        check.audit(world)
    check.times += 44
    check.faults = check.times
    check.tried = ", ".join(f"{more // MIB}" for more in most.values()) + f" MiB; {said}"
