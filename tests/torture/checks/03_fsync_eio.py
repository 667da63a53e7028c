"""Row 3: fsync and fdatasync answer EIO, each time at another position.

Such a commit is neither yes nor no. The server must answer nobody and end; the restart reads the truth.
"""

from __future__ import annotations

import asyncio
import pathlib
import time

from check import Check
from driver import Record, load
from server import HarnessError, World, need

TITLE = "fsync/fdatasync answers EIO (strace)"
QUICK = False
PLANTS = {"swallow": "the failing sync says success, as to a product that ignores the error"}
EXIT_SECONDS = 1.0
PATIENCE = 15.0


def wrapper(trace: pathlib.Path, position: int, answer: str) -> list[str]:
    """strace that makes the sync at this position of each thread answer otherwise."""
    need("strace")
    return [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-ttt",
        "-o",
        str(trace),
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        f"inject=fsync,fdatasync:{answer}:when={position}",
    ]


def injected(trace: pathlib.Path) -> float | None:
    """When the fault was first given."""
    for line in trace.read_text(errors="replace").splitlines():
        if "(INJECTED)" in line:
            return float(line.split()[1])
    return None


async def until_exit(world: World, check: Check, record: Record) -> int | None:
    """Load until the server ends; its status, or None if it does not."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=16, record=record, stop=stop, seconds=PATIENCE)
    )
    end = time.monotonic() + PATIENCE
    while world.running() and time.monotonic() < end:
        await asyncio.sleep(0.02)
    stop.set()
    status = world.process.poll() if world.process else None
    await running
    return status


def run(check: Check) -> None:
    """A server a position; the same database throughout, so that every fault is followed by a recovery."""
    positions = check.count(40, 6)
    answer = "retval=0" if check.planted("swallow") else "error=EIO"
    record, slowest, fired = Record(), 0.0, 0
    with check.world() as world:
        world.prepare(accounts=4, keys=4)
        for position in range(1, positions + 1):
            trace = world.scratch / f"trace-{position}"
            status: int | None
            try:
                world.start(wrapper=wrapper(trace, position, answer))
                status = asyncio.run(until_exit(world, check, record))
            except HarnessError:
                status = world.process.poll() if world.process else None
            ended = time.time()
            when = injected(trace)
            if not check.expect(when is not None, f"position {position}: no sync was reached"):
                world.kill()
                continue
            fired += 1
            if status is None:
                check.expect(False, f"position {position}: still running {ended - (when or 0):.1f} s after EIO")
                world.kill()
                break
            took = max(0.0, trace_end(trace) - (when or 0))
            slowest = max(slowest, took)
            check.expect(status > 0, f"position {position}: exit status {status}")
            check.expect(took <= EXIT_SECONDS, f"position {position}: ended {took:.2f} s after EIO")
        world.start()
        asyncio.run(load(world.target, world.keys, check.rng, clients=4, requests=40, seconds=20, record=record))
        check.audit(world, record)
    check.times, check.faults = positions, fired
    check.tried = f"{len(record.answers)} whole answers, ended in ≤ {slowest:.2f} s"


def trace_end(trace: pathlib.Path) -> float:
    """When strace last wrote: with the end of the last thread."""
    return trace.stat().st_mtime
