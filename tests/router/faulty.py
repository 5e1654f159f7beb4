"""A peer that misbehaves as told: raw sockets, in front of a router or an engine that does well.

Probes, reports and lines go through untouched; what a client asks for meets the fault.
"""

import asyncio
import contextlib
import re
import socket
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from forebay.router.engine_monitor import ASKED

Address = tuple[str, int]

ROLE: Final = (
    b'data: {"id":"x","object":"chat.completion.chunk","model":"m","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
)
TOKEN: Final = (
    b'data: {"id":"x","object":"chat.completion.chunk","model":"m","choices":[{"index":0,'
    b'"delta":{"content":" half"},"finish_reason":null}]}\n\n'
)
ERROR: Final = b'{"error":{"message":"the engine has died","type":"InternalServerError","param":null,"code":500}}'
BAD_REQUEST: Final = b'{"error":{"message":"temperature must be at least 0","type":"BadRequestError","code":400}}'
BUSY: Final = b'{"error":{"message":"too many requests","type":"rate_limit_error","code":null}}'
BODY: Final = b'{"id":"x","choices":[{"message":{"content":"'
PROBES: Final = (b"GET /v1/models ", b"GET /version ", b"GET /metrics ")
LARGE: Final = 1280 * 1024
"""Bytes of an answer that are on their way to the client before the fault: more than a router holds back."""
RETRY_AFTER: Final = 7
SLOW_SECONDS: Final = 0.3
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.I)


class Fault(StrEnum):
    """What can go wrong with a peer."""

    REFUSED = "refused"
    RESET = "reset"
    STALL = "stall"
    CUT = "cut"
    MALFORMED = "malformed chunk"
    ERROR_IN_200 = "200 then error"
    BAD_REQUEST = "4xx"
    TOO_MANY = "429"
    SERVER_ERROR = "5xx"
    SLOW_START = "slow start"


class Moment(StrEnum):
    """When: before or after the first content byte."""

    BEFORE = "before"
    AFTER = "after"


@dataclass
class Faulty:
    """Stands in front of `target`. `posts` counts the requests of clients that came here, not what a sidecar asks
    by itself.

    `bare`: before the first content byte there is only the head, as of a peer that holds back what has no content.
    """

    target: Address
    fault: Fault = Fault.RESET
    moment: Moment = Moment.BEFORE
    bare: bool = False
    poison: bytes = b""  # only requests that hold these words meet the fault; others get a whole answer
    posts: int = 0
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**22)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """No new connections; those that stand, stay."""
        assert self._server is not None
        self._server.close()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # connections that were broken off are closed with the loop's next turns

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._connection(reader, writer)
        self._tasks.discard(task)
        writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(PROBES):
            writer.write(_whole(200, b'{"object":"list","data":[]}', b"connection: close\r\n"))
            await writer.drain()
            writer.close()
            return
        if not head.startswith(b"POST"):
            await self._through(head, reader, writer)
            return
        found = _LENGTH.search(head)
        body = await reader.readexactly(int(found[1]) if found else 0)
        if ASKED not in head:
            self.posts += 1
            self.bodies.append(body)
        if self.poison not in body:
            writer.write(_whole(200, BODY + b'well"}}]}', b"connection: close\r\n"))
            await writer.drain()
            writer.close()
            return
        if self.fault is Fault.SLOW_START:
            await asyncio.sleep(SLOW_SECONDS)
            await self._through(head + body, reader, writer)
            return
        stream = b'"stream":true' in body.replace(b" ", b"")
        await Answer(self.fault, self.moment, stream, self.bare).write(writer)

    async def _through(self, begun: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Everything between the two sides from here on, until one of them ends."""
        theirs, to_them = await asyncio.open_connection(*self.target)
        to_them.write(begun)
        ways = [asyncio.create_task(_pump(reader, to_them)), asyncio.create_task(_pump(theirs, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            to_them.transport.abort()


@dataclass
class Answer:
    """One faulty answer."""

    fault: Fault
    moment: Moment
    stream: bool
    bare: bool

    async def write(self, writer: asyncio.StreamWriter) -> None:
        match self.fault:
            case Fault.BAD_REQUEST:
                writer.write(_whole(400, BAD_REQUEST))
            case Fault.TOO_MANY:
                writer.write(_whole(429, BUSY, b"retry-after: %d\r\n" % RETRY_AFTER))
            case Fault.SERVER_ERROR:
                writer.write(_whole(500, ERROR))
            case Fault.ERROR_IN_200 if not self.stream:
                writer.write(_whole(200, ERROR))
            case Fault.RESET if self.moment is Moment.BEFORE:
                _reset(writer)
                return
            case _:
                await self._begin(writer)
                await self._break(writer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _begin(self, writer: asyncio.StreamWriter) -> None:
        after = self.moment is Moment.AFTER
        if self.stream:
            writer.write(_head(200, b"text/event-stream", b"transfer-encoding: chunked\r\n"))
            if after or not self.bare:
                writer.write(_chunk(ROLE) + (_chunk(TOKEN) + _chunk(TOKEN) if after else b""))
        elif self.fault is Fault.MALFORMED:
            writer.write(_head(200, b"application/json", b"transfer-encoding: chunked\r\n"))
            if after or not self.bare:
                writer.write(_chunk(BODY + b"x" * (LARGE if after else 10)))
        else:
            writer.write(_head(200, b"application/json", b"content-length: %d\r\n" % (2 * LARGE)))
            if after or not self.bare:
                writer.write(BODY + b"x" * (LARGE if after else 10))
        await writer.drain()
        await asyncio.sleep(0.05)  # so that what was written is on its way before the fault

    async def _break(self, writer: asyncio.StreamWriter) -> None:
        match self.fault:
            case Fault.RESET:
                _reset(writer)
            case Fault.STALL:
                await asyncio.Event().wait()
            case Fault.MALFORMED:
                writer.write(b"zz\r\nnot a chunk\r\n")
            case Fault.ERROR_IN_200:
                writer.write(_chunk(b"data: " + ERROR + b"\n\n") + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            case _:
                writer.close()


def _head(status: int, kind: bytes, more: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-type: %b\r\n%b\r\n" % (status, kind, more)


def _whole(status: int, body: bytes, more: bytes = b"") -> bytes:
    return _head(status, b"application/json", b"content-length: %d\r\n" % len(body) + more) + body


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
