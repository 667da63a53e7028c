"""Row 19: a reader holds a read transaction for a minute under writes."""

from __future__ import annotations

import asyncio
import contextlib
import time

import audit
from check import Check
from driver import Answer, Client, Record, load
from server import World

TITLE = "a reader holds its snapshot 60 s under writes"
QUICK = False
PLANTS = {"never-lets-go": "the reader does not let go"}
SHRINK_SECONDS = 30.0
SLOWEST_SECONDS = 5.0


async def busy(client: Client, _rng: object) -> Answer:
    """Plain requests, as many as go."""
    return await client.chat({"events": 2})


async def hold(check: Check, world: World, record: Record) -> tuple[int, int]:
    """The reader, the writes, and the log's size: at its largest, and after the reader let go."""
    wal = world.data / "coordinator.db-wal"
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=16, record=record, stop=stop, seconds=300, step=busy)
    )
    await asyncio.sleep(1)
    reader = audit.open_read_only(world.data / "coordinator.db")
    reader.execute("SELECT count(*) FROM usage").fetchone()
    end, most = time.monotonic() + check.count(60, 8), 0
    while time.monotonic() < end:
        most = max(most, wal.stat().st_size)
        await asyncio.sleep(0.1)
    if not check.planted("never-lets-go"):
        reader.close()
    end, left = time.monotonic() + SHRINK_SECONDS, most
    while time.monotonic() < end and left >= most:
        await asyncio.sleep(0.2)
        left = min(left, wal.stat().st_size)
    stop.set()
    await running
    with contextlib.suppress(Exception):
        reader.close()
    return most, left


def run(check: Check) -> None:
    """The log shrinks again, and nobody was refused or kept waiting."""
    record = Record()
    with check.world() as world:
        world.prepare(accounts=4, keys=4)
        world.start()
        most, left = asyncio.run(hold(check, world, record))
        check.expect(left < most, f"the log is {left >> 20} MiB {SHRINK_SECONDS:.0f} s after the reader let go")
        failed = len(record) - len(record.answers)
        check.expect(
            not failed, f"{failed} settlements failed {record.refused} {[a.error for a in record.unfinished][:2]}"
        )
        slowest = max((answer.seconds for answer in record.answers), default=0.0)
        check.expect(slowest <= SLOWEST_SECONDS, f"one answer took {slowest:.1f} s")
        check.audit(world, record)
    check.times, check.faults = len(record), 1
    check.tried = f"log {most >> 10} → {left >> 10} KiB, slowest answer {slowest * 1000:.0f} ms"
