"""A server with a desk: who comes waits at it until the harness says what it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json

BODY = (
    b'{"id":"d","object":"chat.completion","created":1,"model":"torture","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":" hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,'
    b'"completion_tokens":1,"total_tokens":8}}'
)


class Desk:
    """Takes requests that name themselves in `user`, in the order of arrival."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.waiting: dict[str, asyncio.Future[str]] = {}
        self.server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listens; returns the base URL for `provider add`."""
        self.server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"

    def close(self) -> None:
        """Does not listen any more, and hangs up on who is there."""
        assert self.server is not None
        self.server.close()
        for name in list(self.waiting):
            self.say(name, "hang-up")

    def say(self, name: str, answer: str) -> None:
        """Answers one that is at the desk: a status, `hang-up`, or `429 N` with the seconds of a Retry-After."""
        self.waiting.pop(name).set_result(answer)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: none is reused, so none is stale."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = head.partition("content-length:")[2].split("\r\n")[0].strip()
            body = await reader.readexactly(int(length or 0))
            # Whoever does not say who it is asks whether the server is there.
            name = json.loads(body).get("user") if body else None
            answer = await self.wait(name, reader) if name else "200"
            if answer != "hang-up":
                status, _, after = answer.partition(" ")
                more = f"retry-after: {after}\r\n" if after else ""
                said = BODY if status == "200" else b"{}"
                text = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{more}"
                writer.write(f"{text}content-length: {len(said)}\r\n\r\n".encode() + said)
                await writer.drain()
        writer.close()

    async def wait(self, name: str, reader: asyncio.StreamReader) -> str:
        """What one at the desk is answered; who goes away is away."""
        self.names.append(name)
        said = self.waiting[name] = asyncio.get_running_loop().create_future()
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({said, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if said.done():
            return said.result()
        self.waiting.pop(name, None)
        return "hang-up"
