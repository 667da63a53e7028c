"""Row 6: each of 200 idempotency keys sent by 20 clients at once, as credit."""

from __future__ import annotations

import asyncio
import contextlib

import audit
from check import Check
from driver import Answer, Client
from server import World

TITLE = "200 idempotency keys × 20 parallel credits"
QUICK = True
PLANTS = {"no-key": "the clients leave the Idempotency-Key out"}
PARALLEL = 20
MICRO = 1_230_000


async def credit(world: World, key: str | None, account: str, usd: str = "1.23") -> Answer:
    """One credit, sent again while the first is in flight."""
    client = Client(world.target, world.admin_key)
    headers = {"idempotency-key": key} if key else {}
    body = {"account": account, "amount_usd": usd, "note": "torture"}
    try:
        while True:
            answer = await client.request("POST", "/v1/admin/credit", body, headers=headers)
            if answer.status != 409:
                return answer
            await asyncio.sleep(0.01)
    finally:
        client.close()


async def one_key(check: Check, world: World, number: int, account: str) -> None:
    """Twenty at once with one key, then another body with it, then once more."""
    key = None if check.planted("no-key") else f"key-{check.seed}-{number}"
    answers = await asyncio.gather(*(credit(world, key, account) for _ in range(PARALLEL)))
    good = [a for a in answers if 200 <= a.status < 300]
    check.expect(len(good) == PARALLEL, f"key {number}: {[a.status for a in answers]} {answers[0].body[:120]!r}")
    check.expect(len({a.body for a in good}) == 1, f"key {number}: the answers differ")
    if key:
        other = await credit(world, key, account, "4.56")
        check.expect(other.status == 422, f"key {number}: another body got {other.status}")
        again = await credit(world, key, account)
        check.expect(good and again.body == good[0].body, f"key {number}: a later repeat got another answer")


def run(check: Check) -> None:
    """Counts the credits in the ledger."""
    keys = check.count(200, 20)
    with check.world() as world:
        world.prepare(accounts=1, keys=1, usd="0")
        world.start()

        async def all_keys() -> None:
            for first in range(0, keys, 10):
                batch = range(first, min(first + 10, keys))
                await asyncio.gather(*(one_key(check, world, n, world.accounts[0]) for n in batch))

        asyncio.run(all_keys())
        number = audit.id_number(world.accounts[0])
        with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
            made, total = db.execute(
                "SELECT count(*), coalesce(sum(amount_micro_usd), 0) FROM ledger WHERE account_id = ?", (number,)
            ).fetchone()
        check.expect(made == keys, f"{made} credits for {keys} keys")
        check.expect(total == keys * MICRO, f"{total} micro-dollars credited, {keys * MICRO} expected")
        check.audit(world)
    check.times, check.tried = keys * PARALLEL, f"{made} credits made"
