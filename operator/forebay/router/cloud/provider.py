"""One provider of one policy: its connections, its key, and what it may be sent now."""

import asyncio
import logging
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx

from forebay import __version__
from forebay.resources.table import ProviderEntry
from forebay.router.cloud.keys import Key
from forebay.router.cloud.provider_errors import FailedError
from forebay.router.cloud.transport import CheckedTransport
from forebay.rules import breaker
from forebay.rules.addresses import Network
from forebay.rules.allowance import Allowance, Reservation
from forebay.rules.blame import NONE_REFUSED, Refusals, refused
from forebay.rules.breaker import Breaker, BreakerLimits, CallResult, after, answering, given_up, lets_through

for _talkative in ("httpx", "httpcore"):  # they would write down headers, in which a provider may repeat the key
    logging.getLogger(_talkative).setLevel(logging.WARNING)

LIMITS: Final = BreakerLimits(faults=5, open_seconds=5.0, most_seconds=60.0, row_seconds=2.0, probes=4)
BROKEN_LIMITS: Final = replace(LIMITS, row_seconds=0.0)
"""Of answers that break off: every one had begun well."""
SPARE_CONNECTIONS: Final = 4
KEPT_CONNECTIONS: Final = 20


@dataclass(slots=True)
class Standing:
    """What outlives a change of the policy: limits in use, and what the provider asked for."""

    allowance: Allowance = field(default_factory=Allowance)
    breaker: Breaker = field(default_factory=Breaker)
    refusals: Refusals = NONE_REFUSED


class UpstreamProvider:
    """One provider. Times are of the event loop, in seconds."""

    def __init__(
        self,
        entry: ProviderEntry,
        key_file: Path | None,
        allowed: tuple[Network, ...],
        tls: ssl.SSLContext,
        standing: Standing | None = None,
    ) -> None:
        self.entry = entry
        self.key = Key(key_file)
        self.standing = standing or Standing()
        self.running = 0  # with these connections
        self.problem = ""  # why nothing can be sent to its address
        limits = httpx.Limits(
            max_connections=entry.max_concurrent_requests + SPARE_CONNECTIONS,
            max_keepalive_connections=KEPT_CONNECTIONS,
        )
        self.transport = CheckedTransport(allowed, limits, tls)
        self.client = httpx.AsyncClient(
            transport=self.transport,
            follow_redirects=False,
            trust_env=False,
            headers={"user-agent": f"forebay/{__version__}", "accept-encoding": "identity"},
            timeout=httpx.Timeout(connect=entry.connect_seconds, read=None, write=30.0, pool=1.0),
        )

    def begin(self, tokens: int, now: float) -> Reservation:
        """A place within its limits, for so many tokens; give it back with `over`. Raises FailedError."""
        standing = self.standing
        if self.key.missing(now):
            raise FailedError("KeyMissing", None)
        if not lets_through(standing.breaker, now, LIMITS):
            raise FailedError("Paused" if now < standing.breaker.paused_until else "BreakerOpen", None)
        if (limit := standing.allowance.lack(self.entry, tokens, now)) is not None:
            raise FailedError(f"Limit{limit[0].upper()}{limit[1:]}", None)
        standing.breaker = breaker.begun(standing.breaker, now)
        self.running += 1
        return standing.allowance.take(tokens, now)

    def answering(self, now: float) -> None:
        """The first of an answer has come."""
        self.standing.breaker = answering(self.standing.breaker, now)
        self.standing.refusals = NONE_REFUSED

    def refused(self, request: bytes, pause: float) -> CallResult | None:
        """It refused this request; what that says of it."""
        self.standing.refusals, fault = refused(self.standing.refusals, request)
        if fault:
            return CallResult.FAULT
        return CallResult.BACK_PRESSURE if pause else None

    def over(
        self, place: Reservation, used: int | None, outcome: CallResult | None, pause: float, now: float, *, begun: bool
    ) -> None:
        """A try has ended. `used`: tokens, None where nobody knows; `outcome`: None where it says nothing; `begun`: the
        answer had."""
        self.running -= 1
        standing = self.standing
        standing.allowance.give_back(place, used)
        if outcome is None:
            standing.breaker = given_up(standing.breaker)
        else:
            standing.breaker = after(standing.breaker, outcome, now, BROKEN_LIMITS if begun else LIMITS, pause)

    def shown(self, now: float) -> None:
        """Another provider has answered what this one failed."""
        self.standing.breaker = breaker.shown(self.standing.breaker, now, LIMITS)

    async def look(self) -> None:
        """Find out whether its address is one that may be connected to."""
        try:
            await self.transport.addresses(httpx.URL(self.entry.base_url))
            self.problem = ""
        except httpx.InvalidURL as invalid:
            self.problem = f"baseURL is no URL: {invalid}"
        except httpx.ConnectError as failed:
            self.problem = str(failed)

    async def close_later(self) -> None:
        """Its running answers end first, within their own bound."""
        end = asyncio.get_running_loop().time() + self.entry.total_seconds
        while self.running and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.5)
        await self.client.aclose()
