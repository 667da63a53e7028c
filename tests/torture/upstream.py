"""A scripted upstream that misbehaves on command.

Run as a process of its own: `upstream.py` prints `{"port": N}` and serves OpenAI chat and legacy
completions on loopback. What one request gets is chosen by the object `torture` in its body, which the
coordinator passes through untouched:

    mode            what goes wrong; see `MODES`
    events          content events, one token each (default 3; never above `max_tokens` unless `deaf`)
    gap_ms          pause before each event            first_ms   pause before the headers
    prompt_tokens   what usage reports (default 7)     usage      raw JSON text put in place of the usage
    after           events before the misbehaviour     location   where a redirect points
    deaf            ignore the output bound            pad        bytes more in each event
    text            the text of each event (default one token)
    tag             counted: how often it came

With `--brittle` it answers 500 to bad JSON, as llama.cpp does. `GET /_torture/stats`
tells how many connections are open, how many requests are in progress and the
headers of the last requests; `GET /_torture/forget` clears them.
"""

from __future__ import annotations

import asyncio
import collections
import gzip
import json
import resource
import signal
import socket
import struct
import sys
from typing import Any

WORD = " hello"  # one token of every common tokenizer, so that estimates can be compared with events

MODES = (
    "ok",
    "die",
    "reset",
    "silent",
    "half_json",
    "status",
    "redirect",
    "no_usage",
    "usage_twice",
    "usage_cumulative",
    "long_line",
    "crlf_header",
    "gzip",
    "endless",
    "empty_stream",
    "done_only",
    "no_done",
    "comments",
    "garbage",
    "error_event",
    "usage_early",
    "bad_length",
    "not_http",
    "many_headers",
)
CANARY_HEADERS = (
    "x-leak: canary-upstream-header",
    "set-cookie: canary-cookie=1; Path=/",
    "server: canary-server/1",
    "x-conversation-id: canary-conversation",
    "x-request-id: canary-request-id",
    "openai-organization: canary-org",
    "x-cost-micro-usd: 0",
    "x-balance-micro-usd: 99999999",
    "www-authenticate: canary",
    "alt-svc: canary",
    "content-disposition: attachment; filename=canary",
    "access-control-allow-origin: *",
)

# The other dialects are answered whole and honestly, whatever was asked.
OTHER_DIALECTS = {
    "/v1/embeddings": b'{"object":"list","model":"torture","data":[{"object":"embedding","index":0,"embedding":[0.5]}],'
    b'"usage":{"prompt_tokens":3,"total_tokens":3}}',
    "/v1/responses": b'{"id":"r","object":"response","status":"completed","model":"torture","output":[],'
    b'"usage":{"input_tokens":3,"output_tokens":1,"total_tokens":4}}',
    "/v1/messages": b'{"id":"m","type":"message","role":"assistant","model":"torture","content":[],'
    b'"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}',
    "/v1/messages/count_tokens": b'{"input_tokens":3}',
}
STREAMS = {
    "/v1/responses": b'event: response.completed\ndata: {"type":"response.completed","response":%s}\n\n',
    "/v1/messages": b'event: message_start\ndata: {"type":"message_start","message":%s}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}'
    b'\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
}


