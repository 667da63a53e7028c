"""Who has the next turn at a server with few places: the model of the order, and random stories that hold the queue
against it, step by step."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from check import Check
from desk import Desk
from driver import MODEL, Answer, Client, Record
from server import World


@dataclass
class Fair:
    """Start-time fair queueing at one server, written down as simply as it goes."""

    places: int
    # Instead, for a plant: who comes first is served first.
    first_come: bool = False
    running: dict[str, tuple[int, int, bool]] = field(default_factory=dict)
    waiting: list[tuple[str, int, int]] = field(default_factory=list)
    # When each began to wait, in the order of the line: who is sent away goes back to where it stood.
    tickets: dict[str, int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    clock: int = 0

    def join(self, name: str, account: int, work: int) -> list[str]:
        """One more; returns who is sent to the server now."""
        if not self.waiting and len(self.running) < self.places:
            self.running[name] = (account, work, False)
            return [name]
        self.wait(name, account, work)
        return []

    def wait(self, name: str, account: int, work: int) -> None:
        """Who does not wait yet starts where the server stands, or where it stood if that is ahead."""
        if all(other != account for _, other, _ in self.waiting):
            self.starts[account] = max(self.clock, self.starts.get(account, 0))
        self.tickets.setdefault(name, len(self.tickets))
        self.waiting.append((name, account, work))
        self.waiting.sort(key=lambda one: self.tickets[one[0]])

    def leave(self, name: str) -> list[str]:
        """It is gone, from the line or from the server."""
        self.waiting = [one for one in self.waiting if one[0] != name]
        self.running.pop(name, None)
        return self.serve()

    def serve(self) -> list[str]:
        """Fills the free places: least start first, then first come. With nobody waiting nobody is owed anything."""
        sent = []
        while self.waiting and len(self.running) < self.places:
            # Of equal ones the first, who came first.
            starts = [0 if self.first_come else self.starts[account] for _, account, _ in self.waiting]
            name, account, work = self.waiting.pop(starts.index(min(starts)))
            self.clock = max(self.clock, self.starts[account])
            self.starts[account] += work
            self.running[name] = (account, work, True)
            sent.append(name)
        self.forget()
        return sent

    def forget(self) -> None:
        """With nobody waiting nobody is owed anything."""
        if not self.waiting:
            self.starts, self.clock = {}, 0

    def busy(self, name: str) -> None:
        """The server had no room for it: it waits again, and what it was charged is given back."""
        account, work, charged = self.running.pop(name)
        if charged and self.waiting:
            start = self.starts.get(account, 0) - work
            is_waiting = any(other == account for _, other, _ in self.waiting)
            self.starts[account] = max(self.clock, start) if is_waiting else start


async def until(what: str, holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise Late(what)
        await asyncio.sleep(0.002)


class Late(Exception):
    """What should have happened did not."""


class Eye:
    """Looks at how many run and wait, and at what is held."""

    def __init__(self, world: World, model: str = MODEL) -> None:
        self.world, self.model, self.client = world, model, Client(world.target)

    async def capacity(self) -> tuple[int, int]:
        """How many run, and how many wait."""
        answer = await self.client.request("GET", "/v1/models/capacity")
        # What was added a moment ago is not there yet.
        of = [(of["running"], of["waiting"]) for of in answer.json()["data"] if of["id"] == self.model]
        return of[0] if of else (-1, -1)

    async def see(self, running: int, waiting: int, seconds: float = 20.0) -> None:
        """Waits until so many run and wait."""
        end, seen = time.monotonic() + seconds, (-1, -1)
        while (seen := await self.capacity()) != (running, waiting):
            if time.monotonic() > end:
                raise Late(f"{seen} run and wait, not {(running, waiting)}")
            await asyncio.sleep(0.005)

    async def held(self, key: str) -> int:
        """What an account's requests hold, in micro-dollars."""
        client = Client(self.world.target, key)
        answer = await client.request("GET", "/v1/payments/balance")
        client.close()
        return int(answer.json()["held_micro_usd"])

    async def nothing_left(self, check: Check, where: str) -> None:
        """No place is taken, nobody waits, nothing is held."""
        try:
            await self.see(0, 0, 10)
        except Late as e:
            check.expect(False, f"{where}: {e}")
        end = time.monotonic() + 5
        for key, _ in self.world.keys:
            while (held := await self.held(key)) and time.monotonic() < end:
                await asyncio.sleep(0.02)
            check.expect(held == 0, f"{where}: {held} micro-dollars are still held")


def model_with(places: int) -> str:
    """The model whose server has so many places."""
    return f"{MODEL}-{places}"


