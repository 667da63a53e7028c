"""Row 11: slow clients: slow headers, slow bodies, slow readers; and valid traffic in the midst of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import socket
import time

from check import Check
from driver import CHAT, MODEL, Client, Record, Target, load
from server import World

TITLE = "slow clients: headers, bodies, readers"
QUICK = False
PLANTS = {"direct": "the slow clients are at the upstream, which has no time limits"}
GONE_SECONDS = 35.0
WATCH_SECONDS = GONE_SECONDS + 10
PACE_SECONDS = 4.0


async def slow(target: Target, kind: str, key: str, held: set[int]) -> float | None:
    """One slow client; returns after how many seconds it was thrown out, or None."""
    sock = socket.socket()
    sock.setblocking(False)
    if kind == "reader":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (target.host, target.port))
    began = time.monotonic()
    try:
        await loop.sock_sendall(sock, opening(kind, key))
        if kind == "reader":
            # It is slow from its first byte on.
            await loop.sock_recv(sock, 16)
            began = time.monotonic()
            await asyncio.sleep(2.0)
        while time.monotonic() - began < WATCH_SECONDS:
            if kind == "reader":
                await asyncio.sleep(1.0)
                if sock.getsockname()[1] not in held:
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(sock, 16), 1.0)
                continue
            await loop.sock_sendall(sock, b"x" if kind == "body" else b"x-slow: 1\r\n")
            with contextlib.suppress(TimeoutError):
                if not await asyncio.wait_for(loop.sock_recv(sock, 4096), PACE_SECONDS):
                    break
        else:
            return None
    except OSError:
        pass
    finally:
        sock.close()
    return time.monotonic() - began


def server_side(port: int) -> set[int]:
    """The clients' ports of the connections that a server on this port still holds for established.

    A client that has closed its window does not take the reset: only the server's side tells.
    """
    found = set()
    for line in pathlib.Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == "01" and int(local.rpartition(":")[2], 16) == port:
            found.add(int(remote.rpartition(":")[2], 16))
    return found


async def keep_watch(port: int, held: set[int]) -> None:
    """Keeps `held` up to date."""
    while True:
        now = server_side(port)
        held.clear()
        held.update(now)
        await asyncio.sleep(0.5)


def opening(kind: str, key: str) -> bytes:
    """What a slow client of this kind sends at first."""
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    if kind != "reader":
        return head.encode() + (b"content-length: 9999\r\n\r\n" if kind == "body" else b"")
    script = {"mode": "endless", "deaf": True, "pad": 16_000, "gap_ms": 20}
    body = json.dumps({"model": MODEL, "stream": True, "messages": [], "max_tokens": 100_000, "torture": script})
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


async def siege(check: Check, world: World, clients: int) -> tuple[Record, int, float]:
    """All the slow ones, with valid traffic from before until after."""
    target = Target(port=world.upstream.port) if check.planted("direct") else world.target
    stop, valid = asyncio.Event(), Record()
    traffic = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=8, record=valid, stop=stop, seconds=300, step=honest)
    )
    gate = asyncio.Semaphore(100)

    async def one(number: int) -> float | None:
        kind = "reader" if number % 20 == 0 else "body" if number % 2 else "head"
        async with gate:
            await asyncio.sleep(0.05)
        return await slow(target, kind, world.keys[number % len(world.keys)][0], held)

    held: set[int] = set()
    watch = asyncio.ensure_future(keep_watch(target.port, held))
    gone = await asyncio.gather(*(one(n) for n in range(clients)))
    watch.cancel()
    stop.set()
    await traffic
    late = sum(took is None or took > GONE_SECONDS for took in gone)
    return valid, late, max((took for took in gone if took is not None), default=0.0)


async def honest(client: Client, rng: object) -> object:
    """Valid traffic, at a modest pace."""
    await asyncio.sleep(0.02)
    return await client.chat({"events": 3})


def run(check: Check) -> None:
    """The slow are gone in time, the others are served."""
    clients = check.count(5000, 300)
    with check.world() as world:
        world.prepare(accounts=4, keys=4)
        world.start()
        valid, late, slowest = asyncio.run(siege(check, world, clients))
        check.expect(not late, f"{late} of {clients} slow clients were there after {GONE_SECONDS:.0f} s")
        failed = len(valid) - len(valid.answers)
        check.expect(
            valid.answers and failed <= len(valid) / 1000,
            f"{failed} of {len(valid)} valid requests failed {valid.refused}",
        )
        check.audit(world)
    check.times = check.faults = clients
    check.tried = f"{len(valid.answers)} of {len(valid)} valid served; last gone at {slowest:.0f} s"
