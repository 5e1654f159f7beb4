"""A provider whose every byte a test decides, over real HTTP (or HTTPS), beside the simulated ones."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec

from forebay.simulator.http import Connection, Request
from forebay.simulator.http import event as sse

Script = Callable[["Provider", Request, Connection], Awaitable[None]]


@dataclass
class Provider:
    """Plays its script for every request, and remembers what it was asked."""

    script: Script
    asked: list[Request] = field(default_factory=list)
    gone: int = 0  # requests whose connection was closed on it
    port: int = 0

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.asked]

    async def handle(self, request: Request, connection: Connection) -> None:
        self.asked.append(request)
        try:
            await self.script(self, request, connection)
        except asyncio.CancelledError:
            self.gone += 1
            raise

    async def start(self, stack: AsyncExitStack, tls: ssl.SSLContext | None = None, port: int = 0) -> "Provider":
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self.handle), "127.0.0.1", port, ssl=tls)
        stack.callback(server.close)
        self.port = server.sockets[0].getsockname()[1]
        return self


def chunk(text: str = "", **more: Any) -> bytes:
    """One chunk of a streamed chat answer."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return json.dumps({"id": "c", "model": "big-1", "choices": [choice], **more}, separators=(",", ":")).encode()


ROLE = json.dumps({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}).encode()
LAST = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).encode()
USAGE = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}
USAGE_CHUNK = json.dumps({"id": "c", "model": "big-1", "choices": [], "usage": USAGE}).encode()
DONE = b"[DONE]"
GOOD = [ROLE, chunk("Hello"), chunk(" there"), LAST, USAGE_CHUNK, DONE]
ERROR = b'{"error": {"message": "The server had an error", "type": "server_error"}}'


def answer(status: int = 200, body: Any = None, **headers: str) -> Script:
    """A whole answer."""
    document = body if body is not None else {"id": "c", "model": "big-1", "choices": [], "usage": USAGE}
    raw = document if isinstance(document, bytes) else msgspec.json.encode(document)
    more = b"".join(f"{name.replace('_', '-')}: {value}\r\n".encode() for name, value in headers.items())

    async def play(provider: Provider, request: Request, connection: Connection) -> None:
        connection.reply(status, raw, more=more)

    return play


def refusal(status: int, message: str = "no", **headers: str) -> Script:
    """An error as OpenAI's API writes it."""
    return answer(status, {"error": {"message": message, "type": "error", "param": None, "code": None}}, **headers)


def stream(*events: bytes, then: str = "end", gap: float = 0.0) -> Script:
    """Events, and then: end, cut (the connection breaks), half (it ends within the chunked coding), stall."""

    async def play(provider: Provider, request: Request, connection: Connection) -> None:
        connection.start_stream()
        for event in events:
            connection.events([sse(event)])
            if gap:
                await asyncio.sleep(gap)
        match then:
            case "end":
                connection._write(b"0\r\n\r\n")
            case "cut":
                await asyncio.sleep(0.02)  # so that what was written arrives before the reset
                connection.break_off()
            case "half":
                connection._write(b"ff\r\ndata: {")
                connection.close()
            case "chunk":
                connection._write(b"this is no chunk\r\n")
            case _:
                await asyncio.Event().wait()

    return play


def in_turn(*scripts: Script) -> Script:
    """Another one for each request; the last one stays."""

    async def play(provider: Provider, request: Request, connection: Connection) -> None:
        await scripts[min(len(provider.asked), len(scripts)) - 1](provider, request, connection)

    return play