class Upstream:
    """The server's state: what is open, what was seen."""

    def __init__(self, brittle: bool) -> None:
        self.brittle = brittle
        self.connections = 0
        self.busy = 0
        self.served = 0
        self.cut = 0
        self.hits: collections.Counter[str] = collections.Counter()
        self.tags: collections.Counter[str] = collections.Counter()
        self.seen: collections.deque[dict[str, Any]] = collections.deque(maxlen=64)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one keep-alive connection."""
        self.connections += 1
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pushed: bytes | None = b""
        try:
            while pushed is not None:
                pushed = await self.request(pushed, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, Hangup):
            self.cut += 1
        finally:
            self.connections -= 1
            writer.close()

    async def request(self, pushed: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """Serves one request. Returns what was read of the next one, or None when the connection ends."""
        try:
            text = (pushed + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = text.split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = [(k.strip().lower(), v.strip()) for k, _, v in (ln.partition(":") for ln in lines if ln)]
        named = dict(headers)
        if "content-length" in named:
            body = await reader.readexactly(int(named["content-length"]))
        elif named.get("transfer-encoding", "").lower() == "chunked":
            body = await read_chunks(reader)
        else:
            body = b""
        self.hits[path] += 1
        if path.startswith("/_torture/"):
            answer = self.control(path)
            writer.write(whole(200, answer))
            await writer.drain()
            return b""
        said = body.decode("utf-8", "replace")[:4096]
        self.seen.append({"method": method, "path": path, "headers": headers, "body": said})
        self.busy += 1
        # Nobody pipelines here: bytes that come now begin the next request, and an end is a hang-up.
        watch = asyncio.ensure_future(reader.read(1))
        work = asyncio.ensure_future(self.answer(path, body, writer))
        try:
            await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Hangup
            keep = work.result()
            self.served += 1
            if not keep:
                return None
            return watch.result() if watch.done() else b""
        finally:
            self.busy -= 1
            for task in (watch, work):
                task.cancel()
            await asyncio.gather(watch, work, return_exceptions=True)

    def control(self, path: str) -> bytes:
        """Answers the harness."""
        if path.endswith("forget"):
            self.seen.clear()
            self.hits.clear()
        return json.dumps(
            {
                "connections": self.connections,
                "busy": self.busy,
                "served": self.served,
                "cut": self.cut,
                "hits": self.hits,
                "tags": self.tags,
                "seen": list(self.seen),
            }
        ).encode()

    async def answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answers an inference request as its script says."""
        if path.split("?")[0] == "/v1/models":
            writer.write(whole(200, b'{"object":"list","data":[{"id":"torture","object":"model"}]}'))
            return True
        try:
            request = json.loads(body)
            script = request.get("torture") or {}
            if "tag" in script:
                self.tags[script["tag"]] += 1
        except (ValueError, AttributeError, RecursionError):
            status = 500 if self.brittle else 400
            writer.write(whole(status, b'{"error":{"message":"bad JSON","type":"invalid_request_error","code":400}}'))
            return True
        endpoint = path.split("?")[0]
        if endpoint in OTHER_DIALECTS:
            body = OTHER_DIALECTS[endpoint]
            events = STREAMS.get(endpoint) if request.get("stream") is True else None
            writer.write(whole(200, events % body, kind="text/event-stream") if events else whole(200, body))
            return True
        if endpoint not in ("/v1/chat/completions", "/v1/completions"):
            writer.write(whole(404, b'{"error":{"message":"not here","type":"not_found","code":404}}'))
            return True
        return await Story(request, script, path.startswith("/v1/chat"), writer).tell()


