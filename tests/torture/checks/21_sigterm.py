"""Row 21: SIGTERM with 500 streams open."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import audit
from check import Check
from driver import Answer, Client, Record
from server import World

TITLE = "SIGTERM with 500 streams open"
QUICK = True
PLANTS = {"kill-9": "SIGKILL in place of SIGTERM"}
DRAIN_SECONDS = 30.0
EVENTS = 20


async def drain(check: Check, world: World, streams: int, gap_ms: int) -> tuple[Record, float, int]:
    """Opens the streams, asks the server to end, and waits for both."""
    record = Record()
    clients = [Client(world.target, *world.keys[n % len(world.keys)]) for n in range(streams)]
    script = {"events": EVENTS, "gap_ms": gap_ms, "prompt_tokens": 9}
    tasks = [asyncio.ensure_future(c.chat(script, stream=True, usage=True, timeout=60)) for c in clients]
    deadline = time.monotonic() + 20
    while (await world.upstream.stats())["busy"] < streams and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    began = time.monotonic()
    how = signal.SIGKILL if check.planted("kill-9") else signal.SIGTERM
    status = await asyncio.to_thread(world.kill, how)
    took = time.monotonic() - began
    answers: list[Answer] = await asyncio.gather(*tasks)
    for answer in answers:
        record.add(answer)
    for client in clients:
        client.close()
    return record, took, status


async def cut_off(check: Check, world: World, streams: int) -> Record:
    """Streams without an end are cut when the time is up: then what was delivered has its row."""
    record = Record()
    clients = [Client(world.target, *world.keys[n % len(world.keys)]) for n in range(streams)]
    script = {"mode": "endless", "deaf": True, "gap_ms": 100}
    tasks = [asyncio.ensure_future(c.chat(script, stream=True, max_tokens=1000, timeout=60)) for c in clients]
    deadline = time.monotonic() + 20
    while (await world.upstream.stats())["busy"] < streams and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    status = await asyncio.to_thread(world.kill, signal.SIGTERM)
    check.expect(status == 0, f"exit status {status} after a cut")
    for answer in await asyncio.gather(*tasks):
        record.add(answer)
    begun = sum(answer.events > 0 for answer in record.unfinished)
    check.expect(begun == streams, f"only {begun} of {streams} endless streams were under way")
    with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
        rows = dict(db.execute("SELECT id, completion_tokens FROM usage"))
    for answer in record.unfinished:
        if answer.events and answer.request_id:
            tokens = rows.get(audit.id_number(answer.request_id))
            check.expect(tokens is not None, f"{answer.request_id} delivered {answer.events} events and has no row")
            check.expect(tokens is None or tokens >= answer.events, f"{answer.request_id}: {tokens} of {answer.events}")
    for client in clients:
        client.close()
    return record


def run(check: Check) -> None:
    """Streams of some seconds must all end whole; those without an end are cut and charged."""
    streams, gap_ms = check.count(500, 150), check.count(400, 150)
    with check.world() as world:
        world.prepare(accounts=5, keys=4)
        world.start()
        record, took, status = asyncio.run(drain(check, world, streams, gap_ms))
        check.expect(took <= DRAIN_SECONDS, f"drained only after {took:.1f} s")
        check.expect(status == 0, f"exit status {status}")
        whole = len(record.answers)
        check.expect(
            whole == streams,
            f"{streams - whole} of {streams} streams were cut: {record.refused}"
            f" {[a.error for a in record.unfinished][:2]}",
        )
        world.start(args=("--drain-timeout", "2"))
        cut = asyncio.run(cut_off(check, world, streams // 5))
        record.unfinished += cut.unfinished
        check.audit(world, record)
    check.times, check.faults = streams, 1
    check.tried = f"drained in {took:.1f} s, {whole} whole"
