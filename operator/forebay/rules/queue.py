"""Who waits for a pool at one gateway, and who is next. Pure transitions: the time is always an argument, in seconds.

High before Normal before Low; a Low request that has waited AGEING_SECONDS counts as Normal, so it is never starved.
Among equals the earliest deadline comes first. Each priority is bounded in count and bytes; deadlines bound it in time.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import Final

from forebay.resources.reasons import Priority

AGEING_SECONDS: Final = 30.0
QUEUE_BYTES: Final = 64 * 1024 * 1024
"""Request bodies of one priority that wait in one line."""
WORD_DEADLINES: Final = 4
"""How many first deadlines of each rank a gateway tells the replicas."""
_RANK: Final = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


@dataclass(frozen=True, slots=True)
class Waiter:
    """One request. `since` is when the first router took it in; `deadline` when its wait is over; `size` in bytes.

    At any replica but its `home` it comes `away_penalty` seconds later (rules/affinity.py).
    """

    id: int
    priority: Priority
    since: float
    deadline: float
    size: int = 0
    home: str = ""
    away_penalty: float = 0.0

    def rank(self, now: float) -> int:
        """0 for High, 1 for Normal and aged Low, 2 for Low."""
        aged = self.priority is Priority.LOW and now - self.since >= AGEING_SECONDS
        return _RANK[Priority.NORMAL] if aged else _RANK[self.priority]

    def due_at(self, replica: str) -> float:
        """Its deadline as it counts at this replica."""
        return self.deadline if replica == self.home else self.deadline + self.away_penalty


Order = dict[Priority, list[tuple[float, int]]]
"""By priority (deadline, id) in order."""


@dataclass(slots=True)
class WaitQueue:
    """The waiters of one pool at one gateway: of each priority at most `limit`, their bodies at most `limit_bytes`.

    The bounds are each priority's own, so that a flood of Normal and Low leaves High its places.
    """

    limit: int
    limit_bytes: int = QUEUE_BYTES
    sizes: dict[Priority, int] = field(default_factory=lambda: dict.fromkeys(Priority, 0))
    _waiters: dict[int, Waiter] = field(default_factory=dict)
    _order: Order = field(default_factory=lambda: {p: [] for p in Priority})
    _at_home: dict[str, Order] = field(default_factory=dict)  # by home
    _low_since: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiters.values())

    def join(self, waiter: Waiter) -> bool:
        """Take a place; False when there is none."""
        size = self.sizes[waiter.priority] + waiter.size
        if self.count(waiter.priority) >= self.limit or size > self.limit_bytes:
            return False
        self._waiters[waiter.id] = waiter
        self.sizes[waiter.priority] = size
        insort(self._order[waiter.priority], (waiter.deadline, waiter.id))
        if waiter.home:
            at_home = self._at_home.get(waiter.home)
            if at_home is None:
                at_home = self._at_home[waiter.home] = {p: [] for p in Priority}
            insort(at_home[waiter.priority], (waiter.deadline, waiter.id))
        if waiter.priority is Priority.LOW:
            insort(self._low_since, waiter.since)
        return True

    def leave(self, waiter_id: int) -> None:
        """Give up a place; unknown ids are fine."""
        waiter = self._waiters.pop(waiter_id, None)
        if waiter is None:
            return
        self.sizes[waiter.priority] -= waiter.size
        order = self._order[waiter.priority]
        del order[bisect_left(order, (waiter.deadline, waiter.id))]
        if waiter.home:
            at_home = self._at_home[waiter.home]
            order = at_home[waiter.priority]
            del order[bisect_left(order, (waiter.deadline, waiter.id))]
            if not any(at_home.values()):
                del self._at_home[waiter.home]
        if waiter.priority is Priority.LOW:
            del self._low_since[bisect_left(self._low_since, waiter.since)]

    def best(
        self, replica: str, now: float, high_only: bool = False, may: Callable[[Waiter], bool] = lambda _: True
    ) -> Waiter | None:
        """Who takes a slot of this replica: the first that `may`, but who is put off lets those at home pass.

        So nobody is passed by who comes more than its `away_penalty` later.
        """
        at_home = self._first(self._at_home[replica], now, high_only, may) if replica in self._at_home else None
        first = self._first(self._order, now, high_only, may)
        if first is None or at_home is None or at_home.rank(now) > first.rank(now):
            return first
        for waiter in self._sequence(self._order, now):
            if waiter is at_home or (waiter.due_at(replica) < at_home.deadline and may(waiter)):
                return waiter
        return at_home

    def _first(self, order: Order, now: float, high_only: bool, may: Callable[[Waiter], bool]) -> Waiter | None:
        for waiter in self._sequence(order, now):
            if high_only and waiter.priority is not Priority.HIGH:
                return None
            if may(waiter):
                return waiter
        return None

    def _sequence(self, order: Order, now: float) -> Iterator[Waiter]:
        low = order[Priority.LOW]
        aged = [key for key in low if self._waiters[key[1]].rank(now) == 1] if low else []
        young = [key for key in low if self._waiters[key[1]].rank(now) == 2] if low else []
        for keys in (order[Priority.HIGH], merge(order[Priority.NORMAL], aged), young):
            yield from (self._waiters[waiter_id] for _, waiter_id in keys)

    def ahead_of(self, priority: Priority, now: float) -> int:
        """How many come before a request of this priority that arrives now."""
        high, normal = len(self._order[Priority.HIGH]), len(self._order[Priority.NORMAL])
        if priority is Priority.HIGH:
            return high
        return len(self._waiters) if priority is Priority.LOW else high + normal + self._aged(now)

    def count(self, priority: Priority) -> int:
        """How many of this priority wait."""
        return len(self._order[priority])

    def counts(self, now: float) -> tuple[int, int, int]:
        """How many of each rank wait."""
        aged = self._aged(now)
        low = len(self._order[Priority.LOW])
        return len(self._order[Priority.HIGH]), len(self._order[Priority.NORMAL]) + aged, low - aged

    def word(self, now: float, replica: str) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
        """What a replica is told: by rank, how many wait, and their first deadlines as they count there."""
        firsts: list[tuple[float, ...]] = []
        for priority in (Priority.HIGH, Priority.NORMAL, Priority.LOW):
            firsts.append(self._firsts(priority, replica))
        return self.counts(now), tuple(firsts)

    def _firsts(self, priority: Priority, replica: str) -> tuple[float, ...]:
        """The first deadlines: of those at home there, and of the others as far as they are first by deadline."""
        at_home = self._at_home.get(replica)
        keys = [*islice(self._order[priority], WORD_DEADLINES)]
        if at_home is not None:
            keys += islice(at_home[priority], WORD_DEADLINES)
        due = {number: self._waiters[number].due_at(replica) for _, number in keys}
        return tuple(sorted(due.values())[:WORD_DEADLINES])

    def _aged(self, now: float) -> int:
        return bisect_right(self._low_since, now - AGEING_SECONDS)
