"""Which fleet is looked at next: dirty keys without duplicates, one worker a key, back-off a key, periodic resync."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from forebay.controller.cluster.kubernetes_api import ClusterError

LEND_SECONDS: Final = 5.0
"""After which a pass that is not at its end gives its slot to another fleet: it waits for others, and they must not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueueTimes:
    """Times of the queue in seconds."""

    debounce: float = 0.05  # a burst of watch events makes one pass
    backoff_first: float = 1.0
    backoff_most: float = 15.0  # an API server that is back is not kept waiting


@dataclass(slots=True)
class Backlog:
    """What is due when. Pure: the caller supplies the time, in seconds of any one clock."""

    pace: QueueTimes = field(default_factory=QueueTimes)
    _due: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)  # of _due, with entries that no longer hold
    _not_before: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    _working: set[str] = field(default_factory=set)
    _again: set[str] = field(default_factory=set)

    def mark(self, key: str, now: float) -> None:
        """Something about this key changed."""
        if key in self._working:
            self._again.add(key)
            return
        due = max(now + self.pace.debounce, self._not_before.get(key, 0.0))
        self._plan(key, min(due, self._due.get(key, due)))

    def take(self, now: float) -> str | None:
        """The key that has been due for longest, now being worked on; None when nothing is due."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, key = heappop(self._heap)
        del self._due[key]
        self._working.add(key)
        return key

    def done(self, key: str, now: float, again: float | None) -> None:
        """A pass has ended well; the key comes back when marked, else after `again` seconds, or never for None."""
        marked = self._ended(key)
        self._failures.pop(key, None)
        self._not_before.pop(key, None)
        if marked or again is not None:
            self._plan(key, now + (self.pace.debounce if marked or again is None else again))

    def failed(self, key: str, now: float) -> None:
        """A pass has failed: the key backs off, twice as long each time."""
        self._ended(key)
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        wait = min(self.pace.backoff_first * 2.0 ** (failures - 1), self.pace.backoff_most)
        self._not_before[key] = now + wait
        self._plan(key, now + wait)

    def _plan(self, key: str, due: float) -> None:
        if self._due.get(key) != due:
            self._due[key] = due
            heappush(self._heap, (due, key))

    def _ended(self, key: str) -> bool:
        """The key is free again. Returns whether it was marked meanwhile."""
        self._working.discard(key)
        marked = key in self._again
        self._again.discard(key)
        return marked

    def next_due(self) -> float | None:
        """When `take` will next have something; None while nothing is planned."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._due)


class WorkQueue:
    """Runs one pass a key at a time, `concurrency` keys at once; slow ones do not count."""

    def __init__(self, pace: QueueTimes, concurrency: int) -> None:
        self._backlog = Backlog(pace)
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(concurrency)
        self.last_turn = 0.0
        """loop.time() when the loop last went round; the liveness probe looks at it."""

    def __len__(self) -> int:
        return len(self._backlog)

    def mark(self, key: str) -> None:
        """Something about this key changed: look at it soon."""
        self._backlog.mark(key, asyncio.get_running_loop().time())
        self._wake.set()

    async def run(self, work: Callable[[str], Awaitable[float | None]]) -> None:
        """Work until cancelled.

        `work` returns after how many seconds the key is to be looked at again, or None for a key that is no more. When
        it raises, the key backs off.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                self.last_turn = loop.time()
                await self._slots.acquire()
                key = self._backlog.take(loop.time())
                if key is not None:
                    group.create_task(self._one(key, work), name=f"pass {key}")
                    continue
                self._slots.release()
                await self._sleep(loop)

    async def _sleep(self, loop: asyncio.AbstractEventLoop) -> None:
        due = self._backlog.next_due()
        wait = 1.0 if due is None else min(max(due - loop.time(), 0.0), 1.0)
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _one(self, key: str, work: Callable[[str], Awaitable[float | None]]) -> None:
        loop = asyncio.get_running_loop()
        lent = loop.call_later(LEND_SECONDS, self._free)
        try:
            again = await work(key)
        except ClusterError as error:
            log.warning("pass over %s failed: %s", key, error)
            self._backlog.failed(key, loop.time())
        except Exception:
            log.exception("pass over %s failed", key)
            self._backlog.failed(key, loop.time())
        else:
            self._backlog.done(key, loop.time(), again)
        finally:
            if loop.time() < lent.when() and not lent.cancelled():
                lent.cancel()
                self._free()

    def _free(self) -> None:
        self._slots.release()
        self._wake.set()
