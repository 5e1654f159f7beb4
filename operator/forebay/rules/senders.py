"""What is remembered of those whose requests failed: their own retries, their own doubt, their own time to wait. Pure.

A sender is a client by its key, or an address (of IPv6 a /64) where there is none. Whom replicas have always answered
is not here: an entry is made by a fault and forgotten with the oldest. A request that breaks its engine off is
remembered by its body too, for behind one address there may be many.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final

from forebay.rules.breaker import Breaker, BreakerLimits, CallResult, after, is_shut, shut_again
from forebay.rules.retry import RetryBudget

REMEMBERED: Final = 4096
"""Senders and bodies."""
DOUBT_SECONDS: Final = 10.0
"""One fault in so long may be the replica's: for it a request may leave. The next one is the sender's own."""
RETRIES: Final = 5.0
"""What one sender may spend of a pool's retries at once: half."""
SAME_DEATH_SECONDS: Final = 1.0
"""Whatever one replica breaks off within so long, it died once."""
LIMITS: Final = BreakerLimits(faults=2, open_seconds=5.0, most_seconds=60.0)
"""Two engines in a row died with a request of it: one request is let through after five seconds, then ten, ..."""
WELL: Final = Breaker()
SITE_BITS: Final = 64
"""Of an IPv6 address: one machine has all addresses behind them, and may take another for each request."""
ENDS: Final = 64 * 1024
"""Bytes at either end of a large body by which it is known again."""


def body_digest(body: bytes, key: bytes = b"") -> bytes:
    """Of a large body as far as its length and its ends tell."""
    if len(body) > 2 * ENDS:
        body = b"%d %b%b" % (len(body), body[:ENDS], body[-ENDS:])
    return blake2b(body, digest_size=16, key=key).digest()


@lru_cache(1024)
def sender_at(address: str) -> str:
    """A sender without a key, by its IP address: of IPv6 the network that is one site's."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return f"@{address}"
    if isinstance(found, IPv4Address):
        return f"@{found}"
    if found.ipv4_mapped is not None:
        return f"@{found.ipv4_mapped}"
    return f"@{IPv6Network((int(found), SITE_BITS), strict=False)}"


def suspects(body: bytes, sender: str = "") -> tuple[str, ...]:
    """By what a request that breaks engines off is known again: its body, and its sender where that has a key."""
    known = "#" + body_digest(body).hex()
    return (known, sender) if sender else (known,)


@dataclass(slots=True)
class Sender:
    """One sender, or one body."""

    retries: RetryBudget = field(default_factory=lambda: RetryBudget(left=RETRIES, burst=RETRIES))
    faulted: float = float("-inf")  # when a request last failed where others are served
    deaths: Breaker = WELL
    died: tuple[str, float] = ("", float("-inf"))  # the replica whose engine last did, and when


class Senders:
    """All that are remembered. Times are seconds on a clock that only rises."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Sender] = OrderedDict()
        self._struck: set[str] = set()  # those with deaths

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def suspicious(self) -> bool:
        """Whether any engine has died with anybody's request since that was last answered."""
        return bool(self._struck)

    def get(self, key: str) -> Sender | None:
        """What is remembered of it."""
        return self._all.get(key)

    def requested(self, key: str) -> None:
        """A request came: its sender earns a share of a retry."""
        if (sender := self.get(key)) is not None:
            sender.retries.request()

    def held_back(self, keys: Iterable[str], now: float) -> float:
        """Seconds until a request by these keys may be sent; 0 at once. One that is let through shuts the door
        behind it again, for twice as long, until an engine has answered it."""
        found = [sender for key in keys if (sender := self.get(key)) is not None and sender.deaths is not WELL]
        shut = [sender.deaths for sender in found if is_shut(sender.deaths, now, LIMITS)]
        if shut:
            return max(1.0, *(breaker.open_until - now for breaker in shut))
        for sender in found:
            if sender.deaths.openings:
                sender.deaths = shut_again(sender.deaths, now, LIMITS)
        return 0.0

    def failed(self, key: str, now: float) -> tuple[bool, bool]:
        """A request failed where others are served: whether its sender has met that lately already, and whether it may
        be tried elsewhere."""
        sender = self._made(key)
        again, sender.faulted = now - sender.faulted < DOUBT_SECONDS, now
        return again, sender.retries.spend(now)

    def died(self, keys: Iterable[str], replica: str, now: float) -> bool:
        """An engine broke off with a request by these keys; True when it was not the first one in a row of any."""
        return max([self._died(key, replica, now) for key in keys]) >= LIMITS.faults

    def _died(self, key: str, replica: str, now: float) -> int:
        sender = self._made(key)
        (where, before), sender.died = sender.died, (replica, now)
        if where != replica or now - before >= SAME_DEATH_SECONDS:
            sender.deaths = after(sender.deaths, CallResult.FAULT, now, LIMITS)
            self._struck.add(key)
        return sender.deaths.faults

    def answered(self, keys: Iterable[str]) -> None:
        """An engine has served it."""
        for key in keys:
            if (sender := self.get(key)) is not None:
                sender.deaths = WELL
                self._struck.discard(key)

    def _made(self, key: str) -> Sender:
        sender = self.get(key)
        if sender is None:
            sender = self._all[key] = Sender()
            if len(self._all) > REMEMBERED:
                self._struck.discard(self._all.popitem(last=False)[0])
        self._all.move_to_end(key)
        return sender
