"""An engine in simulated time: a batch that runs by itself, exact or quick."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from forebay.replay.clock import Clock
from forebay.simulator.batch import BatchStep, Sequence

STEPS_TOGETHER = 100_000


class Scheduler(Protocol):
    """What simulator.Batch and replay.QuickBatch have in common."""

    def add(self, sequence: Sequence) -> bool:
        """Take a request in."""

    def remove(self, sequence: Sequence) -> None:
        """Give a request up."""

    def begin(self, now: float, most: int = 1) -> BatchStep:
        """The next steps."""

    def cut(self, step: BatchStep, elapsed: float) -> None:
        """They end with the one that runs now."""

    def finish(self, step: BatchStep) -> list[Sequence]:
        """They are over; who is complete."""


class ReplayEngine:
    """`on_first` hears of each first token, `on_end` of each last one."""

    def __init__(
        self, clock: Clock, batch: Scheduler, on_first: Callable[[Sequence], None], on_end: Callable[[Sequence], None]
    ) -> None:
        self.clock = clock
        self.batch = batch
        self.on_first = on_first
        self.on_end = on_end
        self._step: BatchStep | None = None
        self._begun = 0.0
        self._turn = 0

    def add(self, sequence: Sequence) -> None:
        """Take a request in; steps that were taken together end with the one that runs now."""
        self.batch.add(sequence)
        self._cut()
        if self._step is None:
            self._begin()

    def remove(self, sequence: Sequence) -> None:
        """Give a request up; nothing more is told of it."""
        self._cut()
        self.batch.remove(sequence)

    def _cut(self) -> None:
        step = self._step
        if step is not None and step.count > 1:
            count = step.count
            self.batch.cut(step, self.clock.now - self._begun)
            if step.count != count:
                self._schedule(step)

    def _begin(self) -> None:
        step = self.batch.begin(self.clock.now, STEPS_TOGETHER)
        self._step, self._begun = None, self.clock.now
        if step.seconds is not None:
            self._step = step
            self._schedule(step)

    def _schedule(self, step: BatchStep) -> None:
        self._turn += 1
        self.clock.at(self._begun + (step.seconds or 0.0), partial(self._over, step, self._turn))

    def _over(self, step: BatchStep, turn: int) -> None:
        if turn != self._turn:
            return
        for sequence in step.made:
            if not sequence.made:
                self.on_first(sequence)
        for sequence in self.batch.finish(step):
            self.on_end(sequence)
        self._begin()
