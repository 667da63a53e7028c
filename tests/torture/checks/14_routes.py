"""Row 14: every route against every wrong credential. A route that is not in the table fails the row."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from check import Check
from driver import Answer, Client
from server import ROOT, World

TITLE = "every route × every wrong credential"
QUICK = True
PLANTS = {"not-revoked": "the revoked key is not revoked", "short-table": "one route is missing from the table"}
PASSWORD = "a long password for the torture"

# Who may: `open` anybody; `inference`, `account` (any key of the account), `manage`, `provide`, `admin`; `session` is the
# page's own way in, which takes no key.
TABLE: dict[str, str] = {
    "GET /health": "open",
    "GET /readyz": "open",
    "GET /api/version": "open",
    "GET /v1/pricing": "open",
    "GET /v1/stats": "open",
    "GET /v1/models/capacity": "open",
    "GET /openapi.json": "open",
    "GET /docs": "open",
    "GET /": "open",
    "GET /admin": "open",
    "GET /static/{path}": "open",
    "POST /v1/chat/completions": "inference",
    "POST /v1/completions": "inference",
    "POST /v1/embeddings": "inference",
    "POST /v1/responses": "inference",
    "POST /v1/responses/compact": "inference",
    "POST /v1/messages": "inference",
    "POST /v1/messages/count_tokens": "inference",
    "GET /v1/models": "inference",
    "GET /v1/models/{id}": "inference",
    "GET /v1/payments/balance": "account",
    "GET /v1/payments/usage": "account",
    "GET /v1/payments/usage/summary": "account",
    "GET /v1/payments/ledger": "account",
    "GET /v1/key": "account",
    "POST /v1/payments/quote": "account",
    "POST /v1/invite/redeem": "account",
    "GET /v1/provider/account-earnings": "account",
    "GET /v1/provider/machines": "account",
    "POST /v1/provider/machines": "provide",
    "GET /v1/provider/tunnel": "provide",
    "GET /v1/payments/alert": "account",
    "PUT /v1/payments/alert": "manage",
    "GET /v1/payments/withdrawals": "manage",
    "POST /v1/payments/withdrawals": "manage",
    "GET /v1/keys": "manage",
    "POST /v1/keys": "manage",
    "GET /v1/keys/{id}": "manage",
    "PATCH /v1/keys/{id}": "manage",
    "DELETE /v1/keys/{id}": "manage",
    "POST /v1/keys/{id}/rotate": "manage",
    "GET /v1/admin/alerts": "admin",
    "PUT /v1/admin/alerts": "admin",
    "POST /v1/admin/alerts/test": "admin",
    "GET /v1/admin/alerts/events": "admin",
    "GET /v1/admin/accounts": "admin",
    "POST /v1/admin/accounts": "admin",
    "GET /v1/admin/accounts/{id}": "admin",
    "PATCH /v1/admin/accounts/{id}": "admin",
    "GET /v1/admin/accounts/{id}/keys": "admin",
    "POST /v1/admin/accounts/{id}/keys": "admin",
    "DELETE /v1/admin/accounts/{id}/keys/{key_id}": "admin",
    "GET /v1/admin/accounts/{id}/usage": "admin",
    "GET /v1/admin/accounts/{id}/usage/summary": "admin",
    "GET /v1/admin/accounts/{id}/ledger": "admin",
    "POST /v1/admin/credit": "admin",
    "POST /v1/admin/debit": "admin",
    "GET /v1/admin/admins": "admin",
    "POST /v1/admin/admins": "admin",
    "PATCH /v1/admin/admins/{id}": "admin",
    "DELETE /v1/admin/admins/{id}": "admin",
    "POST /v1/admin/refund": "admin",
    "GET /v1/admin/pricing": "admin",
    "PUT /v1/admin/pricing": "admin",
    "DELETE /v1/admin/pricing/{model}": "admin",
    "GET /v1/admin/pricing/history": "admin",
    "GET /v1/admin/providers": "admin",
    "POST /v1/admin/providers": "admin",
    "POST /v1/admin/providers/invite": "admin",
    "PATCH /v1/admin/providers/{id}": "admin",
    "DELETE /v1/admin/providers/{id}": "admin",
    "POST /v1/admin/providers/{id}/probe": "admin",
    "POST /v1/admin/providers/{id}/disconnect": "admin",
    "GET /v1/admin/withdrawals": "admin",
    "POST /v1/admin/withdrawals/{id}/paid": "admin",
    "POST /v1/admin/withdrawals/{id}/reject": "admin",
    "GET /v1/admin/invite-codes": "admin",
    "POST /v1/admin/invite-codes": "admin",
    "DELETE /v1/admin/invite-codes/{code}": "admin",
    "GET /v1/admin/audit": "admin",
    "GET /v1/admin/events": "admin",
    "GET /v1/admin/overview": "admin",
    "GET /v1/admin/session": "session",
    "POST /v1/admin/session": "session",
    "DELETE /v1/admin/session": "session",
    "POST /v1/admin/setup": "session",
}
NOBODY = "acct_0000000000000"


class Credentials:
    """Good and bad ones."""

    def __init__(self, check: Check, world: World) -> None:
        account, (plain,) = world.add_account("5")
        foreign, _ = world.add_account("5")

        def key(owner: str, *scopes: str) -> dict[str, str]:
            args = [part for scope in scopes for part in ("--scope", scope)]
            return world.cli_json("key", "create", owner, *args)

        self.account, self.foreign = account, foreign
        self.inference = key(account, "inference")["key"]
        self.manage = key(account, "manage")["key"]
        self.both = key(account, "inference", "manage")["key"]
        self.provide = key(account, "provide")["key"]
        self.foreign_manage = key(foreign, "manage")["key"]
        self.victim = key(account, "inference")["id"]
        revoked = key(account, "inference", "manage")
        if not check.planted("not-revoked"):
            world.cli("key", "revoke", revoked["id"])
        self.revoked = revoked["key"]
        self.bad_crc = plain[0][:-1] + ("0" if plain[0][-1] != "0" else "1")
        self.admin = world.admin_key


def refused(answer: Answer, *statuses: int) -> bool:
    """Refused with one of the statuses, in the envelope."""
    return answer.status in statuses and b'"error"' in answer.body


async def ask(world: World, route: str, key: str = "", **headers: str) -> Answer:
    """One request with a body that does nothing even if it is let in."""
    method, path = route.split(" ", 1)
    path = re.sub(r"\{[^}]+\}", NOBODY, path)
    client = Client(world.target, key)
    body: dict | None = None if method in ("GET", "DELETE") else {}
    answer = await client.request(method, path, body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    client.close()
    return answer


async def one_route(check: Check, world: World, route: str, who: str, c: Credentials) -> int:
    """Every credential on one route; returns how many were tried."""
    rights = {"inference": c.both, "account": c.inference, "manage": c.both, "provide": c.provide, "admin": c.admin}
    right = rights.get(who, "")
    good = await ask(world, route, right)
    if good.status == 404 and b"not implemented" in good.body:
        return 0
    tries: list[tuple[str, Answer, tuple[int, ...]]] = []
    if who in ("open", "session"):
        for name, key in (("bad crc", c.bad_crc), ("revoked", c.revoked), ("none", "")):
            answer = await ask(world, route, key)
            check.expect(answer.status < 500, f"{route} with {name}: {answer.status}")
        return 3
    check.expect(good.status not in (401, 403) and good.status < 500, f"{route} with the right key: {good.status}")
    for name, key in (("no key", ""), ("bad crc", c.bad_crc), ("revoked", c.revoked), ("junk", "sk-db-x")):
        tries.append((name, await ask(world, route, key), (401,)))
    tries.append(("wrong cookie", await ask(world, route, cookie="session=wrong; __Host-session=wrong; sid=x"), (401,)))
    tries.append(("two keys that differ", await ask(world, route, right, x_api_key=c.foreign_manage), (401,)))
    wrong = {"inference": c.manage, "manage": c.inference, "provide": c.both, "admin": c.both, "account": c.admin}
    wrong_scope = wrong[who]
    tries.append(("wrong scope", await ask(world, route, wrong_scope), (401, 403)))
    if who != "admin":
        tries.append(("admin key", await ask(world, route, c.admin), (401, 403)))
    for name, answer, statuses in tries:
        check.expect(refused(answer, *statuses), f"{route} with {name}: {answer.status} {answer.body[:100]!r}")
        if answer.status == 401:
            check.expect(answer.headers.get("x-should-retry") == "false", f"{route} with {name}: a 401 to be tried again")
    texts = {
        re.sub(rb'"req_[^"]*"', b"", answer.body)
        for name, answer, statuses in tries
        if statuses == (401,) and name != "two keys that differ"
    }
    both = next(answer for name, answer, _ in tries if name == "two keys that differ")
    check.expect(
        b"Authorization" in both.body and b"x-api-key" in both.body, f"{route}: two keys, and not both headers named"
    )
    check.expect(len(texts) <= 1, f"{route}: the 401 texts differ by cause")
    return len(tries)


async def bare(world: World, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and every byte behind them, up to the end of the connection."""
    reader, writer = await asyncio.open_connection(world.target.host, world.target.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    async with asyncio.timeout(30):
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split(" ")[1]), headers, body