class Story:
    """One answer, told by its script."""

    def __init__(self, request: dict, script: dict, chat: bool, writer: asyncio.StreamWriter) -> None:
        self.chat = chat
        self.writer = writer
        self.mode: str = script.get("mode", "ok")
        self.script = script
        self.stream = bool(request.get("stream"))
        self.model = request.get("model", "")
        options = request.get("stream_options") or {}
        self.wants_usage = not self.stream or bool(options.get("include_usage"))
        self.events = int(script.get("events", 3))
        bound = request.get("max_tokens")
        if bound is not None and not script.get("deaf"):
            self.events = min(self.events, int(bound))
        self.after = int(script.get("after", 0))
        self.text = str(script.get("text", WORD)) + "x" * int(script.get("pad", 0))

    async def tell(self) -> bool:
        """Writes the answer; says whether the connection stays."""
        await self.pause("first_ms")
        early = getattr(self, "early_" + self.mode, None)
        if early is not None:
            return await early()
        return await (self.streamed() if self.stream else self.at_once())

    async def pause(self, which: str) -> None:
        """Waits as the script says."""
        if self.script.get(which):
            await asyncio.sleep(float(self.script[which]) / 1000)

    # What goes wrong before or instead of an answer.

    async def early_silent(self) -> bool:
        """Never answers."""
        await asyncio.sleep(3600)
        return False

    async def early_not_http(self) -> bool:
        """Answers in another protocol."""
        self.writer.write(b"220 smtp.example ESMTP\r\n\r\n")
        return False

    async def early_status(self) -> bool:
        """Answers an error status with a body that must not be passed on blindly."""
        status = int(self.script.get("status", 500))
        self.writer.write(
            whole(status, b'{"error":{"message":"canary upstream error","type":"server_error","code":500}}')
        )
        return True

    async def early_redirect(self) -> bool:
        """Points elsewhere."""
        extra = f"location: {self.script['location']}\r\n"
        self.writer.write(whole(int(self.script.get("status", 307)), b"", extra))
        return True

    async def early_bad_length(self) -> bool:
        """Promises more bytes than it sends."""
        body = self.body()
        self.writer.write(head(200, "application/json", f"content-length: {len(body) + 500}\r\n") + body)
        await self.writer.drain()
        return False

    async def early_half_json(self) -> bool:
        """Sends half of its JSON, well framed."""
        body = self.body()
        self.writer.write(whole(200, body[: len(body) // 2]))
        return True

    async def early_garbage(self) -> bool:
        """Sends bytes that are neither JSON nor SSE."""
        kind = "text/event-stream" if self.stream else "application/json"
        self.writer.write(whole(200, bytes(range(256)) * 4, kind=kind))
        return True

    async def early_crlf_header(self) -> bool:
        """Smuggles a header with bare CR and LF."""
        extra = "x-a: 1\rx-smuggled: canary\r\nx-b: 2\nx-smuggled2: canary\r\n"
        self.writer.write(whole(200, self.body(), extra))
        return False

    async def early_many_headers(self) -> bool:
        """Sends more headers than anyone reads."""
        extra = "".join(f"x-h{n}: {'canary' * 20}\r\n" for n in range(2000))
        self.writer.write(whole(200, self.body(), extra))
        return False

    async def early_gzip(self) -> bool:
        """Compresses unasked."""
        self.writer.write(whole(200, gzip.compress(self.body()), "content-encoding: gzip\r\n"))
        return True

    # Answers.

    def usage(self) -> str | None:
        """The usage as raw JSON, or nothing."""
        if self.mode == "no_usage":
            return None
        if "usage" in self.script:
            return str(self.script["usage"])
        return self.honest(self.events)

    def honest(self, events: int) -> str:
        """True usage after so many events."""
        prompt = int(self.script.get("prompt_tokens", 7))
        return json.dumps({"prompt_tokens": prompt, "completion_tokens": events, "total_tokens": prompt + events})

    def body(self) -> bytes:
        """The answer to a request that does not stream."""
        text = json.dumps(self.text * self.events)
        choice = f'"message":{{"role":"assistant","content":{text}}}' if self.chat else f'"text":{text}'
        usage = self.usage()
        tail = "" if usage is None else f',"usage":{usage}'
        return (
            f'{{"id":"up","object":"chat.completion","created":1,"model":{json.dumps(self.model)},"choices":'
            f'[{{"index":0,{choice},"finish_reason":"stop"}}]{tail}}}'
        ).encode()

    async def at_once(self) -> bool:
        """Answers whole, or dies on the way."""
        body = self.body()
        await asyncio.sleep(self.events * float(self.script.get("gap_ms", 0)) / 1000)
        if self.mode in ("die", "reset"):
            cut = min(len(body) - 1, self.after * len(body) // 6)
            if self.after:
                self.writer.write(head(200, "application/json", f"content-length: {len(body)}\r\n") + body[:cut])
                await self.writer.drain()
            self.die()
            return False
        self.writer.write(whole(200, body))
        await self.writer.drain()
        return True

    def die(self) -> None:
        """Closes, politely or with a reset."""
        if self.mode == "reset":
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()

    def chunk(self, delta: str | None, finish: str | None = None, usage: str | None = None) -> bytes:
        """One event of the stream."""
        end = json.dumps(finish)
        if delta is None and finish is None:
            choices = "[]"
        elif self.chat:
            inner = "" if delta is None else f'"content":{json.dumps(delta)}'
            choices = f'[{{"index":0,"delta":{{{inner}}},"finish_reason":{end}}}]'
        else:
            choices = f'[{{"index":0,"text":{json.dumps(delta or "")},"finish_reason":{end}}}]'
        tail = "" if usage is None else f',"usage":{usage}'
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return (
            f'data: {{"id":"up","object":"{kind}","created":1,"model":{json.dumps(self.model)},'
            f'"choices":{choices}{tail}}}\n\n'
        ).encode()

    async def send(self, data: bytes) -> None:
        """Sends one HTTP chunk."""
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def streamed(self) -> bool:
        """Streams events, then usage and [DONE], unless the script says otherwise."""
        # Real servers send the headers with the first token, not before.
        await self.pause("gap_ms")
        self.writer.write(head(200, "text/event-stream", "transfer-encoding: chunked\r\n"))
        if self.mode == "empty_stream":
            return await self.finish()
        if self.mode == "done_only":
            await self.send(b"data: [DONE]\n\n")
            return await self.finish()
        if self.mode == "comments":
            for _ in range(self.after):
                await self.send(b": keepalive 1/1\n\n")
        await self.content()
        if self.mode == "no_done":
            return await self.finish()
        if self.mode == "error_event":
            await self.send(b'data: {"error":{"message":"canary mid-stream","type":"server_error","code":500}}\n\n')
            return await self.finish()
        await self.send(self.chunk(None, "stop"))
        usage = self.usage() if self.wants_usage else None
        if usage is not None:
            for _ in range(2 if self.mode == "usage_twice" else 1):
                await self.send(self.chunk(None, None, usage))
        await self.send(b"data: [DONE]\n\n")
        return await self.finish()

    async def content(self) -> None:
        """The content events, with what goes wrong among them."""
        if self.mode == "usage_early":
            await self.send(self.chunk(None, None, self.honest(1)))
        number = 0
        while number < self.events or self.mode == "endless":
            if self.mode in ("die", "reset") and number >= self.after:
                await self.writer.drain()
                self.die()
                raise Hangup
            if number:
                await self.pause("gap_ms")
            number += 1
            text = self.text * 150_000 if self.mode == "long_line" else self.text
            usage = self.honest(number) if self.mode == "usage_cumulative" else None
            await self.send(self.chunk(text, None, usage))

    async def finish(self) -> bool:
        """Ends the chunked body."""
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return True


class Hangup(Exception):
    """The other side went away, or this side does now."""


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """Reads a chunked body."""
    body = b""
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        body += await reader.readexactly(size)
        await reader.readline()
        if size == 0:
            return body


def head(status: int, kind: str, extra: str = "") -> bytes:
    """The head of an answer, with every header that must not leak."""
    canaries = "".join(line + "\r\n" for line in CANARY_HEADERS)
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{canaries}{extra}\r\n".encode("latin-1")


def whole(status: int, body: bytes, extra: str = "", kind: str = "application/json") -> bytes:
    """A whole answer with its length."""
    return head(status, kind, extra + f"content-length: {len(body)}\r\n") + body


async def serve() -> None:
    """Serves until SIGTERM, or until the harness that started it is gone."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    upstream = Upstream("--brittle" in sys.argv)
    server = await asyncio.start_server(upstream.connection, "127.0.0.1", 0, backlog=4096, limit=2**26)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Standard input closes with the harness: no upstream outlives it.
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
