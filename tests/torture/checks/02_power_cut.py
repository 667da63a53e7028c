"""Row 2: a power cut. The database lies on a loop-mounted ext4 image; copies of the image are what a cut leaves.

The image's file holds exactly what the file system has sent to its disk. The server is stopped (SIGSTOP) while
the file is copied, so that the copy is one moment; what the kernel had under way stays under way. Every answer
that a client had whole before the copy began must be in it. A control run in which fsync does nothing (as
`synchronous=OFF` would) must lose some: without that, the row proves nothing and fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator

import audit
from check import Check, Skip
from driver import Record, load
from server import World, need

TITLE = "power cut: ext4 image copied in mid-write"
QUICK = True
PLANTS = {"sync-off": "the measured run itself answers every fsync with success and does nothing"}
IMAGE_MIB = 96
NO_SYNC = (
    "strace",
    "-f",
    "-qq",
    "--seccomp-bpf",
    "-o",
    "/dev/null",
    "-e",
    "trace=fsync,fdatasync,sync_file_range",
    "-e",
    "inject=fsync,fdatasync,sync_file_range:retval=0",
)


def shell(*command: str | pathlib.Path) -> None:
    """Runs a tool; a refusal means that this machine cannot run the row."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skip(f"{command[0]}: {done.stderr.strip()[-120:]}")


@contextlib.contextmanager
def mounted(image: pathlib.Path, at: pathlib.Path) -> Iterator[pathlib.Path]:
    """The image as a file system, for as long as the block runs."""
    at.mkdir(parents=True, exist_ok=True)
    shell("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=False, capture_output=True)


async def cuts(check: Check, world: World, image: pathlib.Path, rounds: int) -> tuple[int, list[str]]:
    """Runs load and takes `rounds` copies; returns the rows seen and what was lost."""
    record, stop, lost = Record(), asyncio.Event(), []
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=32, record=record, stop=stop, seconds=600)
    )
    copy = image.with_suffix(".cut")
    for number in range(rounds):
        await asyncio.sleep(check.rng.uniform(0.05, 0.35))
        os.kill(world.pid, signal.SIGSTOP)
        try:
            seen = Record(list(record.answers))
            await asyncio.to_thread(shutil.copyfile, image, copy)
        finally:
            os.kill(world.pid, signal.SIGCONT)
        with mounted(copy, image.parent / "cut") as where:
            found = audit.audit_file(where / "data" / "coordinator.db", seen)
        lost += [f"cut {number}: {text}" for text in found.lost]
    stop.set()
    await running
    return len(record.answers), lost


def measure(check: Check, name: str, rounds: int, wrapper: tuple[str, ...]) -> tuple[int, list[str]]:
    """One run on an image of its own; in memory, so that copying takes milliseconds."""
    base = pathlib.Path("/dev/shm") / f"torture-{os.getpid()}-{name}"
    base.mkdir()
    image = base / "disk.img"
    try:
        with image.open("wb") as file:
            file.truncate(IMAGE_MIB << 20)
        shell("mkfs.ext4", "-q", "-F", image)
        with mounted(image, base / "disk") as disk, check.world(name, data=disk / "data") as world:
            world.prepare(accounts=4, keys=4)
            world.start(wrapper=wrapper)
            seen, lost = asyncio.run(cuts(check, world, image, rounds))
            world.kill()
            check.lost += audit.scan_log(world.log)
        return seen, lost
    finally:
        shutil.rmtree(base, ignore_errors=True)


def run(check: Check) -> None:
    """The measured run, then the control."""
    if os.geteuid() != 0:
        raise Skip("needs root to mount an image")
    need("strace")
    rounds, control_rounds = check.count(100, 6), check.count(10, 3)
    seen, lost = measure(check, "measured", rounds, NO_SYNC if check.planted("sync-off") else ())
    check.lost += lost
    _, control = measure(check, "control", control_rounds, NO_SYNC)
    check.expect(control, "the control run without fsync lost nothing: this row would not notice a loss")
    check.times = check.faults = rounds
    check.tried = f"{seen} whole answers; control without fsync lost {len(control)}"
