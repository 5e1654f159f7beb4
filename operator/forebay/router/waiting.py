"""Requests that wait in this gateway: one line per pool, woken one by one as slots come free.

A freed slot wakes one waiter and is taken for it at once, so that two do not run for the same one.
"""

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from forebay.resources.reasons import Priority
from forebay.resources.table import PoolEntry
from forebay.router.replicas import Replica, Replicas
from forebay.rules.affinity import prefer
from forebay.rules.queue import Line, Waiter

RATE_SECONDS: Final = 30.0


@dataclass(slots=True)
class Place:
    """A place in a line; `replica` is set when a slot was taken for it."""

    waiter: Waiter
    session: bytes
    excluded: frozenset[tuple[str, int]]
    woken: asyncio.Future[Replica] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Waiting:
    """All lines of a gateway."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self._lines: dict[str, Line] = {}
        self._places: dict[int, Place] = {}
        self._ids = itertools.count(1)
        self._served: dict[str, deque[float]] = {}

    def follow(self, pools: tuple[PoolEntry, ...]) -> None:
        """Take over the table's bounds; lines of pools that are gone empty by their deadlines."""
        for entry in pools:
            line = self._lines.setdefault(entry.name, Line(entry.queue.max_requests))
            line.limit = entry.queue.max_requests

    def length(self, pool: str) -> int:
        """How many wait for a pool."""
        return len(self._lines.get(pool, ()))

    def count(self, pool: str, priority: Priority) -> int:
        """How many of a priority wait for a pool."""
        line = self._lines.get(pool)
        return line.count(priority) if line else 0

    def ahead_of(self, pool: str, priority: Priority) -> int:
        """How many come before a request of this priority that arrives now."""
        line = self._lines.get(pool)
        return line.ahead_of(priority, asyncio.get_running_loop().time()) if line else 0

    def drained_per_second(self, pool: str) -> float:
        """Requests of a pool that found a slot lately, a second."""
        served, now = self._served.setdefault(pool, deque()), asyncio.get_running_loop().time()
        while served and now - served[0] > RATE_SECONDS:
            served.popleft()
        return len(served) / RATE_SECONDS

    def served(self, pool: str) -> None:
        """A request of this pool found a slot."""
        self._served.setdefault(pool, deque(maxlen=4096)).append(asyncio.get_running_loop().time())

    async def wait(
        self, pool: str, priority: Priority, since: float, deadline: float, session: bytes,
        excluded: frozenset[tuple[str, int]],
    ) -> Replica | None:  # fmt: skip
        """Wait for a slot until `deadline` (loop time). None when it does not come. Raises OverflowError when full."""
        waiter = Waiter(next(self._ids), priority, since, deadline)
        line = self._lines.setdefault(pool, Line(0))
        if not line.join(waiter):
            raise OverflowError(f"{line.limit} requests wait for pool {pool} already")
        place = self._places[waiter.id] = Place(waiter, session, excluded)
        try:
            self.dispatch(pool)
            async with asyncio.timeout_at(deadline):
                return await place.woken
        except TimeoutError:
            return place.woken.result() if place.woken.done() and not place.woken.cancelled() else None
        except asyncio.CancelledError:
            line.leave(waiter.id)
            self.dispatch(pool)  # what was taken for it is corrected by the next report
            raise
        finally:
            line.leave(waiter.id)
            self._places.pop(waiter.id, None)

    def dispatch(self, pool: str) -> None:
        """Give free slots to the waiters whose turn it is."""
        line = self._lines.get(pool)
        if not line:
            return
        now = asyncio.get_running_loop().time()
        while len(line):
            serving = self.replicas.serving(pool, now)
            reserve_only = not any(r.free > 0 for r in serving)
            waiter = line.next(now, high_only=reserve_only)
            if waiter is None:
                return
            place = self._places[waiter.id]
            replica = choose(serving, place.waiter.priority, place.session, place.excluded)
            if replica is None:
                line.join(waiter)
                return
            replica.take()
            if not place.woken.done():
                place.woken.set_result(replica)


def choose(
    serving: list[Replica], priority: Priority, session: bytes, excluded: frozenset[tuple[str, int]]
) -> Replica | None:
    """The session's favourite among the replicas that have a slot for this priority."""
    able = {r.name: r for r in serving if r.free_for(priority) > 0 and r.address not in excluded}
    return able[prefer(session, able)[0]] if able else None
