"""What is done with a response that an engine stores: it takes no slot, and only the replica that has it will do."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from forebay.resources import headers as names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.names import PATH_STATE
from forebay.resources.reasons import Priority, Reason
from forebay.resources.report import ReplicaState
from forebay.router.attempt import Attempt, Look
from forebay.router.dialect.answers import REQUEST_ID, decision_headers, refusal
from forebay.router.engine_request import clients_id, engine_head, no_slot
from forebay.router.http.call import UpstreamError
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import RETRY_SOON, onward, onward_head, request_head
from forebay.router.http.values import Request
from forebay.router.placement.pool_replicas import Replica
from forebay.rules.endpoints import RESPONSE_ID, stored_response
from forebay.rules.steps import WITHOUT_AN_ANSWER

if TYPE_CHECKING:
    from forebay.router.gateway import Gateway
    from forebay.router.sidecar import Sidecar

SECONDS: Final = 60.0
"""Longest wait for the first byte: nothing is computed, but one that runs may be followed as a stream."""
STATE_SECONDS: Final = 2.0
"""Longest wait for a replica's word whether it has one."""
SEARCH_AT_ONCE: Final = 8
"""Replicas that are asked at a time for one response."""
AT_ONCE: Final = 32
"""And for all that a gateway looks for."""
SEARCHES: Final = 512
"""So many may look for one at a gateway."""
_HOST: Final = (b"host", b"sidecar")
_GONE: Final = "no running replica has this stored response"
_FAILED: Final = "the replica that has this stored response did not answer; try again"
_DEADLINE: Final = names.DEADLINE_MS.encode()


class Keepers:
    """Finds the replica that has a stored response, by asking: so many at a time, however many want to know."""

    def __init__(self, gate: "Gateway") -> None:
        self._gate = gate
        self._asking = asyncio.Semaphore(AT_ONCE)
        self.searches = 0

    async def find(self, response: str) -> Replica | None:
        """The replica that says that it has it; None where nobody does."""
        if RESPONSE_ID.fullmatch(response) is None:
            return None
        gate, now = self._gate, asyncio.get_running_loop().time()
        head = request_head("GET", f"{PATH_STATE}{response}", [_HOST, gate.context.token.header])
        known = [replica for pool in gate.replicas.pools.values() for replica in pool.all.values()]
        serving = [replica for replica in known if replica.state is ReplicaState.SERVING and replica.fresh(now)]
        left = iter(serving)
        searching = [asyncio.ensure_future(self._ask(left, head)) for _ in serving[:SEARCH_AT_ONCE]]
        self.searches += 1
        try:
            for found in asyncio.as_completed(searching):
                if (replica := await found) is not None:
                    return replica
        finally:
            self.searches -= 1
            for each in searching:
                each.cancel()
        return None

    async def _ask(self, replicas: Iterator[Replica], head: bytes) -> Replica | None:
        """One after the other, until one has it."""
        upstream = self._gate.context.upstream
        for replica in replicas:
            async with self._asking:
                try:
                    if (await upstream.fetch(replica.address, head, STATE_SECONDS, 4096))[0] == 200:
                        return replica
                except UpstreamError:
                    pass
        return None


async def by_gateway(gate: "Gateway", request: Request, exchange: Exchange, record: AccessLogEntry) -> bool:
    """Ask the replica that has it; the line in the log is the caller's."""
    if gate.keepers.searches >= SEARCHES:
        text = f"{SEARCHES} requests look for stored responses already; try again"
        exchange.reply(refusal(record, 503, Reason.QUEUE_FULL, text, [RETRY_SOON]))
        return False
    replica = await gate.keepers.find(stored_response(request.method, request.target))
    if exchange.ended:
        return False
    if replica is None:
        exchange.reply(refusal(record, 404, Reason.STATE_NOT_FOUND, _GONE))
        return False
    record.destination, record.reason = replica.pool, Reason.LOCAL_CAPACITY
    loop = asyncio.get_running_loop()
    end = loop.time() + gate.context.settings.timeouts.total
    head = onward_head(
        request,
        [
            *onward(request),
            _HOST,
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
    return False


async def by_sidecar(
    side: "Sidecar", request: Request, exchange: Exchange, record: AccessLogEntry, *, control: bool = False
) -> bool:
    """Ask the engine that has it, or on the request port a gateway who has. Whether a gateway writes it down."""
    response = stored_response(request.method, request.target)
    loop = asyncio.get_running_loop()
    end = loop.time() + side.context.settings.timeouts.total
    if not (control or side.stores(response)):
        handed = await side.slotless.gateways.forward(request, exchange, Priority.NORMAL, record, end)
        if not handed and not exchange.ended:
            exchange.reply(refusal(record, 404, Reason.STATE_NOT_FOUND, _GONE))
        return handed and record.destination != "none"
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
    return False


def _tell(done: asyncio.Future[Attempt]) -> Callable[[Attempt], None]:
    return lambda attempt: None if done.done() else done.set_result(attempt)
