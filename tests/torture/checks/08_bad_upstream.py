"""Row 8: an upstream that dies, stalls, lies and smuggles, each way streamed and whole.

Every case has a model and a provider of its own, so that one provider's failures do not bench another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import audit
from check import Check
from driver import CHAT, Answer, Client, HangUp, Record
from server import INPUT_MICRO, OUTPUT_MICRO, World

TITLE = "a misbehaving upstream"
QUICK = True
PLANTS = {"direct": "the clients talk to the upstream itself, with nothing between"}
MAX_TOKENS, EVENTS, PROMPT = 64, 12, 7
HONEST = PROMPT * INPUT_MICRO + EVENTS * OUTPUT_MICRO
# What an answer may be: `good` 200 and whole, `failed` 502/503/504, `broken` a stream that ends in an error.
GOOD, FAILED, BROKEN = "good", "failed", "broken"
# Nobody waits for a server that says that it is full: it would say so again and again.
SILENT_SECONDS = ("--first-byte-timeout", "6", "--idle-timeout", "6", "--queue-timeout", "0")


@dataclass
class Case:
    """One misbehaviour and what may come of it."""

    script: dict[str, Any]
    streamed: bool
    allowed: tuple[str, ...]
    cost: int | None = None
    leave: HangUp | None = None
    name: str = field(default="")

    def __post_init__(self) -> None:
        told = " ".join(str(v)[:24] for v in self.script.values())
        self.name = f"{told} {'streamed' if self.streamed else 'whole'}"


def cases(canary_port: int) -> list[Case]:
    """The table."""
    made: list[Case] = []

    def add(
        script: dict[str, Any], whole: tuple[str, ...] | None, streamed: tuple[str, ...] | None, cost: int | None = None
    ) -> None:
        script = {"events": EVENTS, **script}
        for is_stream, allowed in ((False, whole), (True, streamed)):
            if allowed is not None:
                made.append(Case(script, is_stream, allowed, cost))

    for mode in ("die", "reset"):
        add({"mode": mode, "after": 0}, (FAILED,), (FAILED, BROKEN))
        for after in range(1, 6):
            add({"mode": mode, "after": after}, (FAILED,), (FAILED, BROKEN))
    add({"mode": "silent"}, (FAILED,), (FAILED,))
    add({"mode": "half_json"}, (FAILED,), (FAILED,))
    add({"mode": "bad_length"}, (FAILED,), (FAILED,))
    add({"mode": "not_http"}, (FAILED,), (FAILED,))
    for status in (500, 503, 401, 403, 418):
        add({"mode": "status", "status": status}, (FAILED, "refused"), (FAILED, "refused"))
    for status in (301, 302, 303, 307, 308):
        where = f"http://127.0.0.1:{canary_port}/v1/chat/completions"
        add({"mode": "redirect", "status": status, "location": where}, (FAILED,), (FAILED,))
    lies = ("1000000000", "-5", "1.5", '"7"', "null", "9223372036854775808", "1e400", "[]", "true", "-0")
    for lie in lies:
        for part in ("prompt_tokens", "completion_tokens"):
            fields = {"prompt_tokens": str(PROMPT), "completion_tokens": str(EVENTS), part: lie}
            usage = "{" + ",".join(f'"{k}":{v}' for k, v in fields.items()) + "}"
            add({"usage": usage}, (GOOD, FAILED), (GOOD, BROKEN))
    for usage in ("null", "{}", "[]", "7", '"x"', '{"prompt_tokens":1,"prompt_tokens":1000000}', "not json"):
        add({"usage": usage}, (GOOD, FAILED), (GOOD, BROKEN))
    add({"usage": '{"prompt_tokens":0,"completion_tokens":0}'}, (GOOD,), (GOOD,))
    add({"mode": "no_usage"}, (GOOD,), (GOOD,))
    add({"mode": "usage_twice"}, None, (GOOD,), HONEST)
    add({"mode": "usage_cumulative"}, None, (GOOD,), HONEST)
    add({"mode": "usage_early"}, None, (GOOD,), HONEST)
    add({"mode": "comments", "after": 50}, None, (GOOD,), HONEST)
    add({"mode": "long_line", "events": 3}, None, (GOOD, BROKEN))
    add({"mode": "garbage"}, (FAILED,), (FAILED, BROKEN))
    add({"mode": "empty_stream"}, None, (FAILED, BROKEN))
    add({"mode": "done_only"}, None, (FAILED, BROKEN))
    add({"mode": "no_done"}, None, (BROKEN,))
    add({"mode": "error_event"}, None, (BROKEN,))
    add({"mode": "crlf_header"}, (GOOD, FAILED), (GOOD, FAILED))
    add({"mode": "many_headers"}, (GOOD, FAILED), (GOOD, FAILED))
    add({"mode": "gzip"}, (GOOD,), (FAILED, BROKEN), HONEST)
    add({"mode": "ok"}, (GOOD,), (GOOD,), HONEST)
    add({"mode": "ok", "deaf": True, "events": 500}, (GOOD, FAILED), (GOOD, BROKEN))
    endless = Case({"mode": "endless", "deaf": True, "gap_ms": 1}, True, (BROKEN, GOOD))
    endless.leave = HangUp(after_seconds=1.0)
    return [*made, endless]


def kind(answer: Answer) -> str:
    """What an answer is."""
    if answer.ok:
        return GOOD
    if answer.status in (502, 503, 504) and answer.whole:
        return FAILED
    if answer.status == 200 and answer.stream and (answer.hung_up or b'"error"' in answer.body):
        return BROKEN
    if 400 <= answer.status < 500 and answer.whole:
        return "refused"
    return f"{answer.status}{' cut' if not answer.whole else ''} {answer.error}"


async def ask(world: World, case: Case, number: int, key: tuple[str, str], path: str = CHAT) -> tuple[Answer, int]:
    """Sends one case; returns the answer and the ceiling of its price."""
    body = {
        "model": f"case-{number}",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": MAX_TOKENS,
        "stream": case.streamed,
        "stream_options": {"include_usage": True},
        "torture": case.script,
    }
    if not case.streamed:
        del body["stream_options"]
    raw = json.dumps(body).encode()
    client = Client(world.target, *key)
    answer = await client.request("POST", path, raw, stream=case.streamed, hang_up=case.leave, timeout=30)
    client.close()
    return answer, len(raw) * INPUT_MICRO + MAX_TOKENS * OUTPUT_MICRO


def judge(check: Check, case: Case, answer: Answer, ceiling: int, row: tuple | None) -> None:
    """One answer and its row."""
    what = kind(answer)
    check.expect(what in case.allowed, f"{case.name}: {what}, allowed {case.allowed} {answer.body[-160:]!r}")
    leaks = [f"{k}: {v}"[:80] for k, v in answer.headers.items() if "canary" in f"{k}: {v}".lower()]
    check.expect(not leaks, f"{case.name}: the upstream's headers leak: {leaks[:3]}")
    check.expect(answer.request_id.startswith("req_"), f"{case.name}: x-request-id is {answer.request_id!r}")
    if row is None:
        check.expect(what != GOOD, f"{case.name}: no row")
        return
    outcome, cost, charged, completion = row
    check.expect(cost <= ceiling, f"{case.name}: cost {cost} above the hold of {ceiling}")
    if what == GOOD:
        check.expect(outcome == "completed", f"{case.name}: the row says {outcome}")
        check.expect(case.cost is None or cost == case.cost, f"{case.name}: cost {cost}, not {case.cost}")
        check.expect(cost > 0, f"{case.name}: served for nothing")
        check.expect(completion <= MAX_TOKENS, f"{case.name}: {completion} tokens of {MAX_TOKENS}")
    elif not answer.hung_up:
        check.expect(charged == 0, f"{case.name}: failed and charged {charged} ({outcome})")


def run(check: Check) -> None:
    """Every case, several at a time; then each row, and that no redirect was followed."""
    rounds = check.count(5, 1)
    record = Record()
    with check.world() as world, check.world("canary") as canary:
        table = cases(canary.upstream.port)
        world.prepare(accounts=1, keys=1)
        for number in range(len(table)):
            world.cli("price", "set", f"case-{number}", "--input", "1.00", "--output", "2.00", "--max-output", "100000")
            world.cli(
                "provider",
                "add",
                f"provider-{number}",
                "--url",
                world.upstream.url,
                "--account",
                "provider-owner",
                "--model",
                f"case-{number}",
            )
        world.start(args=SILENT_SECONDS)
        if check.planted("direct"):
            world.target.port = world.upstream.port

        async def all_cases() -> list[tuple[Case, Answer, int]]:
            gate = asyncio.Semaphore(16)

            async def one(number: int, case: Case) -> tuple[Case, Answer, int]:
                async with gate:
                    answer, ceiling = await ask(world, case, number, world.keys[0])
                record.add(answer)
                return case, answer, ceiling

            todo = [(n, c) for _ in range(rounds) for n, c in enumerate(table)]
            return await asyncio.gather(*(one(n, c) for n, c in todo))

        done = asyncio.run(all_cases())
        with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
            rows = {
                number: tuple(rest)
                for number, *rest in db.execute(
                    "SELECT id, outcome, cost_micro_usd, charged_micro_usd, completion_tokens FROM usage"
                )
            }
        for case, answer, ceiling in done:
            known = answer.request_id.startswith("req_")
            judge(check, case, answer, ceiling, rows.get(audit.id_number(answer.request_id)) if known else None)
        followed = asyncio.run(canary.upstream.stats())["hits"]
        check.expect(not any("chat" in path for path in followed), f"a redirect was followed: {followed}")
        if not check.planted("direct"):
            check.audit(world, record)
    check.times, check.faults = len(done), len(done)
    check.tried = f"{len(table)} ways, {sum(kind(a) == GOOD for _, a, _ in done)} answered, the rest refused or cut"
