"""What both roles put into answers: the decision's headers, the request's id, sentences for refusals."""

import itertools
import uuid

from forebay.resources import headers as names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.reasons import Reason
from forebay.router.dialect import trace_context
from forebay.router.dialect.error_shapes import body_of
from forebay.router.http.message import json_reply
from forebay.router.http.values import Headers, Reply, Request
from forebay.rules.endpoints import MODELS
from forebay.rules.facts import RequestFacts
from forebay.rules.portability import foreign_fields

REQUEST_ID = names.REQUEST_ID.encode()
_DESTINATION, _REASON = names.DESTINATION.encode(), names.REASON.encode()
_CAPABILITY, _QUEUE_MS = names.CAPABILITY.encode(), names.QUEUE_MS.encode()
COMMON_ID = names.COMMON_REQUEST_ID.encode()
"""The same id under the name that OpenAI's clients and most proxies know."""
CODES = {
    Reason.MODEL_NOT_FOUND: ("model_not_found", "model"),
    Reason.MODEL_REQUIRED: ("ModelRequired", "model"),
    Reason.CONTEXT_LENGTH_GAP: ("context_length_exceeded", None),
}
"""`code` and `param` of an error where OpenAI's clients look for a word of their own; else the code is the reason."""
MAX_ID = 128
MAX_PATH = 200
_PROCESS = uuid.uuid4().hex[:22]
_COUNT = itertools.count(1)


def request_id(request: Request) -> str:
    """The client's own id where it is a printable word of at most 128 characters, else a new one."""
    fields = request.fields
    given = request.header(REQUEST_ID if REQUEST_ID in fields else COMMON_ID)
    if given and len(given) <= MAX_ID and given.isascii() and given.isprintable():
        return given
    return f"req-{_PROCESS}{next(_COUNT):010x}"


def record_of(request: Request, client: str) -> AccessLogEntry:
    """The beginning of a request's line in the log."""
    return AccessLogEntry(
        request_id=request_id(request),
        trace_id=trace_context.adopt(request),
        client=client,
        method=request.method,
        path=request.target[:MAX_PATH],
    )


def decision_headers(record: AccessLogEntry, waited: float = 0.0) -> Headers:
    """The decision, on every answer; `waited` in seconds is noted in the line as well."""
    record.queue_ms = int(waited * 1000)
    value = record.request_id.encode()
    return [
        (_DESTINATION, (record.destination or "none").encode()),
        (_REASON, record.reason.encode()),
        (_CAPABILITY, record.capability.encode()),
        (_QUEUE_MS, b"%d" % record.queue_ms),
        (REQUEST_ID, value),
        (COMMON_ID, value),
    ]


def identity(record: AccessLogEntry) -> Headers:
    """The request's id alone, on answers that took no decision."""
    value = record.request_id.encode()
    return [(REQUEST_ID, value), (COMMON_ID, value)]


def no_model(name: str) -> str:
    """What is wrong with a model that nobody serves."""
    return f"the model {name[:80]!r} is not served here; GET {MODELS} lists what is"


def refusal(record: AccessLogEntry, status: int, reason: Reason, text: str, headers: Headers | None = None) -> Reply:
    """A refusal as the path's clients parse it, with its decision; noted in the line."""
    record.reason, record.status, record.destination = reason, status, "none"
    code, param = CODES.get(reason, (str(reason), None))
    body = body_of(record.path, status, text, code, param)
    return json_reply(body, status, [*(headers or []), *decision_headers(record)])


def sentence(reason: Reason, facts: RequestFacts) -> str:
    """What is wrong with a refused request, and what to do."""
    texts = {
        Reason.MODEL_NOT_FOUND: no_model(facts.model),
        Reason.CAPABILITY_GAP: f"no pool of this fleet serves {facts.capability} requests, and no cloud may be used",
        Reason.MODALITY_GAP: "no pool of this fleet takes this kind of input, and no cloud may be used",
        Reason.CONTEXT_LENGTH_GAP: "the request is longer than the context of every pool here; shorten it",
        Reason.LOCAL_ONLY: "this request must stay local, and no local slot came free in time; try again",
        Reason.NO_POLICY: "the pool is full, and no CloudFallbackPolicy lets requests leave; try again",
        Reason.NOT_PORTABLE: f"no provider takes this request's {_foreign(facts)}; it can only be served locally",
        Reason.SUBSTITUTION_DENIED: f"the pool of {facts.model[:80]!r} is full and allows no substitute; try again",
        Reason.CLOUD_UNAVAILABLE: "local cannot take it now, and every provider failed or is limited; try again",
        Reason.BUDGET_SPENT: "the pool is full, and what is left of the cloud budget is too little for this request",
        Reason.BUDGET_PACED: "the pool is full, and no more of the cloud budget is to be spent by now; try again",
        Reason.BUDGET_HELD: "the pool is full, and this gateway has no share of the cloud budget yet; try again",
        Reason.REPLICA_FAILED: "every replica that was tried failed before it answered; try again",
        Reason.NO_REPLICAS: "no replica of the pool serves now; try again",
        Reason.QUEUE_EXPIRED: "no slot came free within the longest wait; try again",
    }
    return texts.get(reason, f"the request cannot be served now ({reason}); try again")


def _foreign(facts: RequestFacts) -> str:
    """What stands in the way of a provider, as far as it is not the model's own limits."""
    fields = foreign_fields(facts)
    return f"{', '.join(name[:40] for name in fields[:5])}" if fields else "kind, inputs or length"
