"""An upstream that counts exactly, by a tokenizer of its own, and remembers what it counted.

Run as a process of its own: it prints `{"port": N}` and serves chat, legacy completions, messages and
responses on loopback. The first part of a path is the habit of the server that is played:

    /strict/v1   reads the documented names and nothing else
    /go/v1       matches keys in any case, the last one wins (Go's encoding/json); `options.num_predict`
    /llama/v1    `n_predict` above all others
    /tgi/v1      `max_new_tokens`, also inside `parameters`
    /kobold/v1   `max_length`
    /aio/v1      decodes the body by the charset that the request's content type names (aiohttp)
    /qwen/v1     as strict, with a tokenizer that joins no digits
    /digits/v1   the same, and no lines and tabs
    /bytes/v1    as strict, with a tokenizer that knows no letters outside of ASCII
    /plain/v1    as strict, and speaks chat alone: what comes in another dialect is translated

The object `torture` in the body names the request (`nonce`), how much it would say (`events`), and how long it is
silent after its first word (`pause`, in seconds). It renders every
string of the body, as a chat template may: a token is up to six letters or three digits, with a blank before them,
one other sign, or a run of blanks, and each message costs four more; a picture costs `PICTURE`. Three habits have other
tokenizers: with `qwen` each digit is a token, with `digits` each line and tab too (Llama 2), with `bytes` each byte
outside of ASCII is one. `GET /_torture/counts` tells what each request came to: prompt and completion tokens, the model that was
understood, and whether it was answered to the end.

With `--secret-bound` the habit obeys `torture.bound` before all else: a field that nobody else knows.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from typing import Any

PICTURE = 765
DEFAULT_OUTPUT = 2_000
MOST_OUTPUT = 6_000
MESSAGE = 4
QWEN = re.compile(r"\s?[^\W\d_]{1,6}|\d|_|[^\w\s]|\s+")
DIGITS = re.compile(r"\s?[^\W\d_]{1,6}|\d|_|[^\w\s]|[^\S\n\t]+|\s")
TOKEN = re.compile(r"\s?[^\W\d_]{1,6}|\s?\d{1,3}|_|[^\w\s]|\s+")
BOUNDS = {
    "strict": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "go": ("num_predict", "max_tokens", "max_completion_tokens", "max_output_tokens"),
    "llama": ("n_predict", "max_tokens", "max_completion_tokens", "max_output_tokens"),
    "tgi": ("max_new_tokens", "max_tokens", "max_completion_tokens", "max_output_tokens"),
    "kobold": ("max_length", "max_tokens", "max_completion_tokens", "max_output_tokens"),
    "aio": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "qwen": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "digits": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "bytes": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "plain": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
}
SECRET_BOUND = "--secret-bound" in sys.argv
COUNTS: dict[str, dict[str, Any]] = {}


def tokens(text: str, habit: str) -> int:
    """How many tokens a text is."""
    if habit == "bytes":
        ascii_text = "".join(letter for letter in text if letter.isascii())
        others = len(text.encode("utf-8", "replace")) - len(ascii_text)
        return others + sum(1 for _ in TOKEN.finditer(ascii_text))
    return sum(1 for _ in {"digits": DIGITS, "qwen": QWEN}.get(habit, TOKEN).finditer(text))


def folded(value: Any) -> Any:
    """The value as a decoder sees it that matches keys in any case: the last one wins."""
    if isinstance(value, dict):
        return {key.casefold(): folded(inner) for key, inner in value.items()}
    return [folded(inner) for inner in value] if isinstance(value, list) else value


def is_picture(value: Any) -> bool:
    """A content part that is a picture."""
    return isinstance(value, dict) and value.get("type") in ("image_url", "input_image", "image")


def rendered(value: Any, habit: str) -> int:
    """The tokens of everything in a value."""
    if is_picture(value):
        return PICTURE
    if isinstance(value, str):
        return tokens(value, habit)
    if isinstance(value, dict):
        extra = MESSAGE if "role" in value else 0
        return extra + sum(rendered(inner, habit) for inner in value.values())
    if isinstance(value, list):
        return sum(1 if isinstance(inner, int) else rendered(inner, habit) for inner in value)
    return 0


def bound_of(habit: str, request: dict[str, Any]) -> int:
    """The most output tokens, as this habit reads them."""
    if SECRET_BOUND and isinstance(request.get("torture"), dict) and "bound" in request["torture"]:
        return int(request["torture"]["bound"])
    inner: dict[str, Any] = {}
    for name in ("options", "parameters"):
        if isinstance(request.get(name), dict):
            inner |= request[name]
    for source in (inner, request) if habit in ("go", "tgi") else (request,):
        for name in BOUNDS[habit]:
            value = source.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
                return int(value)
    return DEFAULT_OUTPUT


class Work:
    """One request as it was understood."""

    def __init__(self, habit: str, request: dict[str, Any]) -> None:
        script = request.get("torture") or {}
        self.nonce = str(script.get("nonce", ""))
        self.model = str(request.get("model", ""))
        self.stream = request.get("stream") is True
        self.asked_usage = (request.get("stream_options") or {}).get("include_usage") is True
        settings = {"model", "torture", "stream", "stream_options"}
        self.prompt = sum(rendered(value, habit) for key, value in request.items() if key not in settings)
        choices = max(int(request.get(name) or 1) for name in ("n", "best_of", "num_return_sequences"))
        bound = min(MOST_OUTPUT, bound_of(habit, request))
        self.pause = float(script.get("pause", 0))
        self.events = choices * min(bound, int(script.get("events", MOST_OUTPUT)))
        self.note(0, finished=False)

    def note(self, completion: int, *, finished: bool) -> None:
        """Remembers how far it has come."""
        COUNTS[self.nonce] = {
            "prompt": self.prompt,
            "completion": completion,
            "model": self.model,
            "finished": finished,
        }


def usage(work: Work, dialect: str) -> dict[str, Any]:
    """The honest usage object of a dialect."""
    if dialect in ("messages", "responses"):
        return {"input_tokens": work.prompt, "output_tokens": work.events, "total_tokens": work.prompt + work.events}
    total = work.prompt + work.events
    return {"prompt_tokens": work.prompt, "completion_tokens": work.events, "total_tokens": total}


def whole_body(work: Work, dialect: str) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    text, said = " hello" * work.events, usage(work, dialect)
    if dialect == "messages":
        content = [{"type": "text", "text": text}]
        return {"id": "m", "type": "message", "role": "assistant", "model": work.model, "content": content,
                "stop_reason": "end_turn", "usage": said}  # fmt: skip
    if dialect == "responses":
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        return {"id": "r", "object": "response", "status": "completed", "model": work.model, "output": [item],
                "usage": said}  # fmt: skip
    part = {"text": text} if dialect == "completions" else {"message": {"role": "assistant", "content": text}}
    choice = {"index": 0, "finish_reason": "stop", **part}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": work.model, "choices": [choice],
            "usage": said}  # fmt: skip


def event(data: dict[str, Any], *, named: bool) -> bytes:
    """One server-sent event."""
    name = f"event: {data['type']}\n" if named else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def deltas(work: Work, dialect: str) -> tuple[list[bytes], bytes, list[bytes]]:
    """What comes before the text of a stream, one token of it, and what comes after."""
    if dialect == "messages":
        start = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant",
                 "model": work.model, "content": [], "usage": {"input_tokens": work.prompt, "output_tokens": 1}}}  # fmt: skip
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " hello"}}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": work.events}}
        before, after = [start, block], [{"type": "content_block_stop", "index": 0}, end, {"type": "message_stop"}]
        return [event(e, named=True) for e in before], event(delta, named=True), [event(e, named=True) for e in after]
    if dialect == "responses":
        start = {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "model": work.model}}
        delta = {"type": "response.output_text.delta", "sequence_number": 1, "delta": " hello"}
        end = {"type": "response.completed", "sequence_number": 2, "response": whole_body(work, dialect)}
        return [event(start, named=True)], event(delta, named=True), [event(end, named=True)]
    part = {"text": " hello"} if dialect == "completions" else {"delta": {"content": " hello"}}
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": work.model}
    token = {**base, "choices": [{"index": 0, "finish_reason": None, **part}]}
    stop = {"text": ""} if dialect == "completions" else {"delta": {}}
    after = [event({**base, "choices": [{"index": 0, "finish_reason": "stop", **stop}]}, named=False)]
    if work.asked_usage:
        after.append(event({**base, "choices": [], "usage": usage(work, dialect)}, named=False))
    return [], event(token, named=False), [*after, b"data: [DONE]\n\n"]


async def stream(work: Work, dialect: str, writer: asyncio.StreamWriter) -> None:
    """Streams an answer, a token an event; a caller that leaves stops it."""
    writer.write(head(200, "text/event-stream", "connection: close\r\n"))
    before, token, after = deltas(work, dialect)
    for data in before:
        writer.write(data)
    for number in range(work.events):
        if writer.is_closing():
            return
        writer.write(token)
        work.note(number + 1, finished=False)
        if number == 0 and work.pause:
            await writer.drain()
            await asyncio.sleep(work.pause)
        if number % 16 == 0:
            await writer.drain()
            await asyncio.sleep(0.001)
    for data in after:
        writer.write(data)
    await writer.drain()
    work.note(work.events, finished=True)


def head(status: int, kind: str, more: str = "") -> bytes:
    """The head of an answer."""
    return f"HTTP/1.1 {status} OK\r\ncontent-type: {kind}\r\n{more}\r\n".encode()


def whole(status: int, value: Any) -> bytes:
    """A JSON answer."""
    body = json.dumps(value).encode()
    return head(status, "application/json", f"content-length: {len(body)}\r\n") + body


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
    """The path, the headers and the body of the next request."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = text.split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return first.split(" ")[1], headers, body


