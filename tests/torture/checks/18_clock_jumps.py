"""Row 18: the wall clock jumps +400 days, -10 years and -1 hour under load (libfaketime)."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib

import audit
from check import Check, Skip
from driver import Record, load
from server import World, install

TITLE = "the wall clock jumps under load"
QUICK = False
PLANTS = {"no-jump": "the clock does not jump: then the row would prove nothing, and says so"}
JUMPS = ("+0", "+400d", "-10y", "-1h", "+0")
LIBRARY = "faketime/libfaketime.so.1"
DAY_MS = 86_400_000


def library() -> str:
    """libfaketime, from Debian's package, which is installed if it may be."""
    found = list(pathlib.Path("/usr/lib").glob(f"*/{LIBRARY}"))
    if not found:
        install("faketime")
        found = list(pathlib.Path("/usr/lib").glob(f"*/{LIBRARY}"))
    if not found:
        raise Skip("needs libfaketime (Debian: faketime)")
    return str(found[0])


async def jump(check: Check, world: World, clock: pathlib.Path, record: Record) -> None:
    """Load all along, and the clock moved several times."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=32, record=record, stop=stop, seconds=120)
    )
    for offset in JUMPS:
        clock.write_text(offset if not check.planted("no-jump") else "+0", encoding="ascii")
        await asyncio.sleep(check.count(4, 1))
    stop.set()
    await running


def run(check: Check) -> None:
    """Under jumps, then with the true clock again."""
    record = Record()
    with check.world() as world:
        world.prepare(accounts=4, keys=4)
        clock = world.scratch / "clock"
        clock.write_text("+0", encoding="ascii")
        world.start(
            env={
                "LD_PRELOAD": library(),
                "FAKETIME_TIMESTAMP_FILE": str(clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        )
        asyncio.run(jump(check, world, clock, record))
        odd = {status: n for status, n in record.refused.items() if status >= 500}
        check.expect(not odd, f"answers of {odd}")
        check.audit(world, record, where="jumping")
        world.kill()
        world.start()
        asyncio.run(load(world.target, world.keys, check.rng, clients=16, requests=400, seconds=30, record=record))
        check.audit(world, record, where="restarted")
        with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
            ((first, last),) = db.execute("SELECT min(created_at), max(created_at) FROM usage")
        check.expect(
            last - first > 4000 * DAY_MS,
            f"the rows span only {(last - first) / DAY_MS:.0f} days: the clock did not jump",
        )
    check.times, check.faults = len(record), len(JUMPS) - 1
    check.tried = f"{len(record.answers)} whole answers over {(last - first) // DAY_MS} days"
