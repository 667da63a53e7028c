"""Row 29: another process changes prices, keys and balances under full load: no admission on what was before."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import sqlite3
import threading
import time
from random import Random

from check import Check
from driver import MODEL, Answer, Client, Record, load
from server import World

TITLE = "prices, keys and balances changed beside a full load"
QUICK = True
PLANTS = {
    "lost-price": "every tenth price is noted but not written: requests pay the one before",
    "lost-key": "every fourth expiry of a key is not written",
    "lost-balance": "every fourth emptying of an account is not written",
}
CLIENTS = 64
EVERY_SECONDS = 0.01
EMPTIED = 7_000_000


class Beside:
    """The other process: two connections of its own to the same file, of which one sets prices only.

    Micro-dollars a prompt token are the price's number.
    """

    def __init__(self, world: World, check: Check) -> None:
        self.db, self.prices = (
            sqlite3.connect(world.data / "coordinator.db", timeout=30, isolation_level=None, check_same_thread=False)
            for _ in range(2)
        )
        self.check = check
        self.made = self.price = 0
        self.stop = threading.Event()
        self.priced: list[float] = []
        self.counts = {"key": 0, "balance": 0}
        self.ids = 1 << 62

    def commit(self, db: sqlite3.Connection, *statements: tuple[str, tuple], lost: bool = False) -> None:
        """One transaction."""
        db.execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            db.execute(sql, values)
        db.execute("ROLLBACK" if lost else "COMMIT")
        self.made += 1

    def next_id(self) -> int:
        """One that nobody else has."""
        self.ids += 1
        return self.ids

    def new_price(self) -> None:
        """A version that costs one more, and when it was in force."""
        self.price += 1
        now = int(time.time() * 1000)
        self.commit(
            self.prices,
            ("UPDATE prices SET retired_at = ? WHERE model = ? AND retired_at IS NULL", (now, MODEL)),
            (
                "INSERT INTO prices (id, model, display_name, input_price, output_price, context_length, max_output,"
                " created_at, created_by) VALUES (?, ?, ?, ?, 0, 4000000, 100000, ?, 'beside')",
                (self.next_id(), MODEL, MODEL, self.price * 1_000_000, now),
            ),
            lost=self.check.planted("lost-price") and self.price % 10 == 0,
        )
        self.priced.append(time.monotonic())

    def keep_pricing(self) -> None:
        """A version every hundredth of a second, until it is stopped."""
        due = time.monotonic()
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            self.new_price()
            due += EVERY_SECONDS

    def planted(self, what: str) -> bool:
        """This one is not written."""
        self.counts[what] += 1
        return self.check.planted(f"lost-{what}") and self.counts[what] % 4 == 0

    def expire(self, key_id: str, expired: bool) -> None:
        """The key with that name in the table."""
        sql = "UPDATE keys SET expires_at = ? WHERE name = ?"
        self.commit(self.db, (sql, (1 if expired else None, key_id)), lost=expired and self.planted("key"))

    def move(self, account: str, amount: int) -> None:
        """Money to an account, or from it, as the ledger's book-keeping asks for it."""
        row = self.db.execute("SELECT id, balance_micro_usd FROM accounts WHERE name = ?", (account,)).fetchone()
        amount = amount or -row[1]
        kind = "top_up" if amount > 0 else "adjustment"
        self.commit(
            self.db,
            ("UPDATE accounts SET balance_micro_usd = ? WHERE id = ?", (row[1] + amount, row[0])),
            (
                "INSERT INTO ledger (id, account_id, kind, amount_micro_usd, withdrawable_micro_usd,"
                " balance_after_micro_usd, actor, note, created_at) VALUES (?, ?, ?, ?, 0, ?, 'beside', '', ?)",
                (self.next_id(), row[0], kind, amount, row[1] + amount, int(time.time() * 1000)),
            ),
            lost=amount < 0 and self.planted("balance"),
        )


async def step(client: Client, _rng: Random) -> Answer:
    """One token of prompt: the cost is the number of the price."""
    return await client.chat({"events": 1, "prompt_tokens": 1})


async def turns(check: Check, beside: Beside, world: World, record: Record, seconds: float) -> None:
    """Commits that each change something about one caller, who finds it at once."""
    # The last two accounts are nobody else's.
    callers = {kind: Client(world.target, *key) for kind, key in zip((401, 402), world.keys[-2:], strict=True)}

    async def ask(kind: int, refused: bool) -> None:
        answer = await step(callers[kind], check.rng)
        record.add(answer)
        wanted = kind if refused else 200
        check.expect(answer.status == wanted, f"commit {beside.made}: {answer.status} {answer.error}, not {wanted}")

    until = time.monotonic() + seconds
    refused = True
    while time.monotonic() < until:
        await asyncio.to_thread(beside.expire, "beside", refused)
        await ask(401, refused)
        await asyncio.to_thread(beside.move, f"payer-{len(world.accounts) - 1}", 0 if refused else EMPTIED)
        await ask(402, refused)
        refused = not refused
    for caller in callers.values():
        caller.close()


async def drive(check: Check, world: World, beside: Beside, record: Record, seconds: float) -> tuple[float, float]:
    """The load by itself, then beside the commits. Returns both rates."""
    common = {"clients": CLIENTS, "step": step, "record": record}
    began = len(record.answers)
    await load(world.target, world.keys[:-2], check.rng, seconds=seconds, **common)
    alone = len(record.answers) - began
    stop = asyncio.Event()
    running = asyncio.ensure_future(load(world.target, world.keys[:-2], check.rng, stop=stop, **common))
    began = len(record.answers)
    pricing = asyncio.ensure_future(asyncio.to_thread(beside.keep_pricing))
    await turns(check, beside, world, record, seconds)
    together = len(record.answers) - began
    beside.stop.set()
    await pricing
    stop.set()
    await running
    return alone / seconds, together / seconds


def run(check: Check) -> None:
    """Of each answer under load, the price is not older than the last one committed before it was asked for."""
    seconds = check.count(20, 3)
    record = Record()
    with check.world() as world:
        world.prepare(accounts=8, keys=2)
        world.keys = world.keys[:-4] + [world.keys[-4], world.keys[-2]]
        with contextlib.closing(sqlite3.connect(world.data / "coordinator.db")) as db, db:
            db.execute("UPDATE keys SET name = 'beside' WHERE account_id = (SELECT id FROM accounts WHERE name = 'payer-6')")
        beside = Beside(world, check)
        beside.new_price()
        world.start()
        alone, together = asyncio.run(drive(check, world, beside, record, seconds))
        checked = 0
        for answer in record.whole():
            in_force = bisect.bisect_right(beside.priced, answer.began)
            checked += in_force > 1
            paid = answer.cost or 0
            check.expect(paid >= in_force, f"asked for under price {in_force}, paid {paid}")
        check.expect(checked > 100 and beside.made > 10, f"only {checked} answers and {beside.made} commits")
        check.expect(record.refused.keys() <= {401, 402}, f"refused: {record.refused}")
        beside.db.close()
        beside.prices.close()
        world.kill(15)
        check.audit(world, record)
    check.times, check.faults = checked, beside.made
    check.tried = f"{beside.made / seconds:.0f} commits/s, {alone:.0f}/s alone, {together:.0f}/s beside"
