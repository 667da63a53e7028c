"""Row 27: the queue. One account with 200 requests beside nine with one each, by number and by work; 2,000 who wait, of
whom half leave; 10,000 who wait and cost nothing; and random comings, goings and failures against a model of the order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable

from check import Check
from desk import Desk
from driver import Answer, Client, HangUp, Record, percentile
from server import World
from turns import Eye, Late, Story, model_with, until

TITLE = "the queue: fair shares, leavers, thousands, the order"
QUICK = True
# Others beside it would be in its waits.
ALONE = True
PLANTS = {
    "two-accounts": "the account with 200 requests has a second one, and both count as one",
    "no-queue": "nobody may wait",
    "stays": "one of those who leave does not",
    "keeps-busy": "a caller that asks all the time while those who wait should cost nothing",
    "first-come": "the model takes whoever came first for the next",
    "drop-row": "a usage row is missing at the audit",
}
# Which part of the row a plant is for.
PARTS = {
    "shares": ("two-accounts", "no-queue"),
    "leavers": ("stays", "drop-row"),
    "thousands": ("keeps-busy",),
    "orders": ("first-come",),
}
ACCOUNTS, PLACES, MANY = 10, 4, 200
DESKS = (1, 2, 3)
SERVICE_MS = 200
# Of the shares of those who always wait: 1 is the same for all.
FAIR = 0.98
MIB = 1 << 20
# What 10,000 who wait may take; and 2,000 of the quick run, whose build is not optimised: what waits there is larger.
MOST_MEMORY, QUICK_MEMORY = 100 * MIB, 60 * MIB
# Seconds of the processor a second while they wait, above what an idle server takes.
MOST_IDLE = 0.01
# Of a debug build, which looks at who serves four times a second while somebody waits: 1.0 to 1.7 % were measured.
DEBUG_IDLE = 0.025
LONG_LINE = ("--queue-length", "50000", "--queue-timeout", "600", "--first-byte-timeout", "600")


def jain(shares: list[float]) -> float:
    """Jain's index of fairness."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


# Shares.


async def shares(
    check: Check, world: World, record: Record, seconds: float, service_ms: int, large: int
) -> tuple[str, list[str]]:
    """One account with many requests of a large bound beside nine with a few of a small one, all of them for `seconds`:
    what each is served, in work, how long the nine wait, and what is wrong with it."""
    eye = Eye(world)
    is_by_work = large > 100
    weights = [await work_of(eye, world, bound) for bound in (large, 100)]
    keys, end = world.keys, time.monotonic() + seconds
    # Small ones are soon served: so many that the account always has some that wait.
    each = 16 if is_by_work else 1
    served: list[list[Answer]] = [[] for _ in keys]

    async def one(account: int, key: tuple[str, str]) -> None:
        client = Client(world.target, *key)
        script = {"events": 1, "first_ms": service_ms}
        while time.monotonic() < end:
            answer = await client.chat(script, max_tokens=100 if account else large, timeout=90)
            served[account].append(answer)
            record.add(answer)
            if not check.expect(answer.status == 200, f"account {account}: {answer.status} {answer.body[-90:]!r}"):
                break
        client.close()

    many = [asyncio.create_task(one(0, keys[0])) for _ in range(MANY)]
    few = [one(account, keys[account]) for account in range(1, ACCOUNTS) for _ in range(each)]
    await asyncio.gather(*few)
    # Nobody waits for the end of the line: they leave.
    for task in many:
        task.cancel()
    await asyncio.gather(*many, return_exceptions=True)
    record.unfinished += [Answer(keys[0][1], False, sent=True) for task in many if task.cancelled()]
    await eye.see(0, 0)
    check.times += sum(len(of) for of in served)
    if check.planted("two-accounts"):
        served[0] += served.pop()
    # While all wait: not the first ones, who found the places free, and not the last ones, who wait alone.
    warm = max(of[0].ended if of else end for of in served[1:])
    counted = [[a for a in of if warm < a.ended <= end] for of in served]
    lost, fair = [], jain([float(len(of) * weights[min(account, 1)]) for account, of in enumerate(counted)])
    if fair < FAIR:
        lost.append(f"{large} beside 100: Jain's index {fair:.3f} of {[len(of) for of in counted]} x {weights}")
    waits = [float(a.headers.get("x-queue-ms", 0)) for of in counted[1:] for a in of]
    took = [1000 * a.seconds - float(a.headers.get("x-queue-ms", 0)) for of in counted for a in of]
    # Ten that take turns at four places wait one service or two: two are the most, and both are as even as the machine.
    service, p99 = percentile(took, 0.99), percentile(waits, 0.99)
    if not is_by_work and p99 > 2 * max(service, service_ms):
        lost.append(f"the nine wait {p99:.0f} ms, and are served in {service:.0f} ms")
    longest = max(longest_gap(of, end - seconds, end) for of in served[1:])
    if longest > seconds / 2:
        lost.append(f"one of the nine got nothing for {longest:.1f} s")
    return f"{fair:.3f}" + ("" if is_by_work else f", p99 {p99:.0f}/{service:.0f} ms"), lost


