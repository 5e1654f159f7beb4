"""One provider of one policy: its connections, its key, and what it may be sent now."""

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from forebay import __version__
from forebay.resources.table import ProviderEntry
from forebay.router.cloud.keys import Key
from forebay.router.cloud.provider_errors import FailedError
from forebay.router.cloud.transport import CheckedTransport
from forebay.rules.addresses import Network
from forebay.rules.allowance import Allowance, Reservation
from forebay.rules.breaker import Breaker, CallResult, after, begun, given_up, lets_through

for _talkative in ("httpx", "httpcore"):  # they would write down headers, in which a provider may repeat the key
    logging.getLogger(_talkative).setLevel(logging.WARNING)

SPARE_CONNECTIONS: Final = 4
KEPT_CONNECTIONS: Final = 20


@dataclass(slots=True)
class Standing:
    """What outlives a change of the policy: limits in use, and what the provider asked for."""

    allowance: Allowance = field(default_factory=Allowance)
    breaker: Breaker = field(default_factory=Breaker)


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
        if not lets_through(standing.breaker, now):
            raise FailedError("Paused" if now < standing.breaker.paused_until else "BreakerOpen", None)
        if (limit := standing.allowance.lack(self.entry, tokens, now)) is not None:
            raise FailedError(f"Limit{limit[0].upper()}{limit[1:]}", None)
        standing.breaker = begun(standing.breaker, now)
        self.running += 1
        return standing.allowance.take(tokens, now)

    def over(self, place: Reservation, used: int | None, outcome: CallResult | None, pause: float, now: float) -> None:
        """A try has ended. `used`: tokens, None where nobody knows; `outcome`: None where it says nothing."""
        self.running -= 1
        standing = self.standing
        standing.allowance.give_back(place, used)
        if outcome is None:
            standing.breaker = given_up(standing.breaker)
        else:
            standing.breaker = after(standing.breaker, outcome, now, pause=pause)

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
