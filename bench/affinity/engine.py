"""Simulated time, and the simulator's engine in it."""

import heapq
import itertools
from collections.abc import Callable

from forebay.simulator.batch import Batch, Sequence, Step

STEPS_TOGETHER = 100_000


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


class Engine:
    """A batch that runs by itself. `on_first` hears of each first token, `on_end` of each last one."""

    def __init__(
        self, clock: Clock, batch: Batch, on_first: Callable[[Sequence], None], on_end: Callable[[Sequence], None]
    ) -> None:
        self.clock = clock
        self.batch = batch
        self.on_first = on_first
        self.on_end = on_end
        self._step: Step | None = None
        self._begun = 0.0
        self._turn = 0

    def add(self, sequence: Sequence) -> None:
        """Take a request in; steps that were taken together end with the one that runs now."""
        self.batch.add(sequence)
        if self._step is None:
            self._begin()
        elif self._step.count > 1:
            self.batch.cut(self._step, self.clock.now - self._begun)
            self._schedule(self._step)

    def _begin(self) -> None:
        step = self.batch.begin(self.clock.now, STEPS_TOGETHER)
        self._step, self._begun = None, self.clock.now
        if step.seconds is not None:
            self._step = step
            self._schedule(step)

    def _schedule(self, step: Step) -> None:
        self._turn += 1
        turn = self._turn
        self.clock.at(self._begun + (step.seconds or 0.0), lambda: self._over(step, turn))

    def _over(self, step: Step, turn: int) -> None:
        if turn != self._turn:
            return
        for sequence in step.made:
            if not sequence.made:
                self.on_first(sequence)
        for sequence in self.batch.finish(step):
            self.on_end(sequence)
        self._begin()
