"""Row 17: 500 clients that never read, on an endless upstream."""

from __future__ import annotations

import asyncio
import json
import socket
import time

from check import Check
from driver import CHAT, MODEL, Client
from server import World

TITLE = "clients that never read, on an endless upstream"
QUICK = False
PLANTS = {"they-read": "the clients read after all, so nobody is cut"}
CUT_SECONDS = 35.0
EACH_BYTES = 256 << 10


def open_one(world: World, key: str) -> socket.socket:
    """Sends the request; from then on nobody reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect((world.target.host, world.target.port))
    body = json.dumps(
        {
            "model": MODEL,
            "stream": True,
            "messages": [],
            "max_tokens": 100_000,
            "torture": {"mode": "endless", "deaf": True, "pad": 3000, "gap_ms": 20},
        }
    )
    sock.sendall(
        (
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        ).encode()
    )
    sock.setblocking(False)
    return sock


async def wait(check: Check, world: World, clients: int) -> tuple[int, float]:
    """Watches memory and the upstream until everyone is cut; returns the most memory and the time."""
    warm = Client(world.target, *world.keys[0])
    for mode in ("ok", "no_usage", "no_usage"):
        # The tokenizer, which counts what nobody reports, is loaded once for all.
        await warm.chat({"mode": mode}, stream=True)
    warm.close()
    before = world.memory()
    sockets = [open_one(world, world.keys[n % len(world.keys)][0]) for n in range(clients)]
    began, most, busy = time.monotonic(), 0, clients
    while time.monotonic() - began < CUT_SECONDS and (busy or time.monotonic() - began < 5):
        await asyncio.sleep(0.25)
        most = max(most, world.memory() - before)
        busy = (await world.upstream.stats())["busy"]
        if check.planted("they-read"):
            for sock in sockets:
                try:
                    while sock.recv(65536):
                        pass
                except OSError:
                    pass
    took = time.monotonic() - began
    check.expect(busy == 0, f"{busy} of {clients} were not cut in {CUT_SECONDS:.0f} s")
    for sock in sockets:
        sock.close()
    return most, took


def run(check: Check) -> None:
    """Bounded memory, a cut in time, and a charge for what was delivered."""
    clients = check.count(500, 50)
    with check.world() as world:
        world.prepare(accounts=5, keys=4)
        world.start()
        most, took = asyncio.run(wait(check, world, clients))
        check.expect(most <= clients * EACH_BYTES, f"{most // clients >> 10} KiB of memory each")
        check.audit(world)
    check.times = check.faults = clients
    check.tried = f"{most // clients >> 10} KiB each, all cut at {took:.0f} s"