async def wrong_methods(check: Check, world: World, table: dict[str, str]) -> int:
    """What a path does not take is 405 naming what it takes, HEAD is GET without a body, OPTIONS needs no key."""
    paths: dict[str, set[str]] = {}
    for route in table:
        method, path = route.split(" ", 1)
        paths.setdefault(path, set()).add(method)
    tried = 0
    for template, methods in paths.items():
        path = re.sub(r"\{[^}]+\}", NOBODY, template)
        known = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        status, headers, body = await bare(world, "OPTIONS", path)
        if status == 404:
            continue
        allow = set(headers.get("allow", "").split(", "))
        check.expect((status, allow, body) == (204, known, b""), f"OPTIONS {path}: {status}, {sorted(allow)}")
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"):
            status, headers, body = await bare(world, method, path)
            tried += 1
            check.expect(status < 500, f"{method} {path}: {status}")
            check.expect((status == 405) == (method not in known), f"{method} {path}: {status} {body[:80]!r}")
            if method == "HEAD":
                check.expect(body == b"", f"HEAD {path} has a body")
            elif status == 405:
                check.expect(b'"error"' in body, f"{method} {path}: a 405 without the envelope")
                check.expect(set(headers.get("allow", "").split(", ")) == known, f"{method} {path}: a wrong Allow")
    return tried


