"""Who waits for a pool at one gateway, and who is next. Pure transitions: the time is always an argument, in seconds.

High before Normal before Low; a Low request that has waited AGEING_SECONDS counts as Normal, so it is never starved.
Among equals the earliest deadline comes first. Bounded in count; deadlines bound it in time.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from forebay.resources.reasons import Priority

AGEING_SECONDS: Final = 30.0
RETRY_AFTER: Final = (1.0, 60.0)
_RANK: Final = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


@dataclass(frozen=True, slots=True)
class Waiter:
    """One request. `since` is when the first router took it in; `deadline` when its wait is over."""

    id: int
    priority: Priority
    since: float
    deadline: float

    def rank(self, now: float) -> int:
        """0 for High, 1 for Normal and aged Low, 2 for Low."""
        aged = self.priority is Priority.LOW and now - self.since >= AGEING_SECONDS
        return _RANK[Priority.NORMAL] if aged else _RANK[self.priority]


@dataclass(slots=True)
class Line:
    """The waiters of one pool at one gateway, at most `limit`."""

    limit: int
    _waiters: dict[int, Waiter] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiters.values())

    def join(self, waiter: Waiter) -> bool:
        """Take a place; False when there is none."""
        if len(self._waiters) >= self.limit:
            return False
        self._waiters[waiter.id] = waiter
        return True

    def leave(self, waiter_id: int) -> None:
        """Give up a place; unknown ids are fine."""
        self._waiters.pop(waiter_id, None)

    def next(self, now: float, high_only: bool = False) -> Waiter | None:
        """Take the one who is next out of the line; `high_only` when the free slot is High's reserve."""
        allowed = [w for w in self._waiters.values() if not high_only or w.priority is Priority.HIGH]
        if not allowed:
            return None
        first = min(allowed, key=lambda w: (w.rank(now), w.deadline, w.id))
        del self._waiters[first.id]
        return first

    def ahead_of(self, priority: Priority, now: float) -> int:
        """How many come before a request of this priority that arrives now."""
        mine = _RANK[priority]
        return sum(waiter.rank(now) <= mine for waiter in self._waiters.values())

    def count(self, priority: Priority) -> int:
        """How many of this priority wait."""
        return sum(waiter.priority is priority for waiter in self._waiters.values())


def retry_after(ahead: int, drained_per_second: float, rng: random.Random) -> int:
    """Seconds to tell a refused client: drawn from [t, 2t], t = queue ahead / drain rate, within RETRY_AFTER."""
    low, high = RETRY_AFTER
    t = min(high, max(low, (ahead + 1) / drained_per_second)) if drained_per_second > 0 else low
    return round(min(high, rng.uniform(t, 2 * t)))
