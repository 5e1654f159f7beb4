"""Simulated time."""

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """What happens when. Seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Do it then, or now if that is over."""
        heapq.heappush(self._events, (max(when, self.now), next(self._order), act))

    def step(self) -> bool:
        """Do what comes next; False when nothing is left."""
        if not self._events:
            return False
        self.now, _, act = heapq.heappop(self._events)
        act()
        return True
