"""Row 7: clients hang up by FIN and RST at random offsets, streaming and not."""

from __future__ import annotations

import asyncio
import contextlib
import random

import audit
from check import Check
from driver import Answer, Client, HangUp, Record, load
from server import World

TITLE = "clients hang up (FIN and RST) at random offsets"
QUICK = True
PLANTS = {"deaf-proxy": "something between client and server keeps the connection open: the server is not told"}
EVENTS, GAP_MS = 30, 4
# Looks a second apart that find no new row.
QUIET_LOOKS = 5
IDLE_SECONDS = 5.0


async def leave(client: Client, rng: random.Random) -> Answer:
    """One request that is abandoned at a random place, now and then behind its end."""
    stream = rng.random() < 0.7
    script = {"events": EVENTS, "gap_ms": GAP_MS, "prompt_tokens": rng.randint(1, 50)}
    whole_seconds = EVENTS * GAP_MS / 1000
    if stream and rng.random() < 0.6:
        how = HangUp(after_bytes=rng.randint(0, 7000), reset=rng.random() < 0.5)
    else:
        how = HangUp(after_seconds=rng.uniform(0.0, 1.3 * whole_seconds), reset=rng.random() < 0.5)
    return await client.chat(script, stream=stream, usage=True, hang_up=how)


async def deaf(client: Client, rng: random.Random) -> Answer:
    """The plant: the client leaves an endless stream, but its connection stays open and is read."""
    answer = await client.chat({"mode": "endless", "gap_ms": 50}, stream=True, hang_up=HangUp(after_seconds=20.0))
    answer.hung_up = True
    return answer


async def settled(world: World) -> None:
    """Waits until no row has come for some seconds: what is left unfinished is counted beside the traffic, and
    the first count of all makes the tokenizer, which takes a slow machine seconds."""
    before, quiet = -1, 0
    for _ in range(60):
        with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
            ((rows,),) = db.execute("SELECT count(*) FROM usage")
        quiet = quiet + 1 if rows == before else 0
        if quiet >= QUIET_LOOKS:
            return
        before = rows
        await asyncio.sleep(1.0)


def check_rules(check: Check, world: World, record: Record) -> tuple[int, int]:
    """Each abandoned request against its row: what was delivered is charged, and no more than was made."""
    with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
        rows = {
            number: rest
            for number, *rest in db.execute(
                "SELECT id, outcome, completion_tokens, charged_micro_usd, metered_by FROM usage"
            )
        }
    charged = nothing = 0
    for answer in record.unfinished:
        row = rows.get(audit.id_number(answer.request_id)) if answer.request_id else None
        if row is None:
            check.expect(not answer.events, f"{answer.request_id} delivered {answer.events} events and has no row")
            nothing += 1
            continue
        charged += 1
        outcome, tokens, paid, metered = row
        check.expect(outcome in ("completed", "client_disconnected"), f"{answer.request_id} is '{outcome}'")
        # What the client read was delivered; the sockets may hold more than it read.
        check.expect(
            answer.events <= tokens <= EVENTS, f"{answer.request_id}: {tokens} tokens charged, {answer.events} read"
        )
        check.expect(paid > 0 or metered == "provider", f"{answer.request_id} delivered and cost nothing")
    return charged, nothing


async def storm(check: Check, world: World, clients: int) -> Record:
    """All the clients, a hundred at a time, then the wait for the upstream to fall silent."""
    step = deaf if check.planted("deaf-proxy") else leave
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=100, requests=clients, step=step, seconds=300)
    )
    if check.planted("deaf-proxy"):
        await asyncio.sleep(2)
    else:
        await running
    busy = await world.upstream.idle(IDLE_SECONDS)
    check.expect(busy == 0, f"{busy} upstream requests still run {IDLE_SECONDS:.0f} s after the last client left")
    record = await running
    await settled(world)
    return record


def run(check: Check) -> None:
    """The storm, the rules, the audit."""
    clients = 100 if check.planted("deaf-proxy") else check.count(2000, 300)
    with check.world() as world:
        world.prepare(accounts=4, keys=5)
        world.start()
        record = asyncio.run(storm(check, world, clients))
        charged, nothing = check_rules(check, world, record)
        check.audit(world, record)
    check.times, check.faults = clients, len(record.unfinished)
    check.tried = f"{charged} charged, {nothing} nothing delivered, {len(record.answers)} whole"
