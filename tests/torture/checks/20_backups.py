"""Row 20: backups under load, each restored and audited."""

from __future__ import annotations

import asyncio
import shutil

import audit
from check import Check
from driver import Record, load
from server import World

TITLE = "backups under load, each restored"
QUICK = True
PLANTS = {"plain-copy": "the backup is a plain copy of the database file, without its log"}


async def take(check: Check, world: World, number: int, record: Record) -> None:
    """One backup: whatever was answered before it began must be in it."""
    restored = world.scratch / f"restored-{number}"
    restored.mkdir(mode=0o700)
    seen = Record(list(record.answers))
    if check.planted("plain-copy"):
        shutil.copyfile(world.data / "coordinator.db", restored / "coordinator.db")
    else:
        await asyncio.to_thread(world.cli, "backup", restored / "coordinator.db")
    found = await asyncio.to_thread(audit.audit_file, restored / "coordinator.db", seen)
    # The copy moves on with the original: rows of answers not yet whole at the start are no strangers.
    check.lost += [f"backup {number}: {text}" for text in found.lost if "requests explain" not in text]
    check.lost += await asyncio.to_thread(audit.product_audit, world.binary, restored, found.rows)


async def backups(check: Check, world: World, times: int) -> Record:
    """Load for as long as the backups take."""
    record, stop = Record(), asyncio.Event()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=32, record=record, stop=stop, seconds=300)
    )
    await asyncio.sleep(0.5)
    for number in range(times):
        await take(check, world, number, record)
        await asyncio.sleep(check.rng.uniform(0, 0.3))
    stop.set()
    await running
    return record


def serve_the_last(check: Check, world: World, number: int) -> None:
    """The documented way back: the copy becomes the database of a stopped server, which then serves."""
    world.kill(15)
    world.data = world.scratch / f"restored-{number}"
    world.start()
    record = asyncio.run(load(world.target, world.keys, check.rng, clients=4, requests=40, seconds=20))
    check.expect(record.answers, "the restored database serves nothing")
    check.audit(world, where="restored")


def run(check: Check) -> None:
    """Backups, the audit of the original, and a server on the last copy."""
    times = check.count(20, 3)
    with check.world() as world:
        world.prepare(accounts=4, keys=4)
        world.start()
        record = asyncio.run(backups(check, world, times))
        check.audit(world, record)
        serve_the_last(check, world, times - 1)
    check.times = check.faults = times
    check.tried = f"{len(record.answers)} whole answers meanwhile"
