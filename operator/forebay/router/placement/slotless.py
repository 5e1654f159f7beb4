"""A client's request at a sidecar that has no slot for it, or whose engine failed: a gateway may know another way."""

import asyncio
from math import ceil
from typing import TYPE_CHECKING, Final

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.reasons import Priority, Reason
from forebay.router.attempt import Attempt
from forebay.router.dialect.answers import refusal
from forebay.router.engine_request import EngineRequest
from forebay.router.http.exchange import Exchange
from forebay.router.http.values import Request
from forebay.router.placement.forwarding import GatewayForwarder
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.retry_after import SHORTEST_SECONDS, retry_after
from forebay.rules.steps import AttemptOutcome

if TYPE_CHECKING:
    from forebay.router.sidecar import Sidecar

LONGEST_LINE: Final = 16
"""Requests that wait at a sidecar that can reach no gateway."""
LINE_POLL_SECONDS: Final = 0.05


class Slotless:
    """Clients' requests that this replica cannot serve now: handed to a gateway, else in a short queue of their own."""

    def __init__(self, side: "Sidecar") -> None:
        self.side = side
        self.gateways = GatewayForwarder(side.context)
        self.waiting = 0

    async def serve(
        self, request: Request, exchange: Exchange, parsed: ParsedRequest, record: AccessLogEntry, end: float
    ) -> bool:
        """Until loop time `end`: a gateway's answer, else that of a slot that comes free here, else a refusal. Whether
        somebody else writes it down."""
        if await self.gateways.forward(request, exchange, parsed.facts.priority, record, end):
            return record.destination != "none"  # its time was over on the way
        if exchange.ended:
            return False
        size = self.side.slots.weight(parsed.facts.live_tokens, parsed.facts.sequences)
        if self.side.serves(parsed) and await self._wait_for_slot(parsed.facts.priority, size, end):
            EngineRequest(self.side, request, exchange, record, size).serve(parsed, Reason.QUEUED)
            return True
        seconds = retry_after(self.side.slots.admission.requests, self.side.slots.drain_rate(), self.side.rng)
        text = "this replica is full and no gateway can be reached; try again"
        exchange.reply(refusal(record, 429, Reason.QUEUE_FULL, text, [(b"retry-after", b"%d" % seconds)]))
        return False

    async def elsewhere(
        self, request: Request, exchange: Exchange, record: AccessLogEntry, end: float, attempt: Attempt
    ) -> bool:
        """This engine failed before it answered a client, or its context is too short: a gateway may know another.
        Whether that writes it down."""
        priority = Priority(record.priority or Priority.NORMAL)
        if await self.gateways.forward(request, exchange, priority, record, end):
            return record.destination != "none"
        if exchange.ended:
            return False
        if attempt.outcome is AttemptOutcome.TOO_LONG:
            exchange.reply(refusal(record, 400, Reason.CONTEXT_LENGTH_GAP, attempt.problem))
            return False
        text = f"the engine did not answer: {attempt.problem}; try again"
        headers = [(b"retry-after", b"%d" % max(SHORTEST_SECONDS, ceil(attempt.retry_after)))]
        exchange.reply(refusal(record, 503, Reason.REPLICA_FAILED, text, headers))
        return False

    async def _wait_for_slot(self, priority: Priority, size: int, end: float) -> bool:
        """With no gateway reachable: a short line of its own. True when a slot was taken."""
        if self.waiting >= LONGEST_LINE:
            return False
        self.waiting += 1
        try:
            longest = asyncio.get_running_loop().time() + self.side.entry.queue.max_wait_seconds
            async with asyncio.timeout_at(min(longest, end)):
                while not self.side.slots.admission.admit(priority, size):
                    await asyncio.sleep(LINE_POLL_SECONDS)
                return True
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
