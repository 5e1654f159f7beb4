"""One request at a replica's engine: holds its slots, relays the answer, and says where else it may go."""

import asyncio
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

from forebay.resources import headers as names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.reasons import Reason
from forebay.router import metrics
from forebay.router.attempt import Attempt, Look
from forebay.router.dialect.answers import COMMON_ID, decision_headers
from forebay.router.http.call import judged_by_the_other_router
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import REPLACED, error, onward, onward_head
from forebay.router.http.values import Headers, Reply, Request
from forebay.router.placement.forwarding import too_late
from forebay.router.placement.prefill import Prompt
from forebay.rules.affinity import digest
from forebay.rules.dialect.model_name import with_model
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.dialect.session import session_of
from forebay.rules.endpoints import ENDPOINTS
from forebay.rules.retry import patience
from forebay.rules.steps import WITHOUT_AN_ANSWER, AttemptOutcome

if TYPE_CHECKING:
    from forebay.router.sidecar import Sidecar


class EngineRequest:
    """One request at the engine, with its slots."""

    __slots__ = (
        "_loop",
        "begun",
        "control",
        "end",
        "engine_id",
        "exchange",
        "parsed",
        "prompt",
        "record",
        "request",
        "side",
        "size",
    )

    def __init__(
        self,
        side: "Sidecar",
        request: Request,
        exchange: Exchange,
        record: AccessLogEntry,
        size: int,
        *,
        control: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.side = side
        self.request = request
        self.exchange = exchange
        self.record = record
        self.size = size
        self.control = control
        self.engine_id = b""  # by which the engine knows it
        self.prompt: Prompt | None = None
        self.begun = self._loop.time()
        self.end = self.begun + side.timeouts.total
        self.parsed: ParsedRequest | None = None  # of a client's own request

    def serve(self, parsed: ParsedRequest, reason: Reason) -> None:
        """A client's own request, with a slot."""
        entry = self.side.entry
        self.parsed, self.end = parsed, (self.request.seen or self.begun) + self.side.time_allowed(parsed)
        self.record.destination, self.record.reason = entry.name, reason
        offering = self.side.offering
        if offering.heard:
            session = digest(session_of(parsed))
            self.prompt = offering.prefill.begin(session, parsed.facts.prompt_tokens, streams=parsed.stream)
        self.side.unanswered[self] = parsed.facts.prompt_tokens, parsed.stream
        body = self.request.body
        self.pass_on(with_model(body, parsed, entry.served_names[0]) if entry.served_names else body)

    def pass_on(self, body: bytes) -> None:
        """Send it to the engine; its slots come back whatever happens."""
        side, request, now = self.side, self.request, self.begun
        side.last_request = side.context.unix(now)
        left = request.fields.get(_DEADLINE, b"") if self.control else b""
        if left.isdigit():
            self.end = min(self.end, now + int(left) / 1000)
        self.engine_id = side.engine_ids.take(clients_id(request, self.record))
        head = engine_head(request, self.engine_id, len(body))
        look = Look.PRESSURE if self.control else Look.CONTENT
        stores = ENDPOINTS[request.target].stored
        attempt = Attempt(
            self.exchange, self._headers, self._done, side.engine.dialect, look=look, stores=stores, path=request.target
        )
        if self.parsed is not None:
            attempt.look_for_length = self.parsed.facts.likely_tokens, side.context_tokens
        seconds = self.end - now
        at_work: Callable[[float], bool] = judged_by_the_other_router  # it knows best how long it waits
        if self.parsed is not None:
            at_work = side.engine.at_work
            seconds = patience(side.timeouts.first_token, self.parsed.facts, self.parsed.stream, seconds)
        upstream = side.context.upstream
        attempt.start(upstream, side.engine.address, head, body, seconds, self.end, upstream.waits, at_work)

    def _headers(self) -> Headers:
        """Asked for with the first piece of the answer."""
        if self.prompt is not None:
            self.prompt.computed()
        self.side.unanswered.pop(self, None)
        if self.control:
            return []
        record = self.record
        waited = self._loop.time() - (self.request.seen or self.begun) if record.reason == Reason.QUEUED else 0.0
        return decision_headers(record, waited)

    def _done(self, attempt: Attempt) -> None:
        side, record, now = self.side, self.record, self._loop.time()
        outcome = attempt.outcome
        if self.prompt is not None:
            self.prompt.given_up()
        side.unanswered.pop(self, None)
        if attempt.faulty:
            side.engine.doubt(self.request.target)
        side.engine_ids.over(self.engine_id, outcome is AttemptOutcome.ANSWERED)
        metrics.ADMITTED.inc(())
        served = outcome is AttemptOutcome.ANSWERED and attempt.status == 200
        side.slots.admission.release(now - self.begun, served, self.size)
        if attempt.stored:
            side.remember(attempt.stored)
        if outcome is AttemptOutcome.PRESSED:
            side.slots.cut()
        elif served:
            side.slots.answered()
        record.status, record.problem = attempt.status, attempt.problem
        if (outcome in WITHOUT_AN_ANSWER or outcome is AttemptOutcome.TOO_LONG) and not self.exchange.ended:
            self._failed(attempt)
        elif not self.control:
            if attempt.first:
                seconds = attempt.first - (self.request.seen or self.begun)
                record.first_token_ms = int(seconds * 1000)
                if attempt.stream and attempt.status == 200:
                    metrics.first_token(record, seconds)
            side.finish(self.request, self.exchange, record)

    def _failed(self, attempt: Attempt) -> None:
        """No answer: a gateway tries elsewhere; for a client's own request a gateway is asked to."""
        if self.control:
            word = "Died" if attempt.broke else _WORDS.get(attempt.outcome or AttemptOutcome.FAULT, "Failed")
            self.exchange.reply(no_slot(word, attempt.retry_after))
        elif attempt.outcome is AttemptOutcome.LATE:
            too_late(self.exchange, self.record)
            self.side.finish(self.request, self.exchange, self.record)
        else:
            work = self.side.slotless.elsewhere(self.request, self.exchange, self.record, self.end, attempt)
            self.side.run_slotless(work, self.request, self.exchange, self.record)


def clients_id(request: Request, record: AccessLogEntry) -> bytes:
    """The id that a client gave its request, else the one it got here."""
    return request.fields.get(COMMON_ID) or record.request_id.encode()


def engine_head(request: Request, engine_id: bytes, length: int) -> bytes:
    """The head of a client's request on its way to the engine, under the id that the engine is to know it by."""
    row = ENDPOINTS.get(request.target)
    if row is None or row.form or _is_json(request.fields.get(b"content-type", b"")):
        headers = onward(request, _NOT_TO_ENGINE)
        headers += _ENGINE
    else:  # it was read as JSON, whatever it was called: engines refuse what is called anything else
        headers = onward(request, _NOT_WITH_JSON)
        headers += _ENGINE_JSON
    if COMMON_ID in request.fields:
        headers = _with_id(headers, engine_id)
    else:
        headers.append((COMMON_ID, engine_id))
    headers.append((b"content-length", b"%d" % length))
    return onward_head(request, headers)


def _is_json(kind: bytes) -> bool:
    return kind == b"application/json" or kind.partition(b";")[0].strip().lower() == b"application/json"


def _with_id(headers: Headers, engine_id: bytes) -> Headers:
    """One id, in the place of the first that was given."""
    first = next((at for at, item in enumerate(headers) if item[0] == COMMON_ID), len(headers))
    others = [item for item in headers[first:] if item[0] != COMMON_ID]
    return [*headers[:first], (COMMON_ID, engine_id), *others]


def no_slot(word: str, retry_after: float = 0.0) -> Reply:
    """What a gateway is told in place of an answer."""
    headers = [(names.SLOT.encode(), word.encode())]
    if retry_after:
        headers.append((b"retry-after", b"%d" % ceil(retry_after)))
    return error(503, "no slot here", "no_slot", headers)


_WORDS = {AttemptOutcome.PRESSED: "BackPressure", AttemptOutcome.LATE: "Late"}
_DEADLINE = names.DEADLINE_MS.encode()
_NOT_TO_ENGINE = REPLACED | {b"accept-encoding"}
_NOT_WITH_JSON = _NOT_TO_ENGINE | {b"content-type"}
_ENGINE = ((b"host", b"engine"), (b"accept-encoding", b"identity"))  # tokens are looked for in the answer's bytes
_ENGINE_JSON = (*_ENGINE, (b"content-type", b"application/json"))
