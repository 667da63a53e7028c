"""Row 28: machines that joined, under load, with their processes, their line and the coordinator broken in turn."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sqlite3
import subprocess
import threading
import time

from check import Check
from driver import Answer, Client, Record, load
from server import MODEL, World

TITLE = "machines that joined: killed, cut off, drained, restarted"
QUICK = True
PLANTS = {
    "not-again": "an agent that was killed is not started again",
    "uncut": "the line is not cut",
    "drop-row": "the audited copy lacks the newest completed usage row",
}
MACHINES = 5
CLIENTS = 24
STREAMS = 200
BACK_SECONDS = 35.0
NAMES = [f"machine-{number}" for number in range(MACHINES)]


class Line:
    """What lies between the machines and the coordinator: it has an address of its own, and can be cut."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        """Joins each connection to one of its own to wherever the coordinator is now."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.world.target.port), 5)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                self.open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self.pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def pass_on(one: socket.socket, other: socket.socket) -> None:
        """Bytes of one direction, until either end is gone."""
        with contextlib.suppress(OSError):
            while part := one.recv(1 << 16):
                other.sendall(part)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Ends all connections."""
        ends, self.open = self.open, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends everything."""
        self.listener.close()
        self.cut()


class Agents:
    """The machines' processes."""

    def __init__(self, world: World, line: Line, key: str) -> None:
        self.world, self.line, self.key = world, line, key
        self.all: dict[str, subprocess.Popen] = {}

    def start(self, name: str) -> None:
        """Starts one."""
        command = [self.world.binary, "join", f"http://127.0.0.1:{self.line.port}", "--key", self.key, "--name", name]
        command += ["--to", self.world.upstream.url, "--model", MODEL, "--max-concurrent", "64", "--replace"]
        with (self.world.scratch / f"{name}.log").open("ab") as log:
            self.all[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def joins(self) -> dict[str, int]:
        """How often each has joined, as it said itself."""
        said = {name: self.world.scratch / f"{name}.log" for name in NAMES}
        return {name: log.read_bytes().count(b" serves ") for name, log in said.items() if log.exists()}

    def stop(self, name: str, how: int) -> int:
        """Ends one; returns its exit status."""
        self.all[name].send_signal(how)
        return self.all.pop(name).wait(60)

    def close(self) -> None:
        """Ends all."""
        for name in list(self.all):
            self.stop(name, signal.SIGKILL)


def up(world: World) -> set[str]:
    """The machines that are connected."""
    return {row["name"] for row in world.cli_json("provider", "list") if row.get("state") == "up"}


async def wait_up(check: Check, world: World, agents: Agents, before: dict[str, int], after: str) -> float:
    """Waits until those that the fault met have joined anew: that they are up may be from before it."""
    began = time.monotonic()
    while True:
        joins = await asyncio.to_thread(agents.joins)
        away = {name for name, count in before.items() if joins.get(name, 0) <= count}
        away |= set(NAMES) - await asyncio.to_thread(up, world)
        if not away:
            break
        if time.monotonic() - began > BACK_SECONDS:
            check.expect(False, f"{after}: {sorted(away)} are not back after {BACK_SECONDS:.0f} s")
            break
        await asyncio.sleep(0.2)
    return time.monotonic() - began


async def broken(check: Check, world: World, agents: Agents, fault: str, all_seen: Record) -> float:
    """Load, one fault in the midst of it, and the way back."""
    stop, record = asyncio.Event(), Record()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=CLIENTS, record=record, stop=stop, seconds=60)
    )
    await asyncio.sleep(check.rng.uniform(0.2, 0.8))
    name = check.rng.choice(NAMES)
    before = agents.joins()
    if fault in ("killed", "drained"):
        before = {name: before[name]}
    if fault == "killed":
        await asyncio.to_thread(agents.stop, name, signal.SIGKILL)
        if not check.planted("not-again"):
            agents.start(name)
    elif fault == "drained":
        status = await asyncio.to_thread(agents.stop, name, signal.SIGTERM)
        check.expect(status == 0, f"an agent that was told to stop exits {status}")
        agents.start(name)
    elif fault == "cut":
        if not check.planted("uncut"):
            agents.line.cut()
    else:
        await asyncio.to_thread(world.kill, signal.SIGKILL)
        await asyncio.to_thread(world.start)
    took = await wait_up(check, world, agents, before, fault)
    stop.set()
    await running
    if fault == "drained":
        failed = [a for a in record.unfinished if not a.hung_up]
        check.expect(not failed and not record.refused, f"drained: {failed[:3]} {record.refused}")
        check.expect(record.answers, "drained: nothing was asked meanwhile")
    merge(all_seen, record)
    client = Client(world.target, *world.keys[0])
    answer = await client.chat({"events": 3})
    client.close()
    check.expect(answer.ok, f"{fault}: a request afterwards: {answer.status} {answer.body[:200]!r}")
    return took


