"""The load driver: many keep-alive clients on raw sockets that remember every answer they got whole.

`Client` sends one request at a time and can hang up anywhere, by FIN or by RST. `load` runs many of them
for a bounded time and returns a `Record`, against which the audit holds the database.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MODEL = "torture"
CHAT = "/v1/chat/completions"
RETRY_PAUSE = 0.02


@dataclass
class Target:
    """Where the server listens now; a restart may move it."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(slots=True)
class Answer:
    """What one client saw of one request."""

    key_id: str
    stream: bool
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    done: bool = False
    hung_up: bool = False
    sent: bool = False
    received: int = 0
    error: str = ""
    began: float = 0.0
    ended: float = 0.0

    @property
    def request_id(self) -> str:
        """The id the server gave, if its headers arrived."""
        return self.headers.get("x-request-id", "")

    @property
    def ok(self) -> bool:
        """A complete answer of the model: the whole body, or a stream with its [DONE]."""
        return self.status == 200 and (self.done if self.stream else self.whole)

    @property
    def cost(self) -> int | None:
        """What the receipt says, if there is one."""
        if "x-cost-micro-usd" in self.headers and not self.stream:
            return int(self.headers["x-cost-micro-usd"])
        at = self.body.rfind(b'"cost_micro_usd":')
        if at < 0:
            return None
        digits = self.body[at + 17 : at + 40].lstrip().split(b",")[0].split(b"}")[0]
        return int(digits)

    @property
    def events(self) -> int:
        """Content events of a stream that arrived."""
        return self.body.count(b'"content":" hello')

    @property
    def seconds(self) -> float:
        """From sending to the last byte."""
        return self.ended - self.began

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Record:
    """All that the clients saw. Bodies of ordinary answers are cut to their tail."""

    answers: list[Answer] = field(default_factory=list)
    unfinished: list[Answer] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)

    def add(self, answer: Answer) -> None:
        """Files an answer under what it means for money."""
        self.keys.add(answer.key_id)
        if answer.ok:
            answer.body = answer.body[-400:]
            self.answers.append(answer)
        elif answer.status >= 400 and answer.whole:
            self.refused[answer.status] = self.refused.get(answer.status, 0) + 1
        elif answer.sent:
            self.unfinished.append(answer)

    def whole(self) -> list[Answer]:
        """Answers of a model that a client received whole."""
        return self.answers

    def __len__(self) -> int:
        return len(self.answers) + len(self.unfinished) + sum(self.refused.values())


@dataclass
class HangUp:
    """Where a client leaves: after so many bytes of the answer or so many seconds, whichever is first."""

    after_bytes: int = 1 << 40
    after_seconds: float = 3600.0
    reset: bool = False