async def both_shares(check: Check, world: World, record: Record) -> str:
    """By number, then by work. A machine that stands still has nobody wait: whoever is unfair is so again."""
    said = []
    # A round of the large ones is 300 small ones: it needs several.
    for service_ms, large, seconds in (
        (SERVICE_MS, 100, check.count(10, 4)),
        (SERVICE_MS // 20, 8_000, check.count(12, 6)),
    ):
        for _ in range(3):
            text, lost = await shares(check, world, record, seconds, service_ms, large)
            if not lost or check.plant:
                break
        check.lost += lost
        said.append(text)
    return "; ".join(said)


async def work_of(eye: Eye, world: World, bound: int) -> int:
    """The tokens that a request may take, by what it holds: one micro-dollar a prompt token, two a generated one."""
    key, key_id = world.keys[0]
    client = Client(world.target, key, key_id)
    task = asyncio.ensure_future(client.chat({"events": 1, "first_ms": 300}, max_tokens=bound))
    held = 0
    while not held and not task.done():
        held = await eye.held(key)
    await task
    client.close()
    await eye.see(0, 0)
    return held - bound


def longest_gap(answers: list[Answer], began: float, end: float) -> float:
    """The longest time without an answer."""
    times = [began, *sorted(a.ended for a in answers), end]
    return max(later - earlier for earlier, later in zip(times, times[1:], strict=False))


# Thousands.


@contextlib.asynccontextmanager
async def blocked(world: World, record: Record) -> AsyncIterator[list[asyncio.Task[Answer]]]:
    """All places are taken by requests that are never answered; at the end of the block they leave."""
    clients = [Client(world.target, *world.keys[0]) for _ in range(PLACES)]
    tasks = [asyncio.create_task(c.chat({"mode": "silent"}, timeout=600)) for c in clients]
    try:
        yield tasks
    finally:
        for task, client in zip(tasks, clients, strict=True):
            task.cancel()
            client.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            record.unfinished.append(Answer(client.key_id, False, sent=True))


async def line_up(
    check: Check, world: World, number: int, leave: Callable[[int], HangUp | None]
) -> list[asyncio.Task[Answer]]:
    """So many begin to wait, of all accounts; some leave."""
    room = asyncio.Semaphore(200)

    async def one(n: int) -> Answer:
        client = Client(world.target, *world.keys[n % len(world.keys)])
        async with room:
            with contextlib.suppress(OSError):
                await client.connect()
        answer = await client.chat({"events": 1}, hang_up=leave(n), timeout=600)
        client.close(reset=answer.hung_up and n % 2 == 0)
        return answer

    check.times += number
    return [asyncio.create_task(one(n)) for n in range(number)]


def processor(world: World) -> float:
    """The seconds of the processor that the server took."""
    with open(f"/proc/{world.pid}/stat", encoding="ascii") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def taken(world: World, seconds: float) -> float:
    """What it takes of a processor, as a share."""
    before, began = processor(world), time.monotonic()
    await asyncio.sleep(seconds)
    return (processor(world) - before) / (time.monotonic() - began)


async def thousands(check: Check, world: World, record: Record) -> str:
    """Many wait: what they take of memory and of the processor."""
    eye, number, watch = Eye(world), check.count(10_000, 2_000), check.count(10, 3)
    await eye.see(0, 0)
    async with blocked(world, record):
        await eye.see(PLACES, 0)
        idle, before = await taken(world, watch), world.memory()
        tasks = await line_up(check, world, number, lambda _: None)
        await eye.see(PLACES, number, 60)
        took = world.memory() - before
        # What came last is over with: now nothing happens but waiting.
        await asyncio.sleep(1)
        nosy = asyncio.create_task(keep_looking(eye)) if check.planted("keeps-busy") else None
        busy = await taken(world, watch)
        if nosy:
            nosy.cancel()
    for answer in await asyncio.gather(*tasks):
        record.add(answer)
        check.expect(answer.status == 200, f"one of {number}: {answer.status} {answer.error} {answer.body[-90:]!r}")
    most = check.count(MOST_MEMORY, QUICK_MEMORY)
    check.expect(took <= most, f"{number} who wait take {took / MIB:.0f} MiB, and not {most / MIB:.0f}")
    said = f"{100 * busy:.1f} % of a processor while {number} wait, {100 * idle:.1f} % before"
    check.expect(busy <= idle + (DEBUG_IDLE if "debug" in check.binary.parts else MOST_IDLE), said)
    await eye.nothing_left(check, f"after {number}")
    return f"{number}: {took / MIB:.0f} MiB, {100 * busy:.1f} % cpu"


async def keep_looking(eye: Eye) -> None:
    """A caller that keeps the server busy."""
    while True:
        await eye.capacity()
        await asyncio.sleep(0.005)


async def leavers(check: Check, world: World, record: Record) -> str:
    """Of those who wait half leave, before their turn and at their turn; then the server is killed under a line."""
    eye, number = Eye(world), 2_000
    leave_in = check.count(8, 4)
    rng = random.Random(f"{check.seed}:leavers")
    # What is kept once for all is kept before it is measured.
    for answer in await asyncio.gather(*await line_up(check, world, number // 2, lambda _: None)):
        record.add(answer)
    await eye.nothing_left(check, "before")
    before = world.memory()
    leaving = {n: HangUp(after_seconds=rng.uniform(0.5, leave_in), reset=rng.random() < 0.5)
               for n in range(number) if rng.random() < 0.5}  # fmt: skip
    stays = next(iter(leaving))
    async with blocked(world, record):
        await eye.see(PLACES, 0)
        tasks = await line_up(check, world, number, leaving.get)
        if check.planted("stays"):
            client = Client(world.target, *world.keys[stays % len(world.keys)])
            tasks.append(asyncio.create_task(client.chat({"mode": "silent"}, timeout=30)))
        await asyncio.sleep(leave_in / 2)
    # From here on places come free while they leave.
    last = tasks.pop() if check.planted("stays") else None
    for n, answer in enumerate(await asyncio.gather(*tasks)):
        record.add(answer)
        what = f"{answer.status} {answer.error} {answer.body[-90:]!r}"
        check.expect(answer.status == 200 or answer.hung_up or (n in leaving and answer.error), f"a leaver: {what}")
    check.faults += len(leaving)
    await eye.nothing_left(check, f"after {len(leaving)} of {number} left")
    await asyncio.sleep(2)
    more = (world.memory() - before) / MIB
    check.expect(more <= 32, f"{more:.0f} MiB more after {number} waited")
    if last:
        last.cancel()
    await kill(check, world, record)
    return f"{len(leaving)} of {number} left, {more:+.0f} MiB"


async def kill(check: Check, world: World, record: Record) -> None:
    """The server is killed while many wait and some are served."""
    tasks = await line_up(check, world, 1_000, lambda _: None)
    await until("some to be served", lambda: any(task.done() for task in tasks))
    await asyncio.to_thread(world.kill, signal.SIGKILL)
    for answer in await asyncio.gather(*tasks):
        record.add(answer)
    check.faults += 1
    check.audit(world, record, where="killed")
    world.start(args=LONG_LINE)
    await Eye(world).nothing_left(check, "restarted")


# The order.


async def orders(check: Check, world: World, record: Record) -> str:
    """Three at once, and then anything, at desks of one to three places."""
    times = 0
    for places in DESKS:
        desk = Desk()
        of = ("--account", "provider-owner", "--model", model_with(places), "--max-concurrent", str(places))
        # The probe asks the desk, which is in this process.
        await asyncio.to_thread(world.cli, "provider", "add", f"desk-{places}", "--url", await desk.open(), *of)
        story = Story(check, world, desk, record, places)
        try:
            for _ in range(3):
                await story.come()
                await story.agree()
            await story.tell(check.count(200, 60))
            await story.eye.nothing_left(check, f"{places} places")
        except Late as e:
            check.expect(False, f"{places} places: {e}")
        await story.end()
        desk.close()
        times += story.next
    return f"order of {times}"


async def crowd(check: Check, world: World, record: Record, parts: list[str]) -> list[str]:
    """The parts of the row, one after the other."""
    said = []
    try:
        if "shares" in parts:
            said.append(await both_shares(check, world, record))
        if "thousands" in parts:
            said.append(await thousands(check, world, record))
        if "leavers" in parts:
            said.append(await leavers(check, world, record))
        if "orders" in parts:
            said.append(await orders(check, world, record))
    except Late as e:
        check.expect(False, str(e))
    return said


def run(check: Check) -> None:
    """Shares, thousands and leavers at a server with four places; the order at desks of their own."""
    parts = [part for part, plants in PARTS.items() if check.plant is None or check.plant in plants]
    record = Record()
    with check.world() as world:
        world.prepare(accounts=ACCOUNTS, keys=1, usd="100000", concurrent=PLACES)
        for places in DESKS:
            price = ("--input", "1.00", "--output", "2.00", "--context", "4000000", "--max-output", "100000")
            world.cli("price", "set", model_with(places), *price)
        world.start(args=("--queue-timeout", "0") if check.planted("no-queue") else LONG_LINE)
        check.tried = "; ".join(asyncio.run(crowd(check, world, record, parts)))
        world.kill()
        check.audit(world, record)
