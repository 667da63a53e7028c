"""Row 10: 9,000 open streams; two descriptors each, and the limit here is 20,000."""

from __future__ import annotations

import asyncio
import time

from check import Check
from driver import Answer, Client, Record, percentile
from server import World

TITLE = "9,000 open streams"
QUICK = False
PLANTS = {"few-descriptors": "the server may open only 512 files"}
MEMORY_BYTES = 600 << 20
PROBES = 200


async def probe(world: World, times: int, record: Record) -> list[float]:
    """Latencies of one client's ordinary requests, one after the other."""
    client = Client(world.target, *world.keys[0])
    seconds = []
    for _ in range(times):
        answer = await client.chat({"events": 3})
        record.add(answer)
        seconds.append(answer.seconds if answer.ok else 60.0)
        await asyncio.sleep(0.01)
    client.close()
    return seconds


async def crowd(check: Check, world: World, streams: int) -> Record:
    """Opens the streams in waves, probes while all are open, and waits for every end."""
    record = Record()
    baseline = percentile(await probe(world, PROBES, record), 0.99)
    gate = asyncio.Semaphore(200)
    hold = check.count(45, 15)

    async def one(number: int) -> Answer:
        client = Client(world.target, *world.keys[number % len(world.keys)])
        async with gate:
            await client.connect()
        answer = await client.chat(
            {"events": 10, "gap_ms": hold * 100, "prompt_tokens": 5}, stream=True, usage=True, timeout=240
        )
        record.add(answer)
        client.close()
        return answer

    tasks = [asyncio.ensure_future(one(n)) for n in range(streams)]
    end = time.monotonic() + hold
    peak = 0
    while time.monotonic() < end and peak < streams:
        peak = max(peak, (await world.upstream.stats())["busy"])
        await asyncio.sleep(0.2)
    under = percentile(await probe(world, PROBES, record), 0.99)
    peak = max(peak, (await world.upstream.stats())["busy"])
    memory = world.memory()
    await asyncio.gather(*tasks)
    check.expect(peak >= streams, f"only {peak} streams were open at once")
    check.expect(memory <= MEMORY_BYTES, f"resident memory {memory >> 20} MiB")
    check.expect(
        under <= max(3 * baseline, 0.3), f"a probe's p99 is {under * 1000:.0f} ms, {baseline * 1000:.0f} ms alone"
    )
    check.tried = f"{memory >> 20} MiB, probe p99 {baseline * 1000:.0f} → {under * 1000:.0f} ms"
    return record


def run(check: Check) -> None:
    """All of them must settle."""
    streams = check.count(9000, 500)
    with check.world() as world:
        world.prepare(accounts=5, keys=4)
        world.start(nofile=512 if check.planted("few-descriptors") else None)
        record = asyncio.run(crowd(check, world, streams))
        wanted = streams + 2 * PROBES
        check.expect(
            len(record.answers) == wanted,
            f"{wanted - len(record.answers)} answers did not end whole"
            f" {record.refused} {[a.error for a in record.unfinished][:2]}",
        )
        check.audit(world, record)
    check.times = check.faults = streams
