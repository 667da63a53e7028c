"""Row 25: requests that make a server hang up, stall or answer 500, beside 50 normal callers on four servers.

What a server does to one request is not what the server is: the normal callers must not notice, and no request may
be sent about: each server gets it once, three servers at most.
"""

from __future__ import annotations

import asyncio
import collections
import random
import time
from typing import Any

from check import Check
from driver import Answer, Client, Record, percentile
from server import Upstream, World

TITLE = "the poison: hang-ups, stalls, 500s beside 50 callers"
QUICK = True
# Others beside it would be in its waits.
ALONE = True
PLANTS = {
    "twice": "every poisoned request reaches one server a second time",
    "outage": "the servers hang up on one normal request in a hundred",
}
SERVERS, NORMAL = 4, 50
MOST_ASKED = 3
FIRST_BYTE_SECONDS = 3
KINDS: dict[str, dict[str, Any]] = {
    "hang-up": {"mode": "die", "after": 0},
    "reset": {"mode": "reset", "after": 0},
    "stall": {"mode": "silent"},
    "500": {"mode": "status", "status": 500},
}
# What each kind may be answered with.
ALLOWED = {"hang-up": {502}, "reset": {502}, "stall": {504}, "500": {502}}


async def normal(
    check: Check, world: World, keys: list[tuple[str, str]], seconds: float, record: Record
) -> list[Answer]:
    """Fifty polite callers, whole and streamed; every answer of theirs."""
    deadline = time.monotonic() + seconds
    answers: list[Answer] = []

    async def one(number: int) -> None:
        own = random.Random(f"{check.seed}:{number}")
        client = Client(world.target, *keys[number % len(keys)])
        while time.monotonic() < deadline:
            script: dict[str, Any] = {"events": own.randint(1, 6)}
            if check.planted("outage") and own.random() < 0.01:
                script = KINDS["hang-up"]
            answer = await client.chat(script, stream=own.random() < 0.5)
            answers.append(answer)
            record.add(answer)
            await asyncio.sleep(own.uniform(0.02, 0.08))
        client.close()

    await asyncio.gather(*(one(n) for n in range(NORMAL)))
    return answers


async def poison(
    check: Check, world: World, kind: str, seconds: float, key: tuple[str, str], tags: collections.Counter[str]
) -> list[tuple[str, Answer]]:
    """One caller of one kind of poison. It tries three times, as SDKs do, unless it is told not to."""
    deadline = time.monotonic() + seconds
    seen: list[tuple[str, Answer]] = []
    client = Client(world.target, *key)
    number = 0
    while time.monotonic() < deadline:
        number += 1
        # Every second one is the same request as before: the tries of an SDK that was restarted.
        text = f"poison {kind} {number // 2}"
        for attempt in range(3):
            tag = f"{kind}-{number}-{attempt}"
            answer = await client.chat({**KINDS[kind], "tag": tag}, text=text)
            seen.append((tag, answer))
            tags[tag] += 1
            if answer.headers.get("x-should-retry") == "false":
                break
        await asyncio.sleep(0.05)
    client.close()
    return seen


async def asked(servers: list[Upstream]) -> list[collections.Counter[str]]:
    """How often each server got each poisoned request."""
    return [collections.Counter((await server.stats())["tags"]) for server in servers]


def judge(
    check: Check, kind: str, seen: list[tuple[str, Answer]], counts: list[collections.Counter[str]]
) -> tuple[int, int]:
    """The answers to one kind, and who was asked for them; returns how many sends, and how many requests."""
    sends = 0
    for tag, answer in seen:
        per_server = [count[tag] + (count[tag] if check.planted("twice") else 0) for count in counts]
        sends += sum(per_server)
        check.expect(max(per_server) <= 1, f"{tag}: a server was asked {max(per_server)} times")
        check.expect(sum(per_server) <= MOST_ASKED, f"{tag}: {sum(per_server)} servers were asked")
        said = f"{answer.status} {answer.body[-120:]!r} {answer.error}"
        check.expect(answer.status in ALLOWED[kind], f"{tag}: {said}")
    return sends, len(seen)


async def both(
    check: Check, world: World, keys: list[tuple[str, str]], servers: list[Upstream], record: Record
) -> int:
    """The normal callers alone, then beside the poison."""
    seconds = check.count(20, 6)
    base = await normal(check, world, keys, seconds / 2, record)
    tags: collections.Counter[str] = collections.Counter()
    poisoned = world.keys[-len(KINDS) :]
    beside = [poison(check, world, kind, seconds, key, tags) for kind, key in zip(KINDS, poisoned, strict=True)]
    answers, *seen = await asyncio.gather(normal(check, world, keys, seconds, record), *beside)
    counts = await asked(servers)
    sends = requests = 0
    for kind, of_kind in zip(KINDS, seen, strict=True):
        check.expect(of_kind, f"{kind}: nothing was sent")
        more, count = judge(check, kind, of_kind, counts)
        sends, requests = sends + more, requests + count
    served = sum(answer.ok for answer in answers)
    bad = collections.Counter(answer.status for answer in answers if not answer.ok)
    check.expect(served >= 0.999 * len(answers), f"normal callers: {served} of {len(answers)} served, {dict(bad)}")
    p99 = [percentile([answer.seconds for answer in some], 0.99) * 1000 for some in (base, answers)]
    check.tried = (
        f"{served}/{len(answers)} normal, p99 {p99[0]:.0f} → {p99[1]:.0f} ms; {requests} poisoned, {sends} sends"
    )
    return len(answers) + requests


def run(check: Check) -> None:
    """Four servers of one model; poison from accounts of its own."""
    record = Record()
    with check.world() as world:
        world.prepare(accounts=10, keys=1)
        spares = [Upstream() for _ in range(SERVERS - 1)]
        try:
            for number, spare in enumerate(spares):
                world.cli(
                    *("provider", "add", f"spare-{number}", "--url", spare.url),
                    *("--account", "provider-owner", "--model", "torture"),
                )
            normal_keys = list(world.keys)
            for _ in KINDS:
                world.add_account("1000")
            check.expect(len(normal_keys) == 10, "ten accounts of normal callers")
            world.start(args=("--first-byte-timeout", str(FIRST_BYTE_SECONDS)))
            check.times = asyncio.run(both(check, world, normal_keys, [world.upstream, *spares], record))
            check.faults = check.times
            check.audit(world, record)
        finally:
            # The server first: an upstream that ends under open connections complains.
            if world.running():
                world.kill()
            for spare in spares:
                spare.stop()