class Story:
    """Random comings, goings and failures at one desk, and at the model."""

    def __init__(self, check: Check, world: World, desk: Desk, record: Record, places: int) -> None:
        self.check, self.world, self.desk, self.record = check, world, desk, record
        self.fair = Fair(places, first_come=check.planted("first-come"))
        self.model = model_with(places)
        self.rng, self.eye = random.Random(f"{check.seed}:order:{places}"), Eye(world, self.model)
        self.expected: list[str] = []
        self.seen = len(desk.names)
        self.tasks: dict[str, tuple[asyncio.Task[Answer], Client]] = {}
        self.next = 0
        self.prompt = 0

    async def agree(self) -> None:
        """What the model says came to be: who was sent, who runs, who waits."""
        try:
            await until("the next one", lambda: len(self.desk.names) - self.seen >= len(self.expected), 5)
            await self.eye.see(len(self.fair.running), len(self.fair.waiting), 5)
        finally:
            names = self.desk.names[self.seen :]
            same = next((n for n, (a, b) in enumerate(zip(names, self.expected, strict=False)) if a != b), None)
            if same is not None or len(names) != len(self.expected):
                at = same if same is not None else min(len(names), len(self.expected))
                raise Late(f"step {self.next}: {names[at : at + 3]} were sent, and not {self.expected[at : at + 3]}")

    async def come(self) -> None:
        """One more, of any account, of any size."""
        self.next += 1
        account, bound = self.rng.randrange(5), self.rng.choice((10, 100, 1000))
        name, (key, key_id) = f"{self.next:04}-{account}", self.world.keys[account]
        client = Client(self.world.target, key, key_id)
        # The same length for all: a prompt is bounded by its bytes.
        text = '{"model":"%s","messages":[{"role":"user","content":"hello"}],"user":"%s","max_tokens":%4d}'
        body = (text % (self.model, name, bound)).encode()
        before = await self.eye.held(key) if not self.prompt else 0
        post = client.request("POST", "/v1/chat/completions", body, timeout=120)
        self.tasks[name] = (asyncio.create_task(post), client)
        if not self.prompt:
            await until("the desk", lambda: name in self.desk.waiting)
            self.prompt = await self.eye.held(key) - before - 2 * bound
        self.expected += self.fair.join(name, account, self.prompt + bound)

    async def go(self, name: str) -> None:
        """One leaves, from the line or from the server."""
        task, client = self.tasks.pop(name)
        client.close(reset=self.rng.random() < 0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.record.unfinished.append(Answer(client.key_id, False, sent=True))
        self.expected += self.fair.leave(name)

    async def say(self, name: str, what: str) -> None:
        """One at the server is answered, or has to wait again."""
        await until("it to be there", lambda: name in self.desk.waiting, 5)
        account, work, _ = self.fair.running[name]
        self.desk.say(name, what)
        status, _, after = what.partition(" ")
        if status in ("429", "503"):
            self.fair.busy(name)
            # Who is told to come back at once finds those who wait before it; later, all of them wait.
            if after == "0":
                self.expected += self.fair.serve()
            self.fair.wait(name, account, work)
            self.expected += self.fair.serve()
            return
        answer = await self.tasks[name][0]
        self.tasks.pop(name)[1].close()
        self.record.add(answer)
        want = 200 if what == "200" else 502
        self.check.expect(answer.status == want, f"{name}: {what}, and {answer.status} {answer.body[-90:]!r}")
        self.expected += self.fair.leave(name)

    async def step(self) -> None:
        """Anything that can happen."""
        dice, running = self.rng.random(), sorted(self.fair.running)
        if dice < 0.45 and len(self.fair.waiting) < 30 or not running:
            await self.come()
        elif dice < 0.60:
            await self.go(self.rng.choice(sorted(self.tasks)))
        else:
            # Who says that it has no room is given less: the model knows that of one place only.
            no_room = ["429 0", "503 0", "429 1"] if self.fair.places == 1 else []
            weights = [10, 2, 2, *([2, 2, 1] if no_room else [])]
            (what,) = self.rng.choices(["200", "500", "hang-up", *no_room], weights)
            await self.say(self.rng.choice(running), what)
        await self.agree()

    async def tell(self, steps: int) -> None:
        """So many steps; then all are answered."""
        for _ in range(steps):
            await self.step()
        while self.fair.running:
            await self.say(sorted(self.fair.running)[0], "200")
            await self.agree()
        self.check.times += self.next

    async def end(self) -> None:
        """Whoever is still there leaves."""
        for task, client in self.tasks.values():
            task.cancel()
            client.close()
            self.record.unfinished.append(Answer(client.key_id, False, sent=True))
        await asyncio.gather(*(task for task, _ in self.tasks.values()), return_exceptions=True)
