"""Row 28: machines that joined, under load, with their processes, their line and the coordinator broken in turn."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import threading
import time

from check import Check
from driver import Client, Record, load
from server import MODEL, World

TITLE = "machines that joined: killed, cut off, drained, restarted"
QUICK = True
PLANTS = {
    "not-again": "an agent that was killed is not started again",
    "drop-row": "the audited copy lacks the newest completed usage row",
}
MACHINES = 3
CLIENTS = 24
BACK_SECONDS = 35.0


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

    def stop(self, name: str, how: int) -> int:
        """Ends one; returns its exit status."""
        self.all[name].send_signal(how)
        return self.all.pop(name).wait(60)

    def close(self) -> None:
        """Ends all."""
        for name in list(self.all):
            self.stop(name, signal.SIGKILL)


def up(world: World) -> int:
    """How many machines are connected."""
    return sum(row.get("state") == "up" for row in world.cli_json("provider", "list"))


async def wait_up(check: Check, world: World, after: str) -> float:
    """Waits until all machines are back."""
    began = time.monotonic()
    while (found := await asyncio.to_thread(up, world)) < MACHINES:
        if time.monotonic() - began > BACK_SECONDS:
            check.expect(False, f"{after}: {found} of {MACHINES} machines are back after {BACK_SECONDS:.0f} s")
            break
        await asyncio.sleep(0.2)
    return time.monotonic() - began


async def broken(check: Check, world: World, agents: Agents, fault: str, record: Record) -> float:
    """Load, one fault in the midst of it, and the way back."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        load(world.target, world.keys, check.rng, clients=CLIENTS, record=record, stop=stop, seconds=60)
    )
    await asyncio.sleep(check.rng.uniform(0.2, 0.8))
    name = f"machine-{check.rng.randrange(MACHINES)}"
    if fault == "killed":
        await asyncio.to_thread(agents.stop, name, signal.SIGKILL)
        if not check.planted("not-again"):
            agents.start(name)
    elif fault == "drained":
        status = await asyncio.to_thread(agents.stop, name, signal.SIGTERM)
        check.expect(status == 0, f"an agent that was told to stop exits {status}")
        agents.start(name)
    elif fault == "cut":
        agents.line.cut()
    else:
        await asyncio.to_thread(world.kill, signal.SIGKILL)
        await asyncio.to_thread(world.start)
    took = await wait_up(check, world, fault)
    stop.set()
    await running
    client = Client(world.target, *world.keys[0])
    answer = await client.chat({"events": 3})
    client.close()
    check.expect(answer.ok, f"{fault}: a request afterwards: {answer.status} {answer.body[:200]!r}")
    return took


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
            for number in range(MACHINES):
                agents.start(f"machine-{number}")
            asyncio.run(wait_up(check, world, "the start"))
            for number in range(rounds):
                fault = ("killed", "drained", "cut", "restarted")[number % 4]
                slowest = max(slowest, asyncio.run(broken(check, world, agents, fault, record)))
                if check.lost:
                    break
            busy = asyncio.run(world.upstream.idle(10))
            check.expect(busy == 0, f"{busy} requests are still worked on for nobody")
            check.audit(world, record, where="at the end")
        finally:
            agents.close()
            line.close()
        check.tried = f"{len(record.answers)} answers, all machines back in ≤ {slowest:.1f} s"
    check.times = check.faults = rounds
