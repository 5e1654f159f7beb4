"""Wakes a pool without replicas: one POST to the operator, which then looks at the fleet at once.

It is a nudge and no more: what counts is the demand that the gateways report. When nobody answers, the operator sees
that demand at its next look, seconds later; no request waits for the answer.
"""

import asyncio
from typing import Final

from forebay.resources.names import PATH_WAKE, PORT_OPERATOR
from forebay.router import metrics
from forebay.router.context import Context
from forebay.router.http.call import UpstreamError
from forebay.router.http.message import request_head
from forebay.router.placement.resolve import resolve

AGAIN_SECONDS: Final = 5.0
"""How long a pool that is still asleep is not asked for again."""
MONEY_AGAIN_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
TRIES: Final = 2
"""Addresses that are tried: the operator is one process."""


class Wake:
    """Asks for one gateway."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asked: dict[str, float] = {}

    def ask_for_money(self) -> None:
        """A request wants more of a budget than this gateway was granted."""
        self.ask("", MONEY_AGAIN_SECONDS)

    def ask(self, pool: str, again: float = AGAIN_SECONDS) -> None:
        """A request wants this pool, which has no replica; an empty name stands for money."""
        table, now = self._context.table.table, asyncio.get_running_loop().time()
        if not (table.operator or table.operator_addresses):
            return
        if now - self._asked.get(pool, float("-inf")) < again:
            return
        self._asked = {name: at for name, at in self._asked.items() if now - at < AGAIN_SECONDS} | {pool: now}
        self._context.spawn(self._post(pool))

    async def _post(self, pool: str) -> None:
        table = self._context.table.table
        addresses = await resolve(table.operator, PORT_OPERATOR, table.operator_addresses)
        headers = [(b"host", b"operator"), self._context.token.header, (b"content-length", b"0")]
        head = request_head("POST", f"{PATH_WAKE}{table.fleet}/{pool}", headers)
        outcome = "Unanswered"
        for address in addresses[:TRIES]:
            try:
                status, _ = await self._context.upstream.fetch(address, head, ANSWER_SECONDS, 4096)
            except UpstreamError:
                continue
            outcome = "Taken" if status == 202 else "Refused"
            break
        metrics.WAKES.labels(pool, outcome).inc()