async def foreign_account(check: Check, world: World, c: Credentials) -> int:
    """What belongs to one account is not there for another."""
    tried = 0
    for method, path in (
        ("GET", "/v1/keys/"),
        ("PATCH", "/v1/keys/"),
        ("DELETE", "/v1/keys/"),
        ("POST", "/v1/keys/{}/rotate"),
    ):
        route = path.format(c.victim) if "{}" in path else path + c.victim
        client = Client(world.target, c.foreign_manage)
        answer = await client.request(method, route, {"name": "x"} if method == "PATCH" else None)
        client.close()
        check.expect(answer.status in (403, 404), f"{method} {path} of a foreign account: {answer.status}")
        tried += 1
    client = Client(world.target, c.foreign_manage)
    listed = await client.request("GET", f"/v1/payments/usage?key={c.victim}")
    check.expect(listed.body.strip() in (b"[]", b"") or listed.status in (400, 404), "usage of a foreign key is shown")
    client.close()
    return tried + 1


async def cross_site(check: Check, world: World) -> int:
    """A good cookie from another origin writes nothing; from the page's own it is let in."""
    client = Client(world.target)
    signed = await client.request("POST", "/v1/admin/session", {"name": "pager", "password": PASSWORD})
    if signed.status == 404:
        client.close()
        return 0
    cookie = signed.headers.get("set-cookie", "").split(";")[0]
    check.expect(signed.status == 200 and cookie, f"sign-in: {signed.status} {signed.body[:100]!r}")
    own = f"http://{world.target.host}:{world.target.port}"
    tried = 0
    for route, who in TABLE.items():
        method, path = route.split(" ", 1)
        if who != "admin" or method == "GET":
            continue
        for name, headers in (
            ("another origin", {"origin": "http://evil.example"}),
            ("a null origin", {"origin": "null"}),
            ("another site", {"sec-fetch-site": "cross-site"}),
            ("another port", {"origin": own[:-1] + "z"}),
        ):
            answer = await client.request(
                method, re.sub(r"\{[^}]+\}", NOBODY, path), {}, headers={"cookie": cookie, **headers}
            )
            if answer.status == 404 and b"not implemented" in answer.body:
                continue
            check.expect(
                answer.status == 403, f"{route} with the cookie from {name}: {answer.status} {answer.body[:80]!r}"
            )
            tried += 1
    answer = await client.request("GET", "/v1/admin/accounts", headers={"cookie": cookie, "origin": own})
    check.expect(answer.status in (200, 404), f"the page's own request: {answer.status}")
    client.close()
    return tried


