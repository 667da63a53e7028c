"""Row 3: fsync and fdatasync answer EIO, each time at another position.

Such a commit is neither yes nor no. The server must answer nobody and end; the restart reads the truth.
"""

from __future__ import annotations

import asyncio
import pathlib
import re
import time

from check import Check
from driver import Record, load
from server import HarnessError, World, need

TITLE = "fsync/fdatasync answers EIO (strace)"
QUICK = False
PLANTS = {"swallow": "the failing sync says success, as to a product that ignores the error"}
EXIT_SECONDS = 1.0
PATIENCE = 5.0
DATABASE = re.compile(r"coordinator\.db(-wal)?>")


def wrapper(trace: pathlib.Path, position: int, answer: str) -> list[str]:
    """strace that makes the sync at this position of each thread answer otherwise."""
    need("strace")
    return [
        *("strace", "-f", "-qq", "-y", "--seccomp-bpf", "-ttt", "-o", str(trace), "-e", "trace=fsync,fdatasync"),
        *("-e", f"inject=fsync,fdatasync:{answer}:when={position}"),
    ]


def injected(trace: pathlib.Path, since: float) -> float | None:
    """When the fault was first given to a sync of the database or its log, since the server was ready.

    Other syncs are not of money: the ballast's, and the directory's, whose answer SQLite does not read.
    """
    for line in trace.read_text(errors="replace").splitlines():
        if "(INJECTED)" in line and DATABASE.search(line) and float(line.split()[1]) >= since:
            return float(line.split()[1])
    return None


async def until_exit(world: World, check: Check, record: Record, trace: pathlib.Path, since: float) -> float | None:
    """Load until the server ends after the fault; when it ended, or None if it does not."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=16, record=record, stop=stop, seconds=60)
    )
    deadline = time.time() + PATIENCE
    while world.running() and time.time() < deadline:
        await asyncio.sleep(0.02)
        when = injected(trace, since)
        if when is not None:
            deadline = min(deadline, when + EXIT_SECONDS + 1)
    ended = None if world.running() else time.time()
    stop.set()
    await running
    return ended


def one_position(check: Check, world: World, position: int, answer: str, record: Record) -> float | None:
    """A server with the fault at this position; how long it lived on, or None if nothing of money was hit."""
    trace = world.scratch / f"trace-{position}"
    try:
        world.start(wrapper=wrapper(trace, position, answer))
    except HarnessError:
        # The fault came before it was ready: then it must not have started.
        status = world.process.poll() if world.process else None
        check.expect(status, f"position {position}: did not become ready, exit {status}")
        return None
    since = time.time()
    ended = asyncio.run(until_exit(world, check, record, trace, since))
    when = injected(trace, since)
    if ended is None:
        check.expect(when is None, f"position {position}: still running {time.time() - (when or 0):.1f} s after EIO")
        world.kill()
        return None
    status = world.process.wait() if world.process else 0
    check.expect(status > 0, f"position {position}: exit status {status}")
    if when is None:
        return check.expect(False, f"position {position}: ended without a fault") or None
    check.expect(ended - when <= EXIT_SECONDS, f"position {position}: ended {ended - when:.2f} s after EIO")
    return ended - when


def run(check: Check) -> None:
    """A server a position; the same database throughout, so that every fault is followed by a recovery."""
    wanted = check.count(40, 6)
    answer = "retval=0" if check.planted("swallow") else "error=EIO"
    record = Record()
    lived: list[float] = []
    with check.world() as world:
        world.prepare(accounts=4, keys=4)
        position = 0
        while len(lived) < wanted and position < wanted + 10 and not check.lost:
            position += 1
            seconds = one_position(check, world, position, answer, record)
            if seconds is not None:
                lived.append(seconds)
        check.expect(check.lost or len(lived) == wanted, f"only {len(lived)} of {wanted} faults were reached")
        world.start()
        asyncio.run(load(world.target, world.keys, check.rng, clients=4, requests=40, seconds=20, record=record))
        check.audit(world, record)
    check.times, check.faults = position, len(lived)
    check.tried = f"{len(record.answers)} whole answers, ended in ≤ {max(lived, default=0):.2f} s"
