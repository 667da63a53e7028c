"""Row 24: free rides. Attackers with five cents try generated tricks against a server that counts exactly.

Each try has an account and an amount of its own, so that what it was charged can be held against what the server
counted: whatever was answered to the end costs what the server counted, or all that the account had; whoever
leaves pays about what had been delivered. No honest server is flagged on the way.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import audit
from check import Check
from driver import Answer, Client, HangUp
from server import HERE, Upstream, World, micro

TITLE = "free rides: generated tricks against an exact counter"
QUICK = True
PLANTS = {"secret-bound": "the server takes its output bound from a field that the coordinator does not know"}
HABITS = ("strict", "go", "llama", "tgi", "kobold", "aio", "qwen", "digits", "bytes", "plain")
DENSE = ("digits", "bytes")
# Micro-dollars a token: what is cheap and what is dear.
CHEAP, DEAR = (1, 2), (20, 40)
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
WORDS = "the quick brown fox jumps over lazy dogs while seven wizards box daftly near some quiet river".split()
# Of those who leave, together: an estimate may err, but not in one direction.
LEAVERS_PAY = 0.9
# Seconds that a slow stream is silent.
PAUSE = 2.0


class Counting(Upstream):
    """The counting upstream as a process."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, HERE / "counting_upstream.py", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = json.loads(self.process.stdout.readline())["port"]


@dataclass
class Try:
    """One attack: a body, the way it is sent, and what came of it."""

    nonce: str
    habit: str
    dialect: str
    usd: str
    body: dict[str, Any]
    tricks: list[str] = field(default_factory=list)
    tail: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    leave: HangUp | None = None
    parallel: int = 1
    # What is left of the balance beside a slow stream that holds the rest, as a share of the cost by bytes.
    beside: float | None = None
    account: str = ""
    answers: list[Answer] = field(default_factory=list)

    def payload(self, copy: int) -> bytes:
        """The bytes that are sent; `tail` are raw members that no JSON library would write."""
        script = {**self.body["torture"], "nonce": f"{self.nonce}-{copy}"}
        text = json.dumps({**self.body, "torture": script}, ensure_ascii="escapes" in self.tricks)
        return (text[:-1] + self.tail + "}").encode()

    def slow(self) -> bytes:
        """A stream that says little, late, and holds all but what this try is to be had for."""
        payload = len(self.payload(0))
        rest = int(payload * CHEAP[0] * (self.beside or 0)) + 2 * CHEAP[1]
        script = {"nonce": f"{self.nonce}-slow", "events": 3, "pause": PAUSE}
        body = {"model": f"{self.habit}-cheap", "torture": script, "stream": True, "max_tokens": 100_000,
                "messages": [{"role": "user", "content": "Slowly."}]}  # fmt: skip
        most = (micro(self.usd) - rest - len(json.dumps(body)) * CHEAP[0]) // CHEAP[1]
        return json.dumps({**body, "max_tokens": max(1, most)}).encode()

    def nonces(self) -> list[str]:
        """The names of all its requests."""
        return [*(f"{self.nonce}-{copy}" for copy in range(self.parallel)), f"{self.nonce}-slow"]

    def __str__(self) -> str:
        return f"{self.nonce} {self.habit}/{self.dialect} ${self.usd} [{' '.join(self.tricks)}]"


def prompt_field(attack: Try, text: str) -> None:
    """Puts a text where the dialect's prompt stands."""
    if attack.dialect in ("chat", "messages"):
        attack.body["messages"].append({"role": "user", "content": text})
    elif attack.dialect == "completions":
        attack.body["prompt"] = text
    else:
        attack.body["input"] = text


# Tricks. Each changes a try in place; its name is what the finding says.


def joined(attack: Try, rng: random.Random) -> None:
    """Words joined by a sign of the base64 alphabet."""
    sign = rng.choice("_-/+=")
    prompt_field(attack, sign.join(rng.choices(WORDS, k=rng.choice((50, 900, 20_000)))))


def opaque(attack: Try, rng: random.Random) -> None:
    """Text that looks like encoded data."""
    raw = rng.randbytes(rng.choice((60, 4_000, 60_000)))
    text = base64.b64encode(raw).decode() if rng.random() < 0.5 else raw.hex()
    prompt_field(attack, rng.choice(("", "data:image/png;base64,", "data:text/plain,")) + text)