class Client:
    """One keep-alive connection of one key."""

    def __init__(self, target: Target, key: str = "", key_id: str = "", receive_buffer: int = 0) -> None:
        self.target = target
        self.key = key
        self.key_id = key_id
        self.receive_buffer = receive_buffer
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        """Opens the connection, if it is not open."""
        if self.writer is not None and not self.writer.is_closing():
            return
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (self.target.host, self.target.port))
            limit = self.receive_buffer or 2**16
            self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=limit)
        except BaseException:
            sock.close()
            raise

    def close(self, reset: bool = False) -> None:
        """Leaves: with a FIN, or with a RST."""
        if self.writer is None:
            return
        sock = self.writer.get_extra_info("socket")
        if reset and sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        else:
            self.writer.close()
        self.reader = self.writer = None

    def head(self, method: str, path: str, length: int, headers: dict[str, str]) -> bytes:
        """The head of a request."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.target.host}:{self.target.port}"]
        if self.key:
            lines.append(f"authorization: Bearer {self.key}")
        if length or method in ("POST", "PUT", "PATCH"):
            lines += ["content-type: application/json", f"content-length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        stream: bool = False,
        headers: dict[str, str] | None = None,
        hang_up: HangUp | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """Sends one request and reads what comes. Never raises for what the server does."""
        answer = Answer(self.key_id, stream, began=time.monotonic())
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        leave = hang_up or HangUp()
        try:
            await self.connect()
            assert self.writer is not None
            self.writer.write(self.head(method, path, len(payload), headers or {}) + payload)
            answer.sent = True
            async with asyncio.timeout(min(timeout, leave.after_seconds)):
                await self.read(answer, leave)
        except TimeoutError:
            answer.hung_up = leave.after_seconds <= timeout
            answer.error = "" if answer.hung_up else "timed out"
        except (OSError, asyncio.IncompleteReadError, ValueError) as e:
            answer.error = f"{type(e).__name__}: {e}"
        except asyncio.CancelledError:
            answer.error = "cancelled"
            self.close(reset=True)
            raise
        finally:
            answer.ended = time.monotonic()
        if not answer.whole or answer.headers.get("connection", "").lower() == "close":
            self.close(reset=leave.reset and answer.hung_up)
        return answer

    async def read(self, answer: Answer, leave: HangUp) -> None:
        """Reads an answer until it is whole or the client leaves."""
        assert self.reader is not None
        raw = bytearray()
        head_end = -1
        body = BodyReader(answer)
        while not answer.whole:
            room = leave.after_bytes - answer.received
            if room <= 0:
                answer.hung_up = True
                return
            data = await self.reader.read(min(room, 65536))
            if not data:
                answer.whole = head_end >= 0 and body.ends_at_eof()
                return
            answer.received += len(data)
            if head_end < 0:
                raw += data
                head_end = raw.find(b"\r\n\r\n")
                if head_end < 0:
                    continue
                read_head(answer, bytes(raw[:head_end]))
                body.begin()
                data = bytes(raw[head_end + 4 :])
            body.feed(data)

    async def chat(
        self,
        torture: dict[str, Any] | None = None,
        *,
        stream: bool = False,
        usage: bool = False,
        max_tokens: int | None = 64,
        text: str = "hello",
        **more: Any,
    ) -> Answer:
        """One chat completion with a script for the upstream."""
        body: dict[str, Any] = {"model": more.pop("model", MODEL), "messages": [{"role": "user", "content": text}]}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        if stream:
            body["stream"] = True
            if usage:
                body["stream_options"] = {"include_usage": True}
        body["torture"] = torture or {}
        return await self.request("POST", CHAT, body, stream=stream, **more)


class BodyReader:
    """Takes the framing off a body."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.length: int | None = None
        self.chunked = False
        self.raw = bytearray()
        self.parts: list[bytes] = []

    def begin(self) -> None:
        """The head is there: decides the framing."""
        headers = self.answer.headers
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        if not self.chunked and "content-length" in headers:
            self.length = int(headers["content-length"])
        if self.answer.status in (204, 304):
            self.length = 0

    def ends_at_eof(self) -> bool:
        """The end of the connection is the end of the body."""
        return not self.chunked and self.length is None

    def feed(self, data: bytes) -> None:
        """More bytes of the body."""
        answer = self.answer
        if not self.chunked:
            answer.body += data
            if self.length is not None and len(answer.body) >= self.length:
                answer.whole = True
        else:
            self.raw += data
            self.dechunk()
        if answer.stream and not answer.done:
            answer.done = answer.body[-32:].rstrip().endswith(b"data: [DONE]")

    def dechunk(self) -> None:
        """Moves whole chunks into the body."""
        at = 0
        parts: list[bytes] = []
        while (line := self.raw.find(b"\r\n", at)) >= 0:
            size = int(self.raw[at:line].split(b";")[0], 16)
            if len(self.raw) < line + 2 + size + 2:
                break
            if size == 0:
                self.answer.whole = True
            parts.append(bytes(self.raw[line + 2 : line + 2 + size]))
            at = line + 2 + size + 2
        del self.raw[:at]
        self.answer.body += b"".join(parts)


def read_head(answer: Answer, head: bytes) -> None:
    """Reads status and headers. Of a repeated header the last is kept."""
    first, *lines = head.decode("latin-1").split("\r\n")
    answer.status = int(first.split(" ", 2)[1])
    answer.headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}


Step = Callable[[Client, random.Random], "asyncio.Future[Answer]"]


async def mixed_step(client: Client, rng: random.Random) -> Answer:
    """One request of the usual mix: whole, streamed with and without usage, and hung up on."""
    script = {"events": rng.randint(1, 12), "prompt_tokens": rng.randint(1, 90)}
    dice = rng.random()
    if dice < 0.45:
        return await client.chat(script)
    if dice < 0.88:
        return await client.chat({**script, "gap_ms": rng.choice((0, 0, 2))}, stream=True, usage=dice < 0.7)
    leave = HangUp(rng.randint(0, 3000), rng.uniform(0.001, 0.2), rng.random() < 0.5)
    return await client.chat({**script, "gap_ms": 2}, stream=dice < 0.96, hang_up=leave)


async def load(
    target: Target,
    keys: list[tuple[str, str]],
    rng: random.Random,
    *,
    clients: int,
    seconds: float = 3600.0,
    requests: int = 1 << 60,
    record: Record | None = None,
    step: Any = mixed_step,
    stop: asyncio.Event | None = None,
) -> Record:
    """Runs `clients` clients until the time, the number of requests, or `stop` is reached."""
    record = record if record is not None else Record()
    stop = stop or asyncio.Event()
    deadline = time.monotonic() + seconds
    left = [requests]

    async def one(number: int) -> None:
        key, key_id = keys[number % len(keys)]
        own = random.Random(rng.getrandbits(64))
        client = Client(target, key, key_id)
        while not stop.is_set() and time.monotonic() < deadline and left[0] > 0:
            left[0] -= 1
            answer = await step(client, own)
            record.add(answer)
            if answer.error and not answer.hung_up:
                await asyncio.sleep(RETRY_PAUSE)
        client.close()

    await asyncio.gather(*(one(n) for n in range(clients)))
    return record


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
