"""Row 13: 200 valid keys that the server has never seen, all at once."""

from __future__ import annotations

import asyncio

from check import Check
from driver import Client, Record
from server import World

TITLE = "200 valid keys never seen before, at once"
QUICK = False
PLANTS = {"one-revoked": "one of the keys is revoked"}


async def rush(world: World) -> Record:
    """One request a key, sent together."""
    record = Record()
    clients = [Client(world.target, *key) for key in world.keys]
    await asyncio.gather(*(client.connect() for client in clients))
    for answer in await asyncio.gather(*(client.chat({"events": 3}) for client in clients)):
        record.add(answer)
    for client in clients:
        client.close()
    return record


def run(check: Check) -> None:
    """Three times: each restart forgets the keys it has verified."""
    keys, rounds = check.count(200, 40), check.count(3, 1)
    slowest = 0.0
    with check.world() as world:
        world.prepare(accounts=1, keys=keys)
        if check.planted("one-revoked"):
            world.cli("key", "revoke", world.keys[7][1])
        everything = Record()
        for number in range(rounds):
            world.start()
            record = asyncio.run(rush(world))
            check.expect(
                len(record.answers) == keys, f"round {number}: {keys - len(record.answers)} not served {record.refused}"
            )
            slowest = max([slowest, *(answer.seconds for answer in record.answers)])
            everything.answers += record.answers
            everything.unfinished += record.unfinished
            everything.keys |= record.keys
            world.kill(15)
        check.audit(world, everything)
    check.times = check.faults = keys * rounds
    check.tried = f"all in ≤ {slowest * 1000:.0f} ms"
