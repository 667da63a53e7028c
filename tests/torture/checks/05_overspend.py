"""Row 5: 500 parallel requests on a balance that affords ten, in rounds."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import audit
from check import Check
from driver import Answer, Client, Record
from server import World

TITLE = "500 parallel requests on a balance for 10"
QUICK = True
PLANTS = {
    "two-servers": "a second server on the same directory (its lock is forged): it does not see the first one's holds"
}
EVENTS, PROMPT = 20, 60
COST = PROMPT * 1 + EVENTS * 2
FORGED_LOCK = (
    "strace",
    "-f",
    "-qq",
    "--seccomp-bpf",
    "-o",
    "/dev/null",
    "-e",
    "trace=flock",
    "-e",
    "inject=flock:retval=0",
)


async def burst(ports: list[int], world: World, key: tuple[str, str], parallel: int) -> list[Answer]:
    """Everything at once, on connections that are open already."""
    clients = [Client(type(world.target)(port=ports[n % len(ports)]), *key) for n in range(parallel)]
    await asyncio.gather(*(client.connect() for client in clients))
    script = {"events": EVENTS, "prompt_tokens": PROMPT, "gap_ms": 2}
    answers = await asyncio.gather(
        *(
            client.chat(script, stream=number % 2 == 0, usage=True, max_tokens=EVENTS, timeout=120)
            for number, client in enumerate(clients)
        )
    )
    for client in clients:
        client.close()
    return list(answers)


def shortfalls(world: World) -> int:
    """Rows that the account could not pay in full."""
    with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
        assert isinstance(db, sqlite3.Connection)
        return db.execute("SELECT count(*) FROM usage WHERE shortfall_micro_usd > 0").fetchone()[0]


def run(check: Check) -> None:
    """A fresh account a round, so that each begins with exactly its ten requests' worth."""
    rounds, parallel = check.count(20, 3), check.count(500, 200)
    record, served, refused = Record(), 0, 0
    with check.world() as world, check.world("second") as second:
        world.prepare(accounts=0)
        world.start()
        ports = [world.target.port]
        if check.planted("two-servers"):
            second.data = world.data
            second.start(wrapper=FORGED_LOCK)
            ports.append(second.target.port)
        budget = 10 * COST
        for number in range(rounds):
            _, keys = world.add_account(f"0.{budget:06}")
            answers = asyncio.run(burst(ports, world, keys[0], parallel))
            for answer in answers:
                record.add(answer)
            good = [a for a in answers if a.ok]
            served += len(good)
            refused += sum(a.status == 402 for a in answers)
            spent = sum(a.cost or 0 for a in good)
            check.expect(good, f"round {number}: nobody was served")
            check.expect(spent <= budget, f"round {number}: {spent} accepted on a balance of {budget}")
            odd = {a.status for a in answers if not a.ok} - {402}
            check.expect(not odd, f"round {number}: answers of {odd} {[a.error for a in answers if a.error][:2]}")
        short = shortfalls(world)
        check.expect(not short, f"{short} rows with a shortfall")
        check.audit(world, record)
    check.times, check.tried = rounds * parallel, f"{served} served, {refused} refused with 402"
