"""What one gateway may still send to a provider: in flight, requests a minute, tokens a minute. No clock of its own.

A minute is the sixty seconds past and the one that runs, counted by whole seconds: a limit is never exceeded in any
sixty seconds, and the memory of it is bounded whatever the limit.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from forebay.resources.table import ProviderEntry

MINUTE: Final = 60


@dataclass(slots=True)
class _Second:
    number: int
    requests: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """One request's place within the limits: when it was taken, and the tokens reserved for it."""

    second: int
    tokens: int


@dataclass(slots=True)
class Allowance:
    """What is in use. Times are seconds on a clock that only rises."""

    running: int = 0
    requests: int = 0
    tokens: int = 0
    _seconds: deque[_Second] = field(default_factory=deque)

    def lack(self, limits: ProviderEntry, tokens: int, now: float) -> str | None:
        """Which limit a request of so many tokens would exceed now, or None."""
        self._forget(now)
        if self.running >= limits.max_concurrent_requests:
            return "maxConcurrentRequests"
        if limits.requests_per_minute is not None and self.requests >= limits.requests_per_minute:
            return "requestsPerMinute"
        if limits.tokens_per_minute is not None and self.tokens + tokens > limits.tokens_per_minute:
            return "tokensPerMinute"
        return None

    def take(self, tokens: int, now: float) -> Reservation:
        """A request begins; `tokens` are reserved until it has been counted."""
        self._forget(now)
        number = int(now)
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        second = self._seconds[-1]
        second.requests += 1
        second.tokens += tokens
        self.requests += 1
        self.tokens += tokens
        self.running += 1
        return Reservation(number, tokens)

    def give_back(self, place: Reservation, used: int | None) -> None:
        """It is over; `used` are the tokens that the provider counted, None where nobody knows."""
        self.running -= 1
        if used is None:
            return
        for second in self._seconds:
            if second.number == place.second:
                second.tokens += used - place.tokens
                self.tokens += used - place.tokens

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0].number < int(now) - MINUTE:
            gone = self._seconds.popleft()
            self.requests -= gone.requests
            self.tokens -= gone.tokens
