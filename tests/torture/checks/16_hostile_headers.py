"""Row 16: hostile request headers, and provider addresses that point where no provider is."""

from __future__ import annotations

import asyncio

from check import Check
from driver import CHAT, MODEL, Client
from server import World

TITLE = "hostile headers, provider URLs that point elsewhere"
QUICK = False
PLANTS = {"direct": "the clients talk to the upstream itself, which sees every header"}
PASSED_ON = {"accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta"}
OWN = {"host", "content-length", "transfer-encoding", "authorization", "connection", "accept-encoding"}
HOSTILE = {
    "x-conversation-id": "canary",
    "cookie": "canary=1",
    "proxy-authorization": "Basic canary",
    "x-api-key": "",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-host": "canary",
    "x-real-ip": "127.0.0.1",
    "forwarded": "for=canary",
    "connection": "keep-alive, authorization, x-secret",
    "x-secret": "canary",
    "te": "trailers",
    "trailer": "x-canary",
    "expect": "",
    "upgrade": "h2c",
    "http2-settings": "AAMAAABkAAQCAAAAAAIAAAAA",
    "via": "1.1 canary",
    "origin": "null",
    "x-http-method-override": "DELETE",
    "x-original-url": "/v1/admin/accounts",
    "x-rewrite-url": "/v1/admin/accounts",
    "range": "bytes=0-1",
    "if-none-match": "*",
    "accept-encoding": "gzip, br",
    "openai-organization": "canary",
    "openai-project": "canary",
    "x-stainless-os": "canary",
    "traceparent": "00-canary",
    "x-request-id": "canary",
    "idempotency-key": "canary",
    "content-encoding": "identity",
    "host": "evil.example",
    "x-cost-micro-usd": "0",
}
# Never asked for anything: only whether `provider add` takes them.
REFUSED_URLS = (
    "http://0.0.0.0:9/v1",
    "http://[::]:9/v1",
    "http://169.254.169.254/latest",
    "http://[::ffff:169.254.169.254]/v1",
    "http://[::ffff:a9fe:a9fe]/v1",
    "http://[fe80::1]/v1",
    "http://2852039166/v1",
    "http://0xa9fea9fe/v1",
    "http://0/v1",
    "http://169.254.43518/v1",
    "http://[::ffff:0.0.0.0]:9/v1",
    "file:///etc/passwd",
    "gopher://127.0.0.1/1",
    "ftp://127.0.0.1/",
    "http://user:pass@127.0.0.1/v1",
    "http:///v1",
    "//127.0.0.1/v1",
    "127.0.0.1:9/v1",
    "http://127.0.0.1:99999/v1",
    "http://127.0.0.1/v1?x=1",
    "http://127.0.0.1/v1#x",
    "http://127.0.0.1/v1\r\nx: y",
    "",
)


async def headers(check: Check, world: World, times: int) -> int:
    """What reaches the provider is on the list, and what comes back is not the client's doing."""
    client = Client(world.target, *world.keys[0])
    sent = 0
    for _ in range(times):
        for name, value in HOSTILE.items():
            for extra in ({name: value or "canary"}, {name: (value or "canary") * 40, "user-agent": "torture/1"}):
                if name == "x-api-key":
                    extra = {name: client.key}
                answer = await client.request(
                    "POST", f"{CHAT}?beta=true", {"model": MODEL, "messages": []}, headers=extra
                )
                sent += 1
                check.expect(answer.status < 500, f"{name}: {answer.status}")
                check.expect(
                    answer.headers.get("x-request-id", "req_").startswith("req_"),
                    f"{name}: the request id is the client's",
                )
    client.close()
    for request in (await world.upstream.stats())["seen"]:
        for name, value in request["headers"]:
            check.expect(name in PASSED_ON | OWN, f"the provider got {name}: {value[:40]}")
            own_key = name != "authorization" or value == "Bearer canary-provider-key"
            check.expect(own_key, f"the provider got a client's credential: {value[:16]}…")
            if name == "connection":
                check.expect(value.lower() in ("keep-alive", "close"), f"the provider got connection: {value}")
            if name == "host":
                check.expect(value.endswith(str(world.upstream.port)), f"the provider got host: {value}")
    return sent


async def redirects(check: Check, world: World, port: int) -> int:
    """An upstream that sends the coordinator elsewhere is not followed."""
    client = Client(world.target, *world.keys[0])
    tried = 0
    for status in (301, 302, 303, 307, 308, 300, 305):
        for where in (
            f"http://127.0.0.1:{port}/v1/chat/completions",
            f"//127.0.0.1:{port}/",
            f"http://localhost:{port}/",
            f"http://[::ffff:127.0.0.1]:{port}/",
        ):
            answer = await client.chat({"mode": "redirect", "status": status, "location": where})
            check.expect(answer.status in (502, 503), f"redirect {status}: {answer.status}")
            check.expect("location" not in answer.headers, f"redirect {status}: Location is passed on")
            tried += 1
    client.close()
    return tried


def run(check: Check) -> None:
    """Headers, redirects, addresses."""
    with check.world() as world, check.world("elsewhere") as elsewhere:
        world.prepare(accounts=1, keys=1)
        world.start()
        if check.planted("direct"):
            world.target.port = world.upstream.port
        tried = asyncio.run(headers(check, world, check.count(5, 1)))
        tried += asyncio.run(redirects(check, world, elsewhere.upstream.port))
        hits = asyncio.run(elsewhere.upstream.stats())["hits"]
        check.expect(set(hits) <= {"/_torture/stats"}, f"a redirect was followed: {hits}")
        for number, url in enumerate(REFUSED_URLS):
            done = world.cli(
                "provider",
                "add",
                f"bad-{number}",
                "--url",
                url,
                "--account",
                "provider-owner",
                "--model",
                f"elsewhere-{number}",
                check=False,
            )
            check.expect(done.returncode in (1, 2), f"provider add takes {url!r}")
            check.expect("panicked" not in done.stderr, f"provider add panics on {url!r}")
        check.audit(world)
    check.times = check.faults = tried + len(REFUSED_URLS)
    check.tried = f"{len(HOSTILE)} headers, 28 redirects, {len(REFUSED_URLS)} addresses"
