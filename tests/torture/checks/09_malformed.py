"""Row 9: malformed inputs. A JSON corpus on every endpoint that takes a body, raw framing, and schemathesis
on the server's own OpenAPI document if it has one. No answer of 5xx, no panic, no growth."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import venv

from check import Check, Skip
from driver import Client
from server import ROOT, HarnessError, Upstream, World

TITLE = "malformed inputs: JSON corpus, raw framing, schemathesis"
QUICK = True
PLANTS = {"direct": "the same inputs at the upstream, which answers 500 to bad JSON as real servers do"}
GROWTH_BYTES = 50 << 20
SCHEMATHESIS = "schemathesis==4.32.5"
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/payments/quote",
    "/v1/keys",
    "/v1/payments/withdrawals",
    "/v1/invite/redeem",
    "/v1/admin/credit",
    "/v1/admin/refund",
    "/v1/admin/accounts",
    "/v1/admin/pricing",
    "/v1/admin/providers",
    "/v1/admin/invite-codes",
)
VALUES = (
    b"1e400",
    b"-1e400",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1.5",
    b"-1",
    b"0",
    b"null",
    b"true",
    b'""',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'"\x00"',
    b'"\xff\xfe"',
    b'"\xc0\x80"',
    b"NaN",
    b"Infinity",
    b"[]",
    b"{}",
    b"[[]]",
    b'{"a":1,"a":2}',
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"1e",
    b'"unterminated',
    b"'x'",
    b"//c",
    b'"' + b"a" * 70_000 + b'"',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b"9" * 10_000,
    b"0." + b"1" * 10_000,
    b'"\\',
    b'"\\x"',
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf1",
    b'"\xf4\x90\x80\x80"',
)
FIELDS = (
    b"model",
    b"messages",
    b"max_tokens",
    b"max_completion_tokens",
    b"n",
    b"stream",
    b"stream_options",
    b"best_of",
    b"prompt",
    b"input",
    b"tools",
    b"account",
    b"amount_usd",
    b"note",
    b"name",
    b"scopes",
    b"limit_usd",
    b"code",
    b"request_id",
    b"reason",
    b"endpoint",
    b"input_price",
    b"output_price",
    b"expires_at",
    b"allowed_models",
)


def bodies(rng: random.Random) -> bytes:
    """One malformed body."""
    dice = rng.random()
    if dice < 0.15:
        return rng.choice(VALUES)
    if dice < 0.25:
        return rng.randbytes(rng.randint(0, 300))
    fields = {
        b"model": b'"torture"',
        b"messages": b'[{"role":"user","content":"hi"}]',
        b"account": b'"payer-0"',
        b"amount_usd": b'"1.00"',
        b"name": b'"n"',
    }
    parts = [b'"%s":%s' % item for item in fields.items()]
    parts.append(b'"%s":%s' % (rng.choice(FIELDS), rng.choice(VALUES)))
    rng.shuffle(parts)
    text = b"{" + b",".join(parts) + b"}"
    if dice < 0.45:
        cut = rng.randrange(len(text))
        return text[:cut] if rng.random() < 0.5 else text[:cut] + rng.randbytes(3) + text[cut:]
    return text


GET = b"GET /v1/pricing HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
FRAMES = (
    POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/pricing HTTP/1.1\r\n\r\n",
    POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhellox",
    POST + b"content-length: -1\r\n\r\n",
    POST + b"content-length: 99999999999999999999\r\n\r\n",
    POST + b"content-length: 5, 5\r\n\r\nhello",
    POST + b"content-length: +5\r\n\r\nhello",
    POST + b"content-length: 0x5\r\n\r\nhello",
    POST + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    POST + b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
    POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    GET + b"x-a: 1\r\n folded\r\n\r\n",
    GET + b"x\x00y: 1\r\n\r\n",
    GET + b"x-a: \x00\r\n\r\n",
    GET + b": no name\r\n\r\n",
    GET + b"x-a: 1\nx-b: 2\r\n\r\n",
    GET + b"authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
    GET + b"x-big: " + b"a" * 200_000 + b"\r\n\r\n",
    GET + b"".join(b"x-%d: 1\r\n" % n for n in range(500)) + b"\r\n",
    b"GET /v1/pricing\r\n\r\n",
    b"GET  /v1/pricing HTTP/1.1\r\n\r\n",
    b"GET /v1/pricing HTTP/9.9\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /v1/../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /v1/payments/usage?limit=%zz HTTP/1.1\r\nhost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"\x00" * 100,
    b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"G" * 20_000,
    POST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
    POST + b"expect: nonsense\r\ncontent-length: 2\r\n\r\n{}",
    POST + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
    GET + b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    GET + b"range: bytes=0-18446744073709551616\r\n\r\n",
    GET + b"connection: close, host\r\n\r\n",
)
QUERIES = (
    "limit=0",
    "limit=-1",
    "limit=1001",
    "limit=99999999999999999999",
    "limit=a",
    "before=x",
    "before=req_",
    "before=req_zzzzzzzzzzzzz",
    "since=x",
    "since=9999-99-99",
    "until=-1",
    "model=%00",
    "key=key_",
    "format=xml",
    "limit=1&limit=2",
    "%",
    "&&&=",
    "since=+275760-01-01T00:00:00Z",
)


async def json_corpus(check: Check, world: World, times: int) -> list[str]:
    """Malformed bodies and queries with good credentials."""
    bad: list[str] = []

    async def one(number: int) -> None:
        rng = random.Random(f"{check.seed}:{number}")
        for _ in range(times // 16):
            path = rng.choice(PATHS)
            key = world.admin_key if "/admin/" in path else world.keys[0][0]
            client = clients[number][key]
            if rng.random() < 0.1:
                path = rng.choice(("/v1/payments/usage", "/v1/payments/ledger", "/v1/payments/usage/summary"))
                answer = await client.request("GET", f"{path}?{rng.choice(QUERIES)}")
                sent = path.encode()
            else:
                sent = bodies(rng)
                answer = await client.request("POST", path, sent, headers={"idempotency-key": str(rng.randint(0, 9))})
            if answer.status >= 500:
                bad.append(f"{answer.status} for {path} {sent[:100]!r} {answer.body[:100]!r}")

    keys = {world.admin_key, world.keys[0][0]}
    clients = [{key: Client(world.target, key) for key in keys} for _ in range(16)]
    await asyncio.gather(*(one(n) for n in range(16)))
    for each in clients:
        for client in each.values():
            client.close()
    return bad


async def raw_frames(check: Check, world: World, times: int) -> list[str]:
    """Bytes that are barely HTTP, whole, cut and mutated."""
    bad: list[str] = []

    async def one(number: int) -> None:
        rng = random.Random(f"{check.seed}:raw:{number}")
        for turn in range(times // 8):
            frame = FRAMES[(number + turn * 8) % len(FRAMES)]
            if turn * 8 >= len(FRAMES) and frame:
                at = rng.randrange(len(frame))
                frame = frame[:at] + rng.randbytes(1) + frame[at + 1 :]
            reader, writer = await asyncio.open_connection(world.target.host, world.target.port)
            try:
                writer.write(frame)
                writer.write_eof()
                async with asyncio.timeout(5):
                    answer = await reader.read(65536)
                # 501 and 505 say that the server does not do what was asked: that is no failure.
                if answer[9:10] == b"5" and answer[9:12] not in (b"501", b"505"):
                    bad.append(f"{answer[:40]!r} for {frame[:100]!r}")
            except (OSError, TimeoutError):
                pass
            finally:
                writer.close()

    await asyncio.gather(*(one(n) for n in range(8)))
    return bad


def schemathesis(check: Check, world: World, examples: int) -> tuple[int, list[str]]:
    """Schemathesis on the server's own document: only server errors count here."""
    document = asyncio.run(Client(world.target).request("GET", "/openapi.json"))
    if document.status != 200:
        return 0, []
    home = ROOT / "target" / "torture" / "venv"
    tool = home / "bin" / "schemathesis"
    if not tool.exists():
        venv.create(home, with_pip=True)
        done = subprocess.run(
            [home / "bin" / "pip", "install", "-q", SCHEMATHESIS], check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Skip(f"needs {SCHEMATHESIS} from PyPI: {done.stderr.strip()[-100:]}")
    url = f"http://127.0.0.1:{world.target.port}"
    # The numeric part of the seed, as schemathesis wants one.
    seed = int.from_bytes(check.seed.encode()[:4], "big")
    lost, cases = [], 0
    for name, key in (("inference", world.keys[0][0]), ("admin", world.admin_key)):
        report = check.scratch / f"schemathesis-{name}.txt"
        command = [
            str(tool),
            "run",
            f"{url}/openapi.json",
            "--url",
            url,
            "--checks",
            "not_a_server_error",
            "-n",
            str(examples),
            "--seed",
            str(seed),
            "--phases",
            "examples,coverage,fuzzing",
            # A made-up provider address must never be called: traffic stays on loopback.
            "--exclude-path-regex",
            "/admin/providers",
            "-H",
            f"Authorization: Bearer {key}",
            "--no-color",
        ]
        with report.open("w") as out:
            ran = subprocess.run(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=1200,
                check=False,
                env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(check.scratch / "hypothesis")},
            )
        text = report.read_text(errors="replace")
        cases += max((int(n) for n in re.findall(r"(\d+) generated", text)), default=0)
        failures = [line.strip() for line in text.splitlines() if "Server error" in line or "[500]" in line]
        lost += [f"schemathesis ({name}): {line}" for line in failures[:5]]
        if ran.returncode != 0 and not failures:
            lost.append(f"schemathesis ({name}): exit {ran.returncode}: {text.strip()[-300:]}")
    return cases, lost


