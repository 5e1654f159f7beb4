"""A small HTTP/1.1 server on httptools, enough for what talks to an engine: keep-alive, chunks, disconnects."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import cast

import httptools
import msgspec

_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
            405: "Method Not Allowed", 429: "Too Many Requests",
            500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip
encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Request:
    """One request with its whole body."""

    method: str
    path: str
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    query: str = ""


class Connection(asyncio.Protocol):
    """One connection; requests are answered one after the other by `handler`, which is cancelled on disconnect."""

    def __init__(self, handler: "Handler") -> None:
        self.handler = handler
        self.transport: asyncio.Transport | None = None
        self.gone = False
        self._parser = httptools.HttpRequestParser(self)
        self._pending: list[Request] = []
        self._task: asyncio.Task[None] | None = None
        self._new()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio."""
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """asyncio."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.reply(400, b'{"error":{"message":"invalid HTTP request","type":"BadRequestError","code":400}}')
            self.close()

    def on_url(self, url: bytes) -> None:
        """httptools."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools."""
        self._headers[name.lower()] = value

    def on_body(self, data: bytes) -> None:
        """httptools."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """httptools."""
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode()
        self._pending.append(Request(method, path, self._headers, b"".join(self._body), query))
        self._new()
        if self._task is None:
            self._next()

    def reply(self, status: int, body: bytes, kind: bytes = b"application/json", more: bytes = b"") -> None:
        """A whole answer."""
        self._write(_head(status, kind, b"content-length: %d\r\n" % len(body) + more) + body)

    def start_stream(self) -> None:
        """The head of a stream of events."""
        self._write(_head(200, b"text/event-stream; charset=utf-8", b"transfer-encoding: chunked\r\n"))

    def events(self, events: list[bytes], *, last: bool = False) -> None:
        """Events, in one write."""
        data = b"".join(events)
        self._write(b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if last else b""))

    def close(self) -> None:
        """End the connection after what was written."""
        if self.transport is not None:
            self.transport.close()

    def break_off(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.gone:
            self.transport.write(data)

    def _new(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    def _next(self) -> None:
        if self._pending and not self.gone:
            self._task = asyncio.get_running_loop().create_task(self._run(self._pending.pop(0)))
        else:
            self._task = None

    async def _run(self, request: Request) -> None:
        try:
            await self.handler(request, self)
        except asyncio.CancelledError:
            return
        finally:
            self._next()


Handler = Callable[[Request, Connection], Awaitable[None]]


def event(data: bytes, name: str = "") -> bytes:
    """A server-sent event."""
    return (b"event: %b\n" % name.encode() if name else b"") + b"data: " + data + b"\n\n"


def _head(status: int, kind: bytes, more: bytes) -> bytes:
    phrase = _PHRASES.get(status, "Error").encode()
    date = _date(int(time.time()))
    said = b"content-type: %b\r\n" % kind if kind else b""
    return b"HTTP/1.1 %d %b\r\ndate: %b\r\nserver: uvicorn\r\n%b%bvary: Origin\r\n\r\n" % (
        status, phrase, date, more, said,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()
