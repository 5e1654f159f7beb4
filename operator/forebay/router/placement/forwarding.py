"""A sidecar's way to the gateways: what has no slot here is handed on, once, to one that answers."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from forebay.resources import headers as names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.names import PORT_CONTROL
from forebay.resources.reasons import Priority, Reason
from forebay.router.attempt import Attempt, Look
from forebay.router.context import Context
from forebay.router.dialect.answers import REQUEST_ID, refusal
from forebay.router.http.call import Address, judged_by_the_other_router
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import RETRY_SOON, onward, onward_head
from forebay.router.http.values import Request
from forebay.router.placement.resolve import resolve
from forebay.rules.breaker import Breaker, BreakerLimits, CallResult, after, lets_through
from forebay.rules.steps import AttemptOutcome

TRIES: Final = 3
LIMITS: Final = BreakerLimits(faults=1, open_seconds=1.0, most_seconds=10.0)
"""A gateway that failed is left alone for a second, then two, up to ten: there are others."""


class GatewayForwarder:
    """The fleet's gateways as one sidecar knows them."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.rng = random.Random()  # noqa: S311 - spreads the load
        self.breakers: dict[Address, Breaker] = {}

    async def forward(
        self, request: Request, exchange: Exchange, priority: Priority, record: AccessLogEntry, end: float
    ) -> bool:
        """Pass a client's request to a gateway, until loop time `end`. False when none could be reached.

        A gateway that had it when its client left, or this router ended, writes that down.
        """
        loop, on_lost = asyncio.get_running_loop(), exchange.on_lost
        for address in await self._able():
            now = loop.time()
            head = self._head(request, priority, record, now, end)
            done: asyncio.Future[Attempt] = loop.create_future()
            attempt = Attempt(exchange, list, _tell(done), look=Look.NOTHING, path=request.target)
            upstream = self.context.upstream
            attempt.start(
                upstream, address, head, request.body, end - now, end, upstream.waits, judged_by_the_other_router
            )
            try:
                outcome = (await done).outcome
            except asyncio.CancelledError:  # this router ends
                attempt.on_client_disconnect()
                exchange.abort()
                return True
            if outcome is AttemptOutcome.LATE:
                too_late(exchange, record)
            elif outcome is not AttemptOutcome.GONE and not attempt.late:
                tried = CallResult.SUCCESS if outcome is AttemptOutcome.ANSWERED else CallResult.FAULT
                self.breakers[address] = after(self.breakers.get(address, Breaker()), tried, loop.time(), LIMITS)
            if exchange.ended:
                return outcome is not AttemptOutcome.FAULT
            exchange.on_lost = on_lost
        return False

    def _head(self, request: Request, priority: Priority, record: AccessLogEntry, now: float, end: float) -> bytes:
        age = int((now - (request.seen or now)) * 1000)
        headers = [
            *onward(request),
            *[(key, value) for key, value in request.headers if key in _CLIENTS_WORDS],
            (b"host", b"forebay"),
            self.context.token.header,
            (names.HOP.encode(), b"1"),
            (names.CLIENT.encode(), record.client.encode()),
            (names.PEER.encode(), request.peer.encode()),
            (names.PRIORITY.encode(), priority.encode()),
            (names.AGE_MS.encode(), b"%d" % max(0, age)),
            (names.DEADLINE_MS.encode(), b"%d" % max(1, int((end - now) * 1000))),
            (REQUEST_ID, record.request_id.encode()),
            (b"content-length", b"%d" % len(request.body)),
        ]
        return onward_head(request, headers)

    async def _able(self) -> list[Address]:
        """Some of those that did not fail just now, in any order."""
        table = self.context.table.table
        addresses = await resolve(table.gateways, PORT_CONTROL, table.gateway_addresses)
        now = asyncio.get_running_loop().time()
        self.breakers = {address: self.breakers[address] for address in addresses if address in self.breakers}
        able = [a for a in addresses if a not in self.breakers or lets_through(self.breakers[a], now, LIMITS)]
        self.rng.shuffle(able)
        return able[:TRIES]


def too_late(exchange: Exchange, record: AccessLogEntry) -> None:
    """Tell a client that its time is over."""
    text = "the request could not be answered in the time that it allows; try again"
    exchange.reply(refusal(record, 503, Reason.DEADLINE_EXCEEDED, text, [RETRY_SOON]))


def _tell(done: asyncio.Future[Attempt]) -> Callable[[Attempt], None]:
    return lambda attempt: None if done.done() else done.set_result(attempt)


_CLIENTS_WORDS = frozenset(n.encode() for n in names.REQUEST_HEADERS) - {names.PRIORITY.encode(), REQUEST_ID}
