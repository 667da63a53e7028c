"""Beyond the table: inference with an `Idempotency-Key` is charged at most once, whatever is repeated when."""

from __future__ import annotations

import asyncio
import contextlib

import audit
from check import Check
from driver import Answer, Client, Record
from server import World

TITLE = "inference with an Idempotency-Key"
QUICK = False
PLANTS = {"no-key": "the clients leave the Idempotency-Key out"}
PARALLEL = 5
SCRIPT = {"events": 6, "gap_ms": 30, "prompt_tokens": 11}


async def one_key(check: Check, world: World, number: int, record: Record) -> None:
    """Several at once with one key, then again after the end, then another body."""
    stream = number % 2 == 1
    headers = {} if check.planted("no-key") else {"idempotency-key": f"once-{check.seed}-{number}"}

    async def ask(text: str = "hello") -> Answer:
        client = Client(world.target, *world.keys[0])
        answer = await client.chat(SCRIPT, stream=stream, usage=True, headers=headers, text=text)
        client.close()
        return answer

    answers = await asyncio.gather(*(ask() for _ in range(PARALLEL)))
    good = [a for a in answers if a.ok]
    if not check.expect(good, f"key {number}: nobody was served {[a.status for a in answers]}"):
        return
    first = good[0]
    record.add(first)
    for answer in answers:
        same = answer.ok and answer.request_id == first.request_id
        early = answer.status == 409 and answer.headers.get("x-should-retry") == "false"
        check.expect(same or early, f"key {number}: a repeat meanwhile got {answer.status} {answer.request_id}")
    again = await ask()
    same = again.ok and (again.request_id, again.cost) == (first.request_id, first.cost)
    told = again.status == 409 and first.request_id.encode() in again.body
    check.expect(same or told, f"key {number}: a later repeat got {again.status} {again.request_id}")
    other = await ask("another question")
    check.expect(other.status == 422 or not headers, f"key {number}: another body got {other.status}")


def run(check: Check) -> None:
    """As many rows as keys."""
    keys = check.count(100, 20)
    record = Record()
    with check.world() as world:
        world.prepare(accounts=1, keys=1)
        world.start()

        async def all_keys() -> None:
            for start in range(0, keys, 10):
                await asyncio.gather(*(one_key(check, world, n, record) for n in range(start, min(start + 10, keys))))

        asyncio.run(all_keys())
        with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
            ((rows,),) = db.execute("SELECT count(*) FROM usage")
        check.expect(rows == keys, f"{rows} rows for {keys} keys")
        check.audit(world, record)
    check.times, check.tried = keys * (PARALLEL + 2), f"{rows} charges for {keys} keys"