def shape(path: str) -> str:
    """A path with its parameters unnamed, for comparing."""
    return re.sub(r"\{[^}]*\}", "{}", path.rstrip("/") or "/")


def untabled(document: Any, table: dict[str, str]) -> list[str]:
    """Routes of the binary's document, or named in its source, that the table does not have."""
    known_paths = {shape(route.split(" ", 1)[1]) for route in table}
    known = {(r.split(" ")[0], shape(r.split(" ")[1])) for r in table}
    missing = []
    for path, methods in (document or {}).get("paths", {}).items():
        missing += [
            f"{m.upper()} {path}"
            for m in methods
            if m in ("get", "post", "put", "patch", "delete") and (m.upper(), shape(path)) not in known
        ]
    literal = re.compile(r'"(/(?:v1|api|health|readyz|docs|admin|openapi|metrics)[a-z0-9_./{}:*-]*)"')
    for source in sorted((ROOT / "src" / "http").rglob("*.rs")):
        # The demo provider is a server of its own.
        if "demo" in source.parts or "tests" in source.parts or source.name == "tests.rs":
            continue
        text = source.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
        for path in literal.findall(text):
            named = re.sub(r"\{[^}]*\}", "{}", path)
            if not any(p == named or p.startswith(named.rstrip("/") + "/") for p in known_paths):
                missing.append(f"{path} in {source.relative_to(ROOT)}")
    return missing


async def all_routes(check: Check, world: World, table: dict[str, str]) -> None:
    """The table, foreign accounts, cross-site writes, and what is not in the table."""
    credentials = Credentials(check, world)
    for route, who in table.items():
        tried = await one_route(check, world, route, who, credentials)
        check.times += tried
        check.faults += bool(tried)
    check.times += await wrong_methods(check, world, table)
    check.times += await foreign_account(check, world, credentials)
    check.times += await cross_site(check, world)
    client = Client(world.target)
    answer = await client.request("GET", "/openapi.json")
    client.close()
    for route in untabled(answer.json() if answer.status == 200 else None, table):
        check.expect(False, f"not in the table: {route}")


def run(check: Check) -> None:
    """One server, all of it."""
    table = dict(TABLE)
    if check.planted("short-table"):
        del table["GET /v1/payments/balance"]
    with check.world() as world:
        world.prepare(accounts=0)
        world.cli_in(PASSWORD + "\n", "admin", "create", "pager", "--password-stdin")
        world.start()
        asyncio.run(all_routes(check, world, table))
        check.audit(world)
    check.tried = f"{check.faults} of {len(TABLE)} routes are served"
