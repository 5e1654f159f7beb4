"""Targets: what an engine answers, to the client side and on to forebay's client."""

from collections.abc import Callable

from bench.fuzz import reader
from bench.fuzz.stage import Loop, Transport, pieces, playing
from forebay.router.attempt import Attempt, Look
from forebay.router.dialect.content import error_status
from forebay.router.http.call import Call, UpstreamError
from forebay.router.http.client import ClientConnection, ConnectionPool
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import error
from forebay.router.http.server import Headers, Request, Server, ServerConnection
from forebay.rules.steps import AttemptOutcome

ADDRESS = ("127.0.0.1", 9)
GOOD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
SILENT, CLOSED, RESET = 0, 1, 2
LEAVES = 3
LOOKS = (Look.CONTENT, Look.PRESSURE, Look.NOTHING)


class Engine:
    """A kept connection to an engine that answers with `data`, then stays SILENT, is CLOSED or is RESET."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.pool = ConnectionPool()
        self.connection = ClientConnection(self.pool, ADDRESS)
        self.transport = Transport()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        self.pool.keep(self.connection)

    def answer(self, data: bytes, split: int, end: int, between: Callable[[], object] = bool) -> bool:
        """Whether the connection was kept, before it ended. `between` is called after each piece."""
        for piece in pieces(data, split):
            if self.transport.open:
                self.connection.data_received(piece)
                self.loop.run()
                between()
        kept = self.connection in self.pool._idle[ADDRESS] and self.transport.open
        if end != SILENT or not self.transport.open:
            own = not self.transport.open  # broken off here: asyncio tells None
            self.connection.connection_lost(ConnectionResetError() if end == RESET and not own else None)
        for call in list(self.pool.active):
            call.fail(UpstreamError("no data in time"))
        self.loop.run()
        assert not self.pool.active, "a call is still under way"
        return kept


class Told:
    """An Answer that holds the calls to their order."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.body = b""
        self.over = ""

    def on_head(self, status: int, headers: Headers) -> None:
        assert not self.status and not self.over, "a second head"
        assert 200 <= status <= 999
        self.status, self.headers = status, list(headers)

    def on_piece(self, piece: bytes) -> None:
        assert self.status and not self.over, "a piece out of turn"
        self.body += piece

    def on_end(self) -> None:
        assert self.status and not self.over, "an end out of turn"
        self.over = "end"

    def on_fail(self, problem: UpstreamError) -> None:
        assert not self.over, "a failure out of turn"
        self.over = "fail"


def _fetch(data: bytes, split: int, end: int) -> tuple[Told, bool]:
    with playing() as loop:
        engine, told = Engine(loop), Told()
        call: Call = engine.pool.start(ADDRESS, GOOD, b"", told, 30.0, 1e9)
        kept = engine.answer(data, split, end)
    assert told.over and call.connection is None
    return told, kept


def client(data: bytes) -> None:
    """Answers: a head, pieces and one end; the same in many pieces; kept only at an answer's end."""
    if len(data) < 2:
        return
    end, split, data = data[0] % 3, data[1], data[2:]
    whole, kept = _fetch(data, 0, end)
    parts, _ = _fetch(data, split, end)
    assert vars(whole) == vars(parts), f"{vars(whole)} became {vars(parts)}"
    got = reader.answer(data, ended=end == CLOSED)
    if got.refused or whole.over != "end":
        return
    assert got.complete, f"{vars(whole)} is incomplete elsewhere"
    assert (got.status, got.body) == (whole.status, whole.body), f"{vars(whole)} is {got} elsewhere"
    assert not kept or not got.rest.strip(b"\r\n"), f"kept, with {got.rest!r} to come"


class Relay:
    """One request that is answered by the engine."""

    def __init__(self, loop: Loop, look: Look) -> None:
        self.engine = Engine(loop)
        self.look = look
        self.attempt: Attempt | None = None
        self.over = 0
        connection = ServerConnection(Server(self._handle))
        self.transport = Transport()
        connection.connection_made(self.transport)  # type: ignore[arg-type]
        connection.data_received(GOOD)
        self.connection = connection

    def hurry(self) -> None:
        """The client falls behind, and catches up."""
        (self.connection.resume_writing if self.connection.paused else self.connection.pause_writing)()

    def leave(self) -> None:
        """The client goes away."""
        if self.transport.open:
            self.transport.close()
            self.connection.connection_lost(None)

    def _handle(self, request: Request, exchange: Exchange) -> None:
        self.attempt = Attempt(exchange, list, self._outcome, look=self.look)
        self.attempt.start(self.engine.pool, ADDRESS, GOOD, b"", 30.0, 1e9)

    def _outcome(self, attempt: Attempt) -> None:
        self.over += 1
        if attempt.outcome not in (AttemptOutcome.ANSWERED, AttemptOutcome.BROKEN, AttemptOutcome.GONE):
            assert not attempt.exchange.started, "a second answer would follow"
            attempt.exchange.reply(error(599, "elsewhere"))


def relay(data: bytes) -> None:
    """Answers: the client gets the engine's whole answer, or sees that it does not."""
    if len(data) < 2:
        return
    end, look, way, split, data = data[0] % 3, LOOKS[data[0] // 3 % 3], data[0] >> 6, data[1], data[2:]
    with playing() as loop:
        play = Relay(loop, look)
        play.engine.answer(data, split, end, (bool, bool, play.hurry, play.leave)[way])
        loop.run()
    attempt = play.attempt
    assert attempt is not None and play.over == 1 and attempt.exchange.ended
    if attempt.outcome is AttemptOutcome.GONE:
        assert way == LEAVES and not play.engine.transport.open, "the engine was not told"
        return
    got = reader.answer(play.transport.sent, ended=not play.transport.open)
    truth = reader.answer(data, ended=end == CLOSED)
    if attempt.outcome is AttemptOutcome.ANSWERED:
        if attempt.told and not truth.complete:  # the engine's own error event was the end, and it sent no other
            assert not play.transport.open, "an answer that ended with an error event leaves the connection open"
        elif not truth.refused:
            assert truth.complete, f"a broken answer ends well: {got}"
            named = look is Look.CONTENT and truth.status == 200 and not attempt.stream
            status = error_status(truth.body, stream=False) if named else 0
            body = truth.body[: len(got.body)] if attempt.told else truth.body  # no more after an error event
            assert got.complete and (got.status, got.body) == (status or truth.status, body), f"{truth} became {got}"
    elif attempt.outcome is AttemptOutcome.BROKEN:
        assert not play.transport.open, "a broken answer leaves the connection open"
        assert got.refused or not got.complete or attempt.told, f"a broken answer ends well: {got}"
    else:
        assert got.complete and got.status == 599, f"{attempt.outcome} leaves the client with {got}"
    assert got.rest == b""