async def warm_up(world: World) -> None:
    """The tokenizer, which counts what nobody reports, is loaded once."""
    client = Client(world.target, *world.keys[0])
    for stream in (False, True):
        await client.chat({"mode": "no_usage"}, stream=stream)
    client.close()


def run(check: Check) -> None:
    """The corpus, the frames, schemathesis; then memory and the audit."""
    corpus, frames, examples = check.count(16_000, 1_600), check.count(4_000, 400), 100
    with check.world() as world:
        world.prepare(accounts=1, keys=1)
        world.cli("key", "create", world.accounts[0], "--scope", "inference", "--scope", "manage")
        world.start()
        if check.planted("direct"):
            brittle = Upstream("--brittle")
            world.target.port = brittle.port
        asyncio.run(warm_up(world))
        asyncio.run(json_corpus(check, world, 320))
        before = world.memory()
        check.lost += asyncio.run(json_corpus(check, world, corpus))
        check.lost += asyncio.run(raw_frames(check, world, frames))
        growth = world.memory() - before
        cases = 0
        # Beside the quick rows it has a suite of its own, of more checks and cases.
        if not check.planted("direct") and not check.quick:
            cases, lost = schemathesis(check, world, examples)
            check.lost += lost
        check.expect(growth <= GROWTH_BYTES, f"resident memory grew by {growth >> 20} MiB")
        if not world.running():
            raise HarnessError(f"the server ended: {world.log_tail()}")
        check.audit(world)
    check.times = check.faults = corpus + frames + cases
    check.tried = f"{corpus} bodies, {frames} frames, {cases} schemathesis; +{growth >> 20} MiB"
