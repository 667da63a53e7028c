"""Row 4: a full disk (8 MiB tmpfs), then ENOSPC on one write in twenty."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import subprocess
import time
from collections.abc import Iterator

from check import Check, Skip
from driver import Answer, Client, Record, load, mixed_step
from server import World, need

TITLE = "disk full (8 MiB tmpfs), then ENOSPC on 5 % of writes"
QUICK = False
PLANTS = {"stays-full": "no room is made, so nothing can recover"}
RECOVER_SECONDS = 10.0
ENOSPC = (
    "strace",
    "-f",
    "-qq",
    "--seccomp-bpf",
    "-o",
    "/dev/null",
    "-e",
    "trace=pwrite64",
    "-e",
    "inject=pwrite64:error=ENOSPC:when=20+20",
)


@contextlib.contextmanager
def small_disk(check: Check) -> Iterator[str]:
    """An 8 MiB file system in memory."""
    at = check.scratch / "disk"
    at.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", at], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Skip(f"mount: {done.stderr.strip()[-100:]}")
    try:
        yield str(at)
    finally:
        subprocess.run(["umount", "-l", at], check=False, capture_output=True)


async def fill(check: Check, world: World, disk: str, record: Record) -> tuple[int, float]:
    """Load until the disk is full and refuses; then room is made, and it serves again."""
    statuses: collections.Counter[int] = collections.Counter()

    async def step(client: Client, rng: random.Random) -> Answer:
        answer = await mixed_step(client, rng)
        statuses[answer.status] += 1
        if answer.status >= 400:
            check.expect(answer.status == 503, f"{answer.status} on a full disk: {answer.body[:120]!r}")
            check.expect("retry-after" in answer.headers, "503 without Retry-After")
            await asyncio.sleep(0.02)
        return answer

    stop = asyncio.Event()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=32, record=record, stop=stop, seconds=240, step=step)
    )
    end = time.monotonic() + 150
    while statuses[503] < 100 and time.monotonic() < end and world.running():
        await asyncio.sleep(0.1)
    check.expect(statuses[503] >= 100, f"the disk never became full: {dict(statuses)}")
    client = Client(world.target)
    ready = await client.request("GET", "/readyz")
    check.expect(ready.status == 503, f"/readyz is {ready.status} on a full disk")
    if not check.planted("stays-full"):
        subprocess.run(["mount", "-o", "remount,size=256m", disk], check=True)
    began, served = time.monotonic(), statuses[200]
    while statuses[200] < served + 50 and time.monotonic() < began + RECOVER_SECONDS:
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    check.expect(statuses[200] >= served + 50, f"no recovery in {took:.0f} s after room was made: {dict(statuses)}")
    ready = await client.request("GET", "/readyz")
    check.expect(ready.status == 200, f"/readyz is {ready.status} after room was made")
    client.close()
    stop.set()
    await running
    check.expect(world.running(), f"the server ended: {world.log_tail(200)}")
    return statuses[503], took


def run(check: Check) -> None:
    """First the full disk, then the flaky one."""
    if os.geteuid() != 0:
        raise Skip("needs root to mount a tmpfs")
    need("strace")
    record, flaky = Record(), Record()
    with small_disk(check) as disk:
        with check.world("full", data=check.scratch / "disk" / "data") as world:
            world.prepare(accounts=4, keys=4)
            world.start()
            refused, took = asyncio.run(fill(check, world, disk, record))
            check.audit(world, record, where="full")
            world.kill(15)
    with check.world("flaky") as world:
        world.prepare(accounts=4, keys=4)
        world.start(wrapper=ENOSPC)
        asyncio.run(load(world.target, world.keys, check.rng, clients=32, seconds=check.count(20, 4), record=flaky))
        odd = {status: n for status, n in flaky.refused.items() if status != 503}
        check.expect(not odd, f"answers of {odd} while writes fail")
        check.expect(world.running(), f"the server ended: {world.log_tail(200)}")
        check.expect(flaky.answers, "nobody was served while one write in twenty failed")
        check.audit(world, flaky, where="flaky")
        if world.running():
            world.kill()
        check.audit(world, flaky, where="flaky, killed")
    check.times, check.faults = len(record) + len(flaky), refused + sum(flaky.refused.values())
    check.tried = f"{refused} × 503, recovered in {took:.1f} s; flaky: {len(flaky.answers)} served"