def merge(into: Record, record: Record) -> None:
    """Adds what one round saw to what all saw."""
    into.answers += record.answers
    into.unfinished += record.unfinished
    into.keys |= record.keys
    for status, count in record.refused.items():
        into.refused[status] = into.refused.get(status, 0) + count


async def killed_under_streams(check: Check, world: World, agents: Agents, record: Record) -> int:
    """One machine is killed under many streams: those on it end in an error event, and cost nothing."""

    async def one(number: int) -> Answer:
        client = Client(world.target, *world.keys[number % len(world.keys)])
        answer = await client.chat({"events": 40, "gap_ms": 100}, stream=True)
        client.close()
        return answer

    streams = [asyncio.ensure_future(one(number)) for number in range(STREAMS)]
    await asyncio.sleep(2)
    name = check.rng.choice(NAMES)
    before = {name: agents.joins()[name]}
    await asyncio.to_thread(agents.stop, name, signal.SIGKILL)
    agents.start(name)
    answers = await asyncio.gather(*streams)
    broken_off = [answer for answer in answers if not answer.ok]
    check.expect(broken_off, f"{name} was killed under {STREAMS} streams, and none of them broke off")
    for answer in broken_off:
        told = answer.whole and b'"error"' in answer.body
        check.expect(told, f"a stream of {name} ends without a word: {answer.error} {answer.body[-200:]!r}")
    for answer in answers:
        record.add(answer)
    await wait_up(check, world, agents, before, "killed under streams")
    return len(broken_off)


def charged_for_nothing(world: World) -> int:
    """Rows of answers that broke off and cost something."""
    with contextlib.closing(sqlite3.connect(f"file:{world.data / 'coordinator.db'}?mode=ro", uri=True)) as db:
        sql = "SELECT count(*) FROM usage WHERE outcome = 'provider_error' AND (cost_micro_usd > 0 OR charged_micro_usd > 0)"
        return db.execute(sql).fetchone()[0]


def run(check: Check) -> None:
    """Every fault in turn; the audit then finds each answer with its row, and no other money moved."""
    rounds = check.count(24, 4)
    record, slowest = Record(), 0.0
    with check.world() as world:
        world.prepare(accounts=4, keys=2)
        world.cli("provider", "remove", "torture")
        invited = world.cli_json("provider", "invite", "provider-owner", "--machines", str(MACHINES))
        world.start()
        line = Line(world)
        agents = Agents(world, line, invited["key"])
        try:
            for name in NAMES:
                agents.start(name)
            asyncio.run(wait_up(check, world, agents, dict.fromkeys(NAMES, 0), "the start"))
            for number in range(rounds):
                fault = ("killed", "drained", "cut", "restarted")[number % 4]
                slowest = max(slowest, asyncio.run(broken(check, world, agents, fault, record)))
                if check.lost:
                    break
            broken_off = asyncio.run(killed_under_streams(check, world, agents, record))
            charged = charged_for_nothing(world)
            check.expect(charged == 0, f"{charged} answers that broke off cost something")
            busy = asyncio.run(world.upstream.idle(10))
            check.expect(busy == 0, f"{busy} requests are still worked on for nobody")
            check.audit(world, record, where="at the end")
        finally:
            agents.close()
            line.close()
        check.tried = (
            f"{len(record.answers)} answers, all {MACHINES} machines back in ≤ {slowest:.1f} s, "
            f"{broken_off} of {STREAMS} streams cut by a kill"
        )
    check.times = check.faults = rounds
