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


def is_replay(answer: Answer, first: Answer) -> bool:
    """It is the first answer, or says that it is its copy."""
    return first.request_id in (answer.request_id, answer.headers.get("x-idempotent-replay-of"))


async def after_a_crash(check: Check, world: World, keys: int, rows: int) -> None:
    """The memory of answers is gone; that a key was charged is not."""
    for number in range(keys):
        client = Client(world.target, *world.keys[0])
        headers = {"idempotency-key": f"once-{check.seed}-{number}"}
        answer = await client.chat(SCRIPT, stream=number % 2 == 1, usage=True, headers=headers)
        client.close()
        told = answer.status == 409 and b"req_" in answer.body
        check.expect(told, f"key {number} after a crash: {answer.status} {answer.body[:120]!r}")
    check.expect(count_rows(world) == rows, f"{count_rows(world)} rows after a crash and repeats, {rows} before")


def count_rows(world: World) -> int:
    """Usage rows there are."""
    with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
        return db.execute("SELECT count(*) FROM usage").fetchone()[0]


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
    first_body = first.body
    record.add(first)
    first.body = first_body
    for answer in answers:
        same = answer.ok and is_replay(answer, first)
        early = answer.status == 409 and answer.headers.get("x-should-retry") == "false"
        check.expect(same or early, f"key {number}: a repeat meanwhile got {answer.status} {answer.request_id}")
    again = await ask()
    same = again.ok and is_replay(again, first) and (again.cost, again.body) == (first.cost, first.body)
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
        rows = count_rows(world)
        check.expect(rows == keys, f"{rows} rows for {keys} keys")
        world.kill()
        world.start()
        asyncio.run(after_a_crash(check, world, keys, rows))
        check.audit(world, record)
    check.times, check.tried = keys * (PARALLEL + 2), f"{rows} charges for {keys} keys"