def understood(habit: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """The request as this habit decodes it."""
    charset = re.search(r"charset=\"?([\w-]+)", headers.get("content-type", ""))
    text = body.decode(charset[1] if habit == "aio" and charset else "utf-8", "replace")
    request = json.loads(text)
    return folded(request) if habit == "go" else request


async def answer(path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
    """Answers one request; says whether the connection stays."""
    if path == "/_torture/counts":
        writer.write(whole(200, COUNTS))
        return True
    habit, _, dialect = path.split("?")[0].strip("/").partition("/v1/")
    dialect = {"chat/completions": "chat"}.get(dialect, dialect)
    spoken = ("chat",) if habit == "plain" else ("chat", "completions", "messages", "responses")
    if habit not in BOUNDS or dialect not in spoken:
        writer.write(whole(404, {"error": {"message": "not here", "type": "not_found", "code": 404}}))
        return True
    try:
        work = Work(habit, understood(habit, headers, body))
    except (ValueError, LookupError, AttributeError, TypeError) as e:
        writer.write(whole(400, {"error": {"message": f"bad request: {type(e).__name__}", "code": 400}}))
        return True
    if work.stream:
        await stream(work, dialect, writer)
        return False
    writer.write(whole(200, whole_body(work, dialect)))
    work.note(work.events, finished=True)
    await writer.drain()
    return True


async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serves one keep-alive connection."""
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while (request := await read_request(reader)) is not None:
            if not await answer(*request, writer):
                break
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serves until standard input ends or a signal comes."""
    server = await asyncio.start_server(connection, "127.0.0.1", 0, limit=1 << 26)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)))
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
