"""Targets: what a client sends to the server side."""

import json
from collections.abc import Callable
from typing import Any

from bench.fuzz import reader
from bench.fuzz.stage import Loop, Transport, pieces, playing
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import json_reply, origin_form
from forebay.router.http.message_channel import MessageChannel
from forebay.router.http.server import Request, Server, ServerConnection

GOOD = b"POST /extra HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
NEVER = float("inf")
LATER, STREAM, LINES, SLOW, TIRED = 1, 2, 4, 8, 16


class Visit:
    """One connection, fed with `data` in parts. `mode`: answer LATER, in a STREAM, take LINES, to a SLOW reader; be
    TIRED of waiting at the end."""

    def __init__(self, loop: Loop, data: bytes, split: int, mode: int) -> None:
        self.loop, self.mode = loop, mode
        self.requests: list[Request] = []
        self.lines: list[bytes] = []
        self.server = Server(self._handle, upgrade=self._upgrade if mode & LINES else None)
        self.connection = ServerConnection(self.server)
        self.transport = Transport()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        for piece in pieces(data, split):
            self._feed(piece)
        self._catch_up()
        if mode & TIRED and self.connection.due < NEVER and self.transport.protocol is None:
            self.connection.late()
            loop.run()
        self.refused = self.connection._deaf
        if self.refused:
            before = len(self.requests)
            self._feed(GOOD)
            assert len(self.requests) == before, "a request was taken after the end"
        self.begun = self.connection._begun
        self.connection.connection_lost(None)
        loop.run()
        assert self.server.budget.used == 0, f"{self.server.budget.used} bytes are still held"
        assert not self.server.connections, "a connection is still known"

    def _feed(self, piece: bytes) -> None:
        if not self.transport.open:
            return
        if self.mode & SLOW:
            self.connection.pause_writing()
        (self.transport.protocol or self.connection).data_received(piece)
        if self.connection._deaf:
            due = len(self.requests) + len(self.connection._ready)
            self.loop.run()
            assert len(self.requests) <= due, "a request was taken after a refusal"
        self.loop.run()
        if not self.transport.reading:
            self._catch_up()

    def _catch_up(self) -> None:
        if self.mode & SLOW:
            self.connection.resume_writing()
            self.loop.run()

    def _handle(self, request: Request, exchange: Exchange) -> None:
        self.requests.append(request)
        answer: Callable[..., Any] = self._stream if self.mode & STREAM else self._reply
        if self.mode & LATER:
            self.loop.call_soon(answer, exchange)
        else:
            answer(exchange)

    @staticmethod
    def _reply(exchange: Exchange) -> None:
        if not exchange.ended:
            exchange.reply(json_reply(b"{}"))

    @staticmethod
    def _stream(exchange: Exchange) -> None:
        if not exchange.ended:
            exchange.start(200, [(b"content-type", b"text/event-stream")], None, b"{")
            exchange.write(b"}")
            exchange.end()

    def _upgrade(self, request: Request) -> MessageChannel:
        assert request.fields[b"upgrade"] == b"forebay-lines"
        return MessageChannel(self.lines.append, lambda: None)

    @property
    def read(self) -> list[reader.Read]:
        return [(request.method, request.whole_target, request.body) for request in self.requests]

    @property
    def heads(self) -> list[object]:
        return [request.headers for request in self.requests]


def _answers(visit: Visit) -> None:
    """What was written is one answer for each request, and at most one refusal."""
    rest = visit.transport.sent
    for request in visit.requests:
        got = reader.answer(rest, request.method, ended=True)
        if got.refused or not got.complete:
            raise AssertionError(f"no answer to {request.method}: {got} in {visit.transport.sent!r}")
        assert got.status == 200
        assert got.body == (b"" if request.method == "HEAD" else b"{}")
        rest = got.rest
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    while rest.startswith(interim):
        rest = rest[len(interim) :]
    if visit.transport.protocol is not None:
        assert rest.startswith(b"HTTP/1.1 101 "), rest
    elif rest:
        got = reader.answer(rest, "GET", ended=True)
        assert got.complete and not got.refused and not got.rest, f"{got} in {rest!r}"
        assert got.status >= 400
        assert set(json.loads(got.body)["error"]) == {"message", "type", "param", "code"}


def server(data: bytes) -> None:
    """Requests: the same in one piece and in many, each answered, nothing after a refusal, no memory kept."""
    if len(data) < 2:
        return
    mode, split, data = data[0] & 31, data[1], data[2:]
    with playing() as loop:
        whole = Visit(loop, data, 0, mode)
        parts = Visit(loop, data, split, mode)
    for visit in (whole, parts):
        _answers(visit)
    assert (whole.read, whole.heads) == (parts.read, parts.heads), f"{whole.read} became {parts.read}"
    assert whole.lines == parts.lines
    assert whole.refused == parts.refused


def smuggling(data: bytes) -> None:
    """Requests: another reader sees the same ones."""
    with playing() as loop:
        ours = Visit(loop, data, 0, 0)
    theirs, why, stays = reader.requests(data)
    seen = [(method, _normal(target), body) for method, target, body in theirs]
    shared = min(len(seen), len(ours.read))
    assert seen[:shared] == ours.read[:shared], f"{ours.read} is {seen} elsewhere"
    if len(ours.read) > shared:
        allowed = (not why and not stays) or why.startswith(reader.STRICTER)
        assert allowed, f"{ours.read[shared:]} is refused elsewhere ({why}) or incomplete"
    elif len(seen) > shared:
        preface = seen[shared][0] == "PRI"  # HTTP/2's, which is refused once all of it is there
        assert ours.refused or preface, f"{seen[shared:]} is not complete here"


def _normal(target: str) -> str:
    path, _, query = origin_form(target.encode("latin-1")).partition("?")
    return f"{path}?{query}" if query else path
