"""Requests that wait in this gateway: a queue per pool, and one per replica for sessions that wait for their home.

Nobody here looks for a slot: the replicas are told who waits, and offer what comes free (rules/offers.py). An offer is
bound at once to the waiter whose turn it is, so that one freed slot wakes one waiter.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from forebay.resources.reasons import Priority
from forebay.resources.report import OfferAnswer, SlotOffer, WaitingWord
from forebay.resources.table import PoolEntry
from forebay.router.http.call import Address
from forebay.router.placement.pool_replicas import Replica
from forebay.rules.queue import Waiter, WaitQueue

RATE_SECONDS: Final = 30.0
NOTICE_SECONDS: Final = 0.05
NOTICE_LEAST_SECONDS: Final = 0.005
REPEAT_SECONDS: Final = 1.0
NEAR_MS: Final = 20.0
"""Deadlines at two gateways that are so close are not worth another question."""


@dataclass(frozen=True, slots=True)
class SlotBinding:
    """A replica that holds a slot for a request; `offer` is None where the slot is only hoped for."""

    replica: Replica
    offer: int | None = None


@dataclass(slots=True)
class QueuePosition:
    """A place in a line."""

    waiter: Waiter
    excluded: frozenset[Address]
    woken: asyncio.Future[SlotBinding] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(slots=True)
class LastNotice:
    """What the replicas of a pool were told last, and when. `spare`: waiters told of that were not bound since."""

    at: float = float("-inf")
    empty: bool = True
    spare: list[int] = field(default_factory=lambda: [0, 0, 0])
    due: float = float("inf")
    timer: asyncio.TimerHandle | None = None


class GatewayQueue:
    """All lines of a gateway. `tell` sends a word to the replicas of a pool."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self._queues: dict[str, WaitQueue] = {}
        self._home_queues: dict[str, WaitQueue] = {}  # by replica
        self._places: dict[int, QueuePosition] = {}
        self._ids = itertools.count(1)
        self._served: dict[str, deque[float]] = {}
        self._last_notices: dict[str, LastNotice] = {}

    def follow(self, pools: tuple[PoolEntry, ...]) -> None:
        """Take over the table's bounds; lines of pools that are gone empty by their deadlines."""
        for entry in pools:
            queue = self._queues.setdefault(entry.name, WaitQueue(entry.queue.max_requests))
            queue.limit = entry.queue.max_requests

    def length(self, pool: str) -> int:
        """How many wait for a pool."""
        return len(self._queues.get(pool, ()))

    def count(self, pool: str, priority: Priority) -> int:
        """How many of a priority wait for a pool."""
        queue = self._queues.get(pool)
        return queue.count(priority) if queue else 0

    def ahead_of(self, pool: str, priority: Priority, now: float) -> int:
        """How many come before a request of this priority that arrives now."""
        queue = self._queues.get(pool)
        return queue.ahead_of(priority, now) if queue else 0

    def drained_per_second(self, pool: str) -> float:
        """Requests of a pool that found a slot lately, a second."""
        served, now = self._served.setdefault(pool, deque()), asyncio.get_running_loop().time()
        while served and now - served[0] > RATE_SECONDS:
            served.popleft()
        return len(served) / RATE_SECONDS

    def served(self, pool: str) -> None:
        """A request of this pool found a slot."""
        served = self._served.get(pool)
        if served is None:
            served = self._served[pool] = deque(maxlen=4096)
        served.append(asyncio.get_running_loop().time())

    async def wait(
        self, pool: str, waiter: Waiter, until: float, excluded: frozenset[Address], home: str = ""
    ) -> SlotBinding | None:
        """Wait until loop time `until` for a slot, of replica `home` only if one is named. None when none comes.

        Raises OverflowError when the line is full. Whoever is cancelled while holding a slot has to give it up: the
        caller gets no binding then, so that is done here.
        """
        queues = self._home_queues if home else self._queues
        queue = queues.get(home or pool)
        if queue is None:
            queue = queues[home or pool] = WaitQueue(self._queues[pool].limit if home and pool in self._queues else 0)
        if not queue.join(waiter):
            count = queue.count(waiter.priority)
            raise OverflowError(f"{count} {waiter.priority} requests wait for pool {pool} already")
        place = self._places[waiter.id] = QueuePosition(waiter, excluded)
        self._changed(pool, waiter.rank(asyncio.get_running_loop().time()))
        try:
            async with asyncio.timeout_at(until):
                return await place.woken
        except TimeoutError:
            return place.woken.result() if place.woken.done() and not place.woken.cancelled() else None
        except asyncio.CancelledError:
            if place.woken.done() and not place.woken.cancelled():
                give_up(place.woken.result())
            raise
        finally:
            queue.leave(waiter.id)
            del self._places[waiter.id]
            if home and not queue:
                queues.pop(home, None)
            self._changed(pool)

    def new_id(self) -> int:
        """The id of a waiter, kept while it comes back to the line."""
        return next(self._ids)

    def offered(self, replica: Replica, offer: SlotOffer) -> None:
        """A replica holds a slot: bind it to the waiter whose turn it is, or decline and say who waits now."""
        now = asyncio.get_running_loop().time()
        if not replica.may_take(now):
            replica.say(OfferAnswer(id=offer.id, taken=False, spent=True))
            return
        best: tuple[int, float, QueuePosition, WaitQueue] | None = None
        for queue in (self._queues.get(replica.pool), self._home_queues.get(replica.name)):
            waiter = queue.best(replica.name, now, offer.high_only, self._may(replica)) if queue else None
            if queue and waiter is not None:
                key = (waiter.rank(now), waiter.due_at(replica.name))
                if best is None or key < best[:2]:
                    best = (*key, self._places[waiter.id], queue)
        if best is None or self._comes_after(best[0], best[1] - now, offer):
            replica.say(self.word(replica.pool, replica.name))  # first, so that the next choice knows it
            replica.say(OfferAnswer(id=offer.id, taken=False, spent=best is None))
            return
        rank, _, place, queue = best
        queue.leave(place.waiter.id)
        replica.say(OfferAnswer(id=offer.id, taken=True))
        place.woken.set_result(SlotBinding(replica, offer.id))
        self._last_notices.setdefault(replica.pool, LastNotice()).spare[rank] -= 1
        self._changed(replica.pool)

    def _may(self, replica: Replica) -> Callable[[Waiter], bool]:
        def may(waiter: Waiter) -> bool:
            place = self._places[waiter.id]
            return replica.address not in place.excluded and not place.woken.done()

        return may

    @staticmethod
    def _comes_after(rank: int, seconds_left: float, offer: SlotOffer) -> bool:
        """Whether the first waiter elsewhere comes before ours; what is within NEAR_MS counts as equal."""
        if offer.rival_rank is None:
            return False
        return rank > offer.rival_rank or (rank == offer.rival_rank and seconds_left * 1000 > offer.rival_ms + NEAR_MS)

    def word(self, pool: str, replica: str) -> WaitingWord:
        """What a replica is told: who waits for its pool, and who for itself."""
        now = asyncio.get_running_loop().time()
        counts, deadlines = [0, 0, 0], [[0.0] * 0 for _ in range(3)]
        for queue in (self._queues.get(pool), self._home_queues.get(replica)):
            if queue:
                more, firsts = queue.word(now, replica)
                counts = [a + b for a, b in zip(counts, more, strict=True)]
                deadlines = [[*a, *b] for a, b in zip(deadlines, firsts, strict=True)]
        left = [tuple(max(0, int((d - now) * 1000)) for d in sorted(rank)) for rank in deadlines]
        return WaitingWord(counts=(counts[0], counts[1], counts[2]), deadlines_ms=(left[0], left[1], left[2]))

    def _changed(self, pool: str, joined: int | None = None) -> None:
        """The lines changed: tell the replicas soon, at once when one of a rank waits that they know nothing of."""
        loop = asyncio.get_running_loop()
        told = self._last_notices.setdefault(pool, LastNotice())
        queue = self._queues.get(pool)
        counts = queue.counts(loop.time()) if queue else (0, 0, 0)
        unknown = joined is not None and told.spare[joined] <= 0
        unknown = unknown or any(count and spare <= 0 for count, spare in zip(counts, told.spare, strict=True))
        due = told.at + (NOTICE_LEAST_SECONDS if unknown else NOTICE_SECONDS)
        if told.timer is not None:
            if told.due <= due:
                return
            told.timer.cancel()
        told.due, told.timer = due, loop.call_at(due, self._speak, pool)

    def _speak(self, pool: str) -> None:
        loop = asyncio.get_running_loop()
        told = self._last_notices[pool]
        told.timer = None
        queue = self._queues.get(pool)
        counts = queue.counts(loop.time()) if queue else (0, 0, 0)
        waits = bool(queue) or any(self._home_queues.values())
        if waits or not told.empty:
            self.tell(pool)
        told.at, told.empty, told.spare = loop.time(), not waits, list(counts)
        if waits:
            told.due = told.at + REPEAT_SECONDS
            told.timer = loop.call_at(told.due, self._speak, pool)


def give_up(bound: SlotBinding) -> None:
    """The request that was bound goes elsewhere, or away: its replica need not hold the slot."""
    if bound.offer is not None:
        bound.replica.say(OfferAnswer(id=bound.offer, taken=False))
