"""What is done with a response that an engine stores: it takes no slot, and only the replica that has it will do."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from forebay.resources import headers as names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.reasons import Priority, Reason
from forebay.router.attempt import Attempt, Look
from forebay.router.dialect.answers import REQUEST_ID, decision_headers, refusal
from forebay.router.engine_request import clients_id, engine_head, no_slot
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import RETRY_SOON, onward, onward_head
from forebay.router.http.values import Request
from forebay.rules.endpoints import stored_response
from forebay.rules.steps import WITHOUT_AN_ANSWER

if TYPE_CHECKING:
    from forebay.router.gateway import Gateway
    from forebay.router.sidecar import Sidecar

SECONDS: Final = 60.0
"""Longest wait for the first byte: nothing is computed, but one that runs may be followed as a stream."""
_GONE: Final = "no running replica has this stored response"
_FAILED: Final = "the replica that has this stored response did not answer; try again"
_DEADLINE: Final = names.DEADLINE_MS.encode()


async def by_gateway(gate: "Gateway", request: Request, exchange: Exchange, record: AccessLogEntry) -> None:
    """Ask the replica that has it; the line in the log is the caller's."""
    replica = await gate.replica_storing(stored_response(request.method, request.target))
    if exchange.ended:
        return
    if replica is None:
        exchange.reply(refusal(record, 404, Reason.STATE_NOT_FOUND, _GONE))
        return
    record.destination, record.reason = replica.pool, Reason.LOCAL_CAPACITY
    loop = asyncio.get_running_loop()
    end = loop.time() + gate.context.settings.timeouts.total
    head = onward_head(
        request,
        [
            *onward(request),
            (b"host", b"sidecar"),
            gate.context.token.header,
            (REQUEST_ID, record.request_id.encode()),
            (_DEADLINE, b"%d" % int((end - loop.time()) * 1000)),
            (b"content-length", b"%d" % len(request.body)),
        ],
    )
    done: asyncio.Future[Attempt] = loop.create_future()
    attempt = Attempt(exchange, lambda: decision_headers(record), _tell(done))
    attempt.start(gate.context.upstream, replica.address, head, request.body, SECONDS, end)
    ended = await done
    record.status, record.problem = ended.status, ended.problem
    if ended.outcome in WITHOUT_AN_ANSWER and not exchange.ended:
        exchange.reply(refusal(record, 503, Reason.REPLICA_FAILED, _FAILED, [RETRY_SOON]))


async def by_sidecar(
    side: "Sidecar", request: Request, exchange: Exchange, record: AccessLogEntry, *, control: bool = False
) -> None:
    """Ask the engine that has it, or on the request port a gateway who has."""
    response = stored_response(request.method, request.target)
    loop = asyncio.get_running_loop()
    end = loop.time() + side.context.settings.timeouts.total
    if not (control or side.stores(response)):
        handed = await side.slotless.gateways.forward(request, exchange, Priority.NORMAL, record, end)
        if not handed:
            exchange.reply(refusal(record, 404, Reason.STATE_NOT_FOUND, _GONE))
        if not handed or record.destination == "none":
            side.finish(request, exchange, record)
        return
    record.destination, record.reason = side.entry.name, Reason.LOCAL_CAPACITY
    done: asyncio.Future[Attempt] = loop.create_future()
    attempt = Attempt(
        exchange,
        lambda: [] if control else decision_headers(record),
        _tell(done),
        side.engine.dialect,
        look=Look.PRESSURE if control else Look.CONTENT,
    )
    head = engine_head(request, clients_id(request, record), len(request.body))
    attempt.start(side.context.upstream, side.engine.address, head, request.body, SECONDS, end)
    ended = await done
    if request.method == "DELETE" and ended.status == 200:
        side.forget(response)
    record.status, record.problem = ended.status, ended.problem
    if ended.outcome in WITHOUT_AN_ANSWER and not exchange.ended:
        failed = no_slot("Failed") if control else refusal(record, 503, Reason.REPLICA_FAILED, _FAILED, [RETRY_SOON])
        exchange.reply(failed)
    if not control:
        side.finish(request, exchange, record)


def _tell(done: asyncio.Future[Attempt]) -> Callable[[Attempt], None]:
    return lambda attempt: None if done.done() else done.set_result(attempt)
