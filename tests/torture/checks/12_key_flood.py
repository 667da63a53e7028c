"""Row 12: a flood of a known key id with wrong secrets, and of junk keys; valid traffic beside it."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import time
from collections.abc import Callable

from check import Check
from driver import Client, percentile
from forged import base32, wrong_secret
from server import World

TITLE = "500/s wrong secrets + 500/s junk keys"
QUICK = False
PLANTS = {"stalls": "the server is stopped for 100 ms three times a second"}


async def flood(
    world: World, make: Callable[[], str], per_second: int, seconds: float, seen: collections.Counter[int]
) -> None:
    """So many requests a second, each with a key of its own, on eight connections."""
    deadline = time.monotonic() + seconds

    async def one() -> None:
        client = Client(world.target)
        due = time.monotonic()
        while due < deadline:
            due += 8 / per_second
            client.key = make()
            answer = await client.request("GET", "/v1/payments/balance")
            seen[answer.status] += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        client.close()

    await asyncio.gather(*(one() for _ in range(8)))


async def valid(world: World, seconds: float) -> list[float]:
    """Latencies of four polite clients."""
    deadline, latencies = time.monotonic() + seconds, []

    async def one(number: int) -> None:
        client = Client(world.target, *world.keys[number])
        while time.monotonic() < deadline:
            answer = await client.chat({"events": 3})
            latencies.append(answer.seconds if answer.ok else 60.0)
            await asyncio.sleep(0.04)
        client.close()

    await asyncio.gather(*(one(n) for n in range(4)))
    return latencies


async def stalls(world: World, seconds: float) -> None:
    """The plant."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        os.kill(world.pid, signal.SIGSTOP)
        await asyncio.sleep(0.1)
        os.kill(world.pid, signal.SIGCONT)
        await asyncio.sleep(0.23)


async def both(check: Check, world: World) -> collections.Counter[int]:
    """The baseline, then the flood."""
    seconds = check.count(15, 4)
    base = percentile(await valid(world, seconds), 0.99)
    seen: collections.Counter[int] = collections.Counter()
    known = world.keys[5][0]
    tasks = [
        flood(world, lambda: wrong_secret(known, check.rng), 500, seconds, seen),
        flood(world, lambda: "sk-db-" + base32(check.rng.getrandbits(300), 60), 500, seconds, seen),
    ]
    if check.planted("stalls"):
        tasks.append(stalls(world, seconds))
    beside = asyncio.gather(*tasks)
    latencies = await valid(world, seconds)
    await beside
    under = percentile(latencies, 0.99)
    check.expect(under <= max(2 * base, 0.05), f"p99 of valid traffic {base * 1000:.0f} → {under * 1000:.0f} ms")
    check.expect(set(seen) <= {401, 429}, f"the flood saw {dict(seen)}")
    check.expect(sum(seen.values()) >= 600 * seconds, f"the flood was only {sum(seen.values())} requests")
    check.tried = f"p99 {base * 1000:.0f} → {under * 1000:.0f} ms; {dict(seen)}"
    return seen


def run(check: Check) -> None:
    """The key under attack belongs to a paying account, which must not be locked out for it."""
    with check.world() as world:
        world.prepare(accounts=3, keys=2)
        world.start()
        seen = asyncio.run(both(check, world))
        check.audit(world)
    check.times = check.faults = sum(seen.values())
