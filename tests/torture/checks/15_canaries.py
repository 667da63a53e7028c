"""Row 15: canary secrets and prompts must be found nowhere: logs, database, WAL, backup, metrics; modes are 0600."""

from __future__ import annotations

import asyncio
import os
import pathlib
from typing import Any

from check import Check
from driver import CHAT, MODEL, Answer, Client, HangUp, Record
from server import World

TITLE = "canary secrets and prompts"
QUICK = True
PLANTS = {"leak": "one prompt is written into the log", "open-mode": "the database is made readable by all"}
PROMPT, TEXT, PASSWORD, PROVIDER_KEY = (
    "CANARYPROMPT7431",
    "CANARYANSWER7431",
    "CANARYPASSWORD7431",
    "CANARYPROVIDER7431",
)
HEADER, QUERY, TOKEN = "CANARYHEADER7431", "CANARYQUERY7431", "CANARYTOKEN7431"


async def talk(check: Check, world: World, times: int) -> Record:
    """Requests of every fate, each with its canary."""
    record = Record()
    client = Client(world.target, *world.keys[0])

    async def ask(torture: dict, **more: Any) -> Answer:
        headers = {"x-canary": HEADER, "cookie": f"session={HEADER}", "x-conversation-id": HEADER, "user-agent": HEADER}
        answer = await client.chat(torture, text=f"{PROMPT} please", headers=headers, **more)
        record.add(answer)
        return answer

    for _ in range(times):
        await ask({"events": 5, "text": TEXT})
        await ask({"events": 5}, stream=True, usage=True)
        await ask(
            {"events": 50, "gap_ms": 5}, stream=True, hang_up=HangUp(after_bytes=900, reset=check.rng.random() < 0.5)
        )
        await ask({"mode": "die", "after": 2}, stream=True)
        await ask({"mode": "half_json"})
        await ask({"mode": "status", "status": 400})
        await ask({}, model=f"unknown-{check.rng.randint(0, 9)}")
        await client.request("POST", CHAT, f'{{"model":"{MODEL}","messages":"{PROMPT}'.encode())
        await client.request("POST", CHAT, f'{{"model":"{MODEL}","n":"{PROMPT}","messages":[]}}'.encode())
        await client.request("GET", f"/v1/payments/usage?limit=zero&note={QUERY}")
        await client.request("GET", f"/v1/nothing?key={QUERY}")
        for junk in (f"Bearer sk-db-{TOKEN}", f"Basic {TOKEN}", TOKEN):
            stranger = Client(world.target)
            await stranger.request("POST", CHAT, {"model": MODEL}, headers={"authorization": junk, "x-api-key": TOKEN})
            await stranger.request("POST", "/v1/admin/session", {"name": "keeper", "password": PASSWORD + "x"})
            await stranger.request("POST", "/v1/admin/session", {"name": "keeper", "password": PASSWORD})
            stranger.close()
    client.close()
    return record


async def metrics(world: World) -> bytes:
    """What the server tells of itself."""
    client, admin = Client(world.target), Client(world.target, world.admin_key)
    told = [
        await client.request("GET", path) for path in ("/metrics", "/v1/stats", "/readyz", "/health", "/v1/pricing")
    ]
    told += [
        await admin.request("GET", path) for path in ("/v1/admin/events", "/v1/admin/providers", "/v1/admin/audit")
    ]
    client.close()
    admin.close()
    return b"\n".join(answer.body for answer in told)


def hits(check: Check, secrets: list[str], files: list[pathlib.Path]) -> None:
    """Searches every file for every canary."""
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            found = content.count(secret.encode())
            check.expect(not found, f"{path.name}: {found} × {secret[:10]}…{secret[-4:]}")


def modes(check: Check, *tops: pathlib.Path) -> None:
    """Nobody but the owner reads these."""
    for top in tops:
        for path in [top, *top.rglob("*")] if top.is_dir() else [top]:
            mode = path.stat().st_mode & 0o777
            allowed = 0o700 if path.is_dir() else 0o600
            check.expect(mode & ~allowed == 0, f"{path.name} has mode {mode:04o}")


def run(check: Check) -> None:
    """Talk, look while it runs, back up, stop, look again."""
    os.umask(0o022)  # the product must not depend on the shell's
    times = check.count(50, 4)
    with check.world() as world:
        world.prepare(accounts=1, keys=2)
        world.cli_in(PASSWORD + "\n", "admin", "create", "keeper", "--password-stdin")
        world.cli("provider", "disable", "torture")
        world.cli(
            "provider",
            "add",
            "secret",
            "--url",
            world.upstream.url,
            "--account",
            "provider-owner",
            "--model",
            MODEL,
            "--api-key",
            "env:TORTURE_PROVIDER_KEY",
        )
        world.start(env={"TORTURE_PROVIDER_KEY": PROVIDER_KEY, "RUST_LOG": "trace", "COORDINATOR_LOG": "trace"})
        record = asyncio.run(talk(check, world, times))
        told = world.scratch / "metrics.txt"
        told.write_bytes(asyncio.run(metrics(world)))
        seen = asyncio.run(world.upstream.stats())["seen"]
        sent = any(PROVIDER_KEY in value for request in seen for _, value in request["headers"])
        check.expect(sent, "the provider never got its key: the canary was not at work")
        backup = world.scratch / "backup" / "copy.db"
        backup.parent.mkdir(mode=0o700)
        world.cli("backup", backup)
        if check.planted("leak"):
            with world.log.open("a") as log:
                log.write(PROMPT)
        if check.planted("open-mode"):
            (world.data / "coordinator.db").chmod(0o644)
        modes(check, world.data, backup)
        secrets = [PROMPT, TEXT, PASSWORD, PROVIDER_KEY, HEADER, QUERY, TOKEN]
        secrets += [key.rpartition("-")[2] for key, _ in world.keys] + [world.admin_key.rpartition("-")[2]]
        everything = [p for p in world.data.rglob("*") if p.is_file() and p.name != "ballast"]
        hits(check, secrets, [*everything, world.log, world.said, told, backup])
        check.audit(world, record)
        world.kill(15)
        hits(check, secrets, [p for p in world.data.rglob("*") if p.is_file() and p.name != "ballast"] + [world.log])
    check.times, check.faults = times * 20, len(secrets)
    check.tried = f"{len(secrets)} canaries in {len(everything) + 4} files"
