"""Row 1: `kill -9` under 64 mixed clients, restart, again and again."""

from __future__ import annotations

import asyncio

import audit
from check import Check
from driver import Record, load
from server import World

TITLE = "kill -9 under 64 mixed clients, restart"
QUICK = True
PLANTS = {
    "lost-wal": "the write-ahead log is gone after each kill: acknowledged rows are missing",
    # The audit that every check ends with proves itself here.
    "drop-row": "the audited copy lacks the newest completed usage row",
    "skim": "the audited copy has one micro-dollar too much on one account",
}
CLIENTS = 64
READY_SECONDS = 2.0


async def crash(world: World, check: Check, record: Record) -> None:
    """Load, and a kill in the midst of it."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=CLIENTS, record=record, stop=stop, seconds=30)
    )
    await asyncio.sleep(check.rng.uniform(0.05, 0.5))
    world.kill()
    stop.set()
    await running


def run(check: Check) -> None:
    """Each round audits the files as the crash left them, then restarts and audits again."""
    rounds = check.count(200, 8)
    record = Record()
    slowest = 0.0
    with check.world() as world:
        world.prepare(accounts=8, keys=4)
        for number in range(rounds):
            took = world.start()
            if number:
                slowest = max(slowest, took)
                check.expect(took <= READY_SECONDS, f"round {number}: ready only after {took:.2f} s")
            asyncio.run(crash(world, check, record))
            if check.planted("lost-wal"):
                (world.data / "coordinator.db-wal").unlink(missing_ok=True)
            left = audit.audit_file(audit.copy_database(world.data, world.scratch / "crashed"), record)
            check.lost += [f"round {number}: {text}" for text in left.lost]
            if check.lost:
                break
        check.audit(world, record, where="at the end")
        check.tried = f"{len(record.answers)} whole answers, ready in ≤ {slowest:.2f} s"
    check.times = check.faults = rounds