def scripts(attack: Try, rng: random.Random) -> None:
    """Letters outside of ASCII, blanks, digits."""
    letters = rng.choice(("漢字仮名交じり文", "Привет мир ", "😀🎉👩‍👩‍👧", "\u0001\u0002\t\n", "0123456789", "ﷺ﷽", "a\u0301\u0301"))
    prompt_field(attack, letters * rng.choice((3, 300, 3_000)))


def unknown_field(attack: Try, rng: random.Random) -> None:
    """The prompt stands in a field that a template reads and nobody documents."""
    text = " ".join(rng.choices(WORDS, k=rng.choice((40, 4_000))))
    name = rng.choice(("documents", "chat_template_kwargs", "prefix", "context", "grammar", "knowledge"))
    attack.body[name] = rng.choice(([{"title": "t", "text": text}], {"system": text}, text))


def tool_texts(attack: Try, rng: random.Random) -> None:
    """Long tools, or long results of tools."""
    text = " ".join(rng.choices(WORDS, k=rng.choice((40, 3_000))))
    function = {"name": "look", "description": text, "parameters": {"type": "object", "properties": {
        rng.choice(("file", "image_url", "a")): {"type": "string"}}}}  # fmt: skip
    if attack.dialect == "chat":
        attack.body["tools"] = [{"type": "function", "function": function}]
        attack.body["messages"] += [
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "look", "arguments": json.dumps({"a": text})}}]},
            {"role": "tool", "tool_call_id": "c", "content": text},
        ]  # fmt: skip
    elif attack.dialect == "messages":
        attack.body["tools"] = [{"name": "look", "description": text, "input_schema": function["parameters"]}]
        attack.body["messages"] += [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "look", "input": {"a": text}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": text}]},
        ]


def pictures(attack: Try, rng: random.Random) -> None:
    """Pictures that are small on the wire."""
    url = rng.choice(("https://a.example/1.png", "data:image/gif;base64,R0lGODlhAQABAAAAACw="))
    if attack.dialect == "messages":
        part: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": url}}
    elif attack.dialect == "responses":
        part = {"type": "input_image", "image_url": url}
    else:
        part = {"type": "image_url", "image_url": {"url": url}}
    content = [part] * rng.choice((1, 3, 40))
    if attack.dialect in ("chat", "messages"):
        attack.body["messages"].append({"role": "user", "content": content})
    elif attack.dialect == "responses":
        attack.body["input"] = [{"role": "user", "content": content}]


def escaped(attack: Try, rng: random.Random) -> None:
    """Every character that JSON may write as an escape is one."""
    attack.tricks.append("escapes")
    scripts(attack, rng)


def other_case(attack: Try, rng: random.Random) -> None:
    """A key of the coordinator's in another case, behind the right one."""
    key, value = rng.choice((
        ("Max_Tokens", 4000), ("MAX_TOKENS", 4000), ("max_to\u212aens", 4000), ("max_token\u017f", 4000),
        ("Max_Completion_Tokens", 4000), ("Model", f"{attack.habit}-dear"),
        ("Stream", True), ("N", 3), ("Prompt", "long " * 500), ("Messages", [{"role": "user", "content": "x " * 999}]),
        ("Options", {"Num_Predict": 4000}),
    ))  # fmt: skip
    text = json.dumps(key, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.3:
        text = f'"\\u{ord(key[0]):04x}{key[1:]}"'
    attack.tail = f",{text}:{json.dumps(value)}"


def other_bound(attack: Try, rng: random.Random) -> None:
    """Another server's name for the output bound."""
    key, value = rng.choice((
        ("n_predict", 4000), ("max_length", 4000), ("max_new_tokens", 4000), ("num_predict", 4000),
        ("options", {"num_predict": 4000}), ("parameters", {"max_new_tokens": 4000}), ("max_output_tokens", 4000),
        ("max_completion_tokens", 4000), ("max_tokens", 4000),
    ))  # fmt: skip
    attack.tail = f",{json.dumps(key)}:{json.dumps(value)}"


def odd_bound(attack: Try, rng: random.Random) -> None:
    """The output bound in a shape that servers read differently."""
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if name in attack.body:
            attack.body[name] = rng.choice((-1, 0, 4000.0, 1e3, 6000.5, "4000", None, [4000], 2**40))


def several(attack: Try, rng: random.Random) -> None:
    """More than one answer."""
    attack.body[rng.choice(("n", "best_of", "num_return_sequences"))] = rng.choice((1.0, 2, 2.0, 5, "3"))


def charset(attack: Try, rng: random.Random) -> None:
    """A charset in which the server reads other words than were metered."""
    attack.headers["content-type"] = f"application/json; charset={rng.choice(('utf-7', 'utf-16', 'cp037', 'latin-1'))}"
    attack.tail = ',"+AG0-ax_tokens":4000'


def twice(attack: Try, rng: random.Random) -> None:
    """A key twice."""
    key = rng.choice(("max_tokens", "\\u006dax_tokens", "model", "\\u006dodel"))
    value = json.dumps(f"{attack.habit}-dear") if "odel" in key else rng.choice((1, 4000))
    attack.tail = f',"{key}":{value}'


def told(attack: Try, rng: random.Random) -> None:
    """To a server that speaks chat alone: what is short here and long there, and bounds of the other dialect."""
    attack.habit, attack.dialect = "plain", rng.choice(("responses", "messages"))
    script, stream = attack.body["torture"], attack.body["stream"]
    attack.body = {"model": "plain-cheap", "torture": script, "stream": stream}
    names = [f"{number:x}" for number in range(rng.choice((3, 60, 400)))]
    if attack.dialect == "responses":
        space = {"type": "namespace", "name": rng.choice(("a", "\u0001" * 64, "\u00e9" * 64))}
        custom = [{"type": "custom", "name": name} for name in names]
        output = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": "a"}]}
        attack.body |= rng.choice((
            {"input": "Hi.", "tools": custom},
            {"input": "Hi.", "tools": [{**space, "tools": custom}]},
            {"input": [{"type": "custom_tool_call", "call_id": "c", "name": "a", "input": '"\\\n' * 9} for _ in names]},
            {"input": [output for _ in names[:60]]},
            {"input": "Hi.", "instructions": "0123456789" * len(names)},
        ))  # fmt: skip
        attack.body |= rng.choice(({}, {"max_output_tokens": 100}, {"max_output_tokens": 100, "max_tokens": 4000},
            {"max_output_tokens": 100, "max_completion_tokens": 4000}, {"max_tokens": 4000}, {"n": 3}))  # fmt: skip
    else:
        blocks = rng.choice((
            [{"type": "tool_reference", "tool_name": name} for name in names],
            [{"type": "search_result", "content": []} for _ in names],
            [{"type": "document", "source": {"type": "text", "data": "7" * 30}, "title": name} for name in names],
        ))  # fmt: skip
        attack.body |= {"messages": [{"role": "user", "content": [*blocks, {"type": "text", "text": "Hi."}]}]}
        attack.body |= rng.choice(({"tools": []}, {"tools": [{"name": name} for name in names]}))
        attack.body |= {"max_tokens": 100} | rng.choice(({}, {"max_completion_tokens": 4000}, {"n": 3}))


def left(attack: Try, rng: random.Random) -> None:
    """Leaves: at once, in the middle, or at the last word; some of those who do have sent numbers."""
    attack.body["stream"] = True
    attack.leave = HangUp(after_bytes=rng.choice((400, 1_500, 6_000, 20_000)), reset=rng.random() < 0.5)
    if attack.habit == "qwen":
        prompt_field(attack, "0123456789" * rng.choice((50, 1_000)))


def crowd(attack: Try, rng: random.Random) -> None:
    """Many at once on one small balance."""
    attack.parallel = rng.choice((3, 8))


def beside(attack: Try, rng: random.Random) -> None:
    """One after another beside a slow stream that leaves them less than their bytes cost: what a count says fits, and
    what the server counts does not."""
    attack.beside, attack.parallel, attack.usd = rng.choice((0.3, 0.45, 0.6, 0.9)), rng.choice((1, 3)), "0.05"
    attack.habit, letters = rng.choice((
        ("digits", "0123456789"), ("digits", "1234 "), ("digits", "\n"), ("digits", "x9"),
        ("bytes", "漢字仮名交じり文"), ("bytes", "Привет мир "), ("strict", "the quick brown fox "), ("go", "_7"),
    ))  # fmt: skip
    attack.body["model"] = f"{attack.habit}-cheap"
    prompt_field(attack, letters * (rng.choice((6_000, 20_000)) // len(letters.encode())))


TRICKS = (joined, opaque, scripts, unknown_field, tool_texts, pictures, escaped, other_case, other_bound, odd_bound,
          several, charset, twice, told, left, crowd, beside)  # fmt: skip


def attack_of(number: int, rng: random.Random, *, secret: bool) -> Try:
    """A try: one trick to three on an ordinary request. The first of each trick stands alone."""
    dialect = rng.choice(("chat", "chat", "chat", "completions", "messages", "responses"))
    habit = rng.choice(HABITS)
    script = {"events": rng.choice((5, 60, 6_000))}
    body: dict[str, Any] = {"model": f"{habit}-cheap", "torture": script, "stream": rng.random() < 0.5}
    if dialect in ("chat", "messages"):
        body["messages"] = [{"role": "user", "content": "Say hello."}]
    else:
        body["prompt" if dialect == "completions" else "input"] = "Say hello."
    if dialect == "messages" or rng.random() < 0.7:
        name = {"responses": "max_output_tokens", "chat": rng.choice(("max_tokens", "max_completion_tokens"))}
        body[name.get(dialect, "max_tokens")] = rng.choice((10, 100, 3_000))
    if body["stream"] and dialect in ("chat", "completions") and rng.random() < 0.5:
        body["stream_options"] = {"include_usage": True}
    usd = rng.choice(("0.05", "0.05", "0.03", "0.005", "0.0005", "0.00006"))
    attack = Try(f"t{number}", habit, dialect, usd, body)
    alone = (*TRICKS, *[beside] * 4)
    chosen = [alone[number]] if number < len(alone) else rng.sample(TRICKS, rng.randint(1, 3))
    for trick in chosen:
        attack.tricks.append(trick.__name__)
        trick(attack, rng)
    if attack.leave is not None and attack.habit in DENSE:
        # An estimate by another tokenizer may err by as much as these differ from it; whoever stays pays their count.
        attack.habit = "strict"
        attack.body["model"] = "strict-cheap"
    if attack.leave is not None and "grammar" in attack.body:
        # A grammar constrains the output and is in no prompt, so an estimate leaves it out. A server that reads it all
        # the same is paid what it reports.
        attack.body["documents"] = attack.body.pop("grammar")
    if secret:
        script["bound"] = 6_000
    return attack


async def send(world: World, attack: Try, key: tuple[str, str]) -> None:
    """Sends a try, all its copies at once, or one after another beside a slow stream."""

    async def one(copy: int) -> None:
        client = Client(world.target, *key)
        headers = attack.headers
        stream = attack.body["stream"] is True
        payload = attack.payload(copy)
        answer = await client.request(
            "POST", PATHS[attack.dialect], payload, stream=stream, headers=headers, hang_up=attack.leave, timeout=60
        )
        attack.answers.append(answer)
        client.close()

    if attack.beside is None:
        await asyncio.gather(*(one(copy) for copy in range(attack.parallel)))
        return
    client = Client(world.target, *key)
    slow = asyncio.ensure_future(client.request("POST", PATHS["chat"], attack.slow(), stream=True, timeout=60))
    await asyncio.sleep(0.3)
    for copy in range(attack.parallel):
        await one(copy)
    attack.answers.append(await slow)
    client.close()


def counted(attack: Try, counts: dict[str, Any], *, finished: bool) -> int:
    """What the server's own counts come to, of the copies that it finished or of the others."""
    total = 0
    for nonce in attack.nonces():
        said = counts.get(nonce)
        if said and said["finished"] == finished:
            into, out = DEAR if said["model"].endswith("dear") else CHEAP
            total += said["prompt"] * into + said["completion"] * out
    return total


def judge(check: Check, world: World, tries: list[Try], counts: dict[str, Any]) -> tuple[int, int]:
    """Every try against its rows; then those who left, together."""
    with contextlib.closing(audit.open_read_only(world.data / "coordinator.db")) as db:
        charged = {
            audit.id_text("acct", number): (rows, paid)
            for number, rows, paid in db.execute(
                "SELECT account_id, count(*), sum(charged_micro_usd) FROM usage GROUP BY account_id"
            )
        }
        flagged = db.execute("SELECT name, flagged FROM providers WHERE flagged > 0").fetchall()
    check.expect(not flagged, f"honest providers are flagged: {flagged}")
    owed = paid_in_all = left_owed = left_paid = 0
    for attack in tries:
        rows, paid = charged.get(attack.account, (0, 0))
        had = micro(attack.usd)
        whole, cut = counted(attack, counts, finished=True), counted(attack, counts, finished=False)
        if attack.leave is None:
            # What an account has pays for whole tokens.
            due = min(whole, had - CHEAP[1] + 1)
            owed, paid_in_all = owed + due, paid_in_all + paid
            check.expect(paid >= due, f"{attack}: charged {paid} of {whole}, having {had}; {statuses(attack)}")
        elif rows:
            # What was sent is more than what was delivered by what the sockets held. (Who left after the end has read each
            # word more than once where a dialect repeats at its end what it has said.)
            read = sum(a.body.count(b" hello") for a in attack.answers)
            sent = sum(counts[n]["completion"] for n in counts if n.startswith(f"{attack.nonce}-"))
            delivered = whole + cut - max(sent - read, 0) * CHEAP[1]
            left_owed, left_paid = left_owed + min(delivered, had), left_paid + paid
            check.expect(paid >= min(delivered, had) // 2, f"{attack}: left, charged {paid} of {delivered}, having {had}")
    check.expect(left_paid >= LEAVERS_PAY * left_owed, f"those who left paid {left_paid} of {left_owed}")
    return owed, paid_in_all


def statuses(attack: Try) -> list[int]:
    """What the copies were answered."""
    return [answer.status for answer in attack.answers]


def run(check: Check) -> None:
    """All the tries, some at a time; then the books."""
    secret = check.planted("secret-bound")
    number = check.count(600, 60 if not secret else 30)
    tries = [attack_of(n, check.rng, secret=secret) for n in range(number)]
    upstream = Counting("--secret-bound") if secret else Counting()
    try:
        with check.world() as world:
            prepare(world, upstream)
            keys = accounts(world, tries)
            world.start()

            async def all_of_them() -> dict[str, Any]:
                gate = asyncio.Semaphore(6)

                async def one(attack: Try) -> None:
                    async with gate:
                        await send(world, attack, keys[attack.nonce])

                await asyncio.gather(*(one(attack) for attack in tries))
                await asyncio.sleep(check.count(5, 3))
                client = Client(type(world.target)(port=upstream.port))
                answer = await client.request("GET", "/_torture/counts")
                client.close()
                return answer.json()

            counts = asyncio.run(all_of_them())
            world.kill(15)
            owed, paid = judge(check, world, tries, counts)
            check.audit(world)
    finally:
        upstream.stop()
    answered = sum(a.status == 200 for attack in tries for a in attack.answers)
    refused = sum(a.status >= 400 for attack in tries for a in attack.answers)
    check.expect(answered >= number // 4, f"only {answered} were answered: the row proves nothing")
    odd = {a.status for attack in tries for a in attack.answers if a.status >= 500}
    check.expect(not odd, f"answers of {odd}")
    check.times, check.faults = number, sum(len(attack.tricks) for attack in tries)
    check.tried = f"{answered} answered, {refused} refused; owed {owed}, paid {paid}"


def prepare(world: World, upstream: Counting) -> None:
    """A cheap and a dear model of each habit, and its provider."""
    owner = world.cli_json("account", "create", "provider-owner")["id"]
    for habit in HABITS:
        for name, (into, out) in (("cheap", CHEAP), ("dear", DEAR)):
            world.cli("price", "set", f"{habit}-{name}", "--input", f"{into}.00", "--output", f"{out}.00")
        url = f"http://127.0.0.1:{upstream.port}/{habit}/v1"
        models = ("--model", f"{habit}-cheap", "--model", f"{habit}-dear")
        world.cli("provider", "add", habit, "--url", url, "--account", owner, *models)


def accounts(world: World, tries: list[Try]) -> dict[str, tuple[str, str]]:
    """An account of its own for each try, with its money and a key."""
    keys = {}
    for attack in tries:
        attack.account, made = world.add_account(attack.usd)
        keys[attack.nonce] = made[0]
    return keys
