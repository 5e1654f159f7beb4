"""Engines in simulated time: the simulator's own, step by step, and one that looks at whole requests.

Both take the same requests within the same limits and service times. `OfSteps` runs simulator.Batch: exact, for traces
of hours. `OfRequests` costs two events a request, however many tokens it makes, for traces of weeks; how far it is from
the other is measured in docs/replay.md.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Protocol

from forebay.replay.clock import Clock
from forebay.simulator.batch import Batch, Limits, Sequence, ServiceTime, Step
from forebay.simulator.prefix import PREFIX_TOKENS, PrefixCache

STEPS_TOGETHER = 100_000
_ROUNDING = 1e-6  # of a step

OnFirst = Callable[[Sequence, float], None]
"""Hears when a first token is, or will be, made."""
OnEnd = Callable[[Sequence], None]


class Engine(Protocol):
    """Takes requests in; tells of each first and each last token."""

    def add(self, sequence: Sequence) -> None:
        """Take a request in now."""

    def remove(self, sequence: Sequence) -> None:
        """Give a request up; nothing more is told of it."""


class OfSteps:
    """A batch that runs by itself."""

    def __init__(self, clock: Clock, batch: Batch, on_first: OnFirst, on_end: OnEnd) -> None:
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
        else:
            self._cut(self._step)

    def remove(self, sequence: Sequence) -> None:
        """Give a request up; the step that runs now ends as it would have."""
        self.batch.remove(sequence)
        if self._step is not None:
            self._cut(self._step)

    def _cut(self, step: Step) -> None:
        if step.count > 1:
            self.batch.cut(step, self.clock.now - self._begun)
            self._schedule(step)

    def _begin(self) -> None:
        step = self.batch.begin(self.clock.now, STEPS_TOGETHER)
        self._step, self._begun = None, self.clock.now
        if step.seconds is not None:
            self._step = step
            self._schedule(step)

    def _schedule(self, step: Step) -> None:
        self._turn += 1
        self.clock.at(self._begun + (step.seconds or 0.0), partial(self._over, step, self._turn))

    def _over(self, step: Step, turn: int) -> None:
        if turn != self._turn:
            return
        for sequence in step.made:
            if not sequence.made:
                self.on_first(sequence, self.clock.now)
        for sequence in self.batch.finish(step):
            self.on_end(sequence)
        self._begin()


class OfRequests:
    """Continuous batching by the whole request.

    All running requests make a token a step, so one count of steps serves for all: a request ends when the count has
    grown by its answer's length. A step takes as long as ServiceTime says for what runs now. While a prompt is
    computed, which takes its tokens' prefill time, no step ends; then the prompt has cost as many steps as it had
    pieces. Prompts are computed one after the other. What the memory does not hold waits; nothing is preempted.
    """

    def __init__(
        self, clock: Clock, limits: Limits, times: ServiceTime, on_first: OnFirst, on_end: OnEnd, slow: float = 1.0
    ) -> None:
        self.clock = clock
        self.limits = limits
        self.times = times
        self.on_first = on_first
        self.on_end = on_end
        self.slow = slow
        self.prefix = PrefixCache()
        self._waiting: deque[Sequence] = deque()
        self._ends: list[tuple[float, int, Sequence]] = []  # by the count of steps at which each ends
        self._order = itertools.count()
        self._steps = 0.0
        self._kv = 0.0  # tokens that running requests keep
        self._at = 0.0  # the time of these counts
        self._computing = 0.0  # prompts are computed until then
        self._pace = 1.0  # seconds a step
        self._turn = 0

    def add(self, sequence: Sequence) -> None:
        """Take a request in; it waits while there is no room for it."""
        self._advance()
        self._waiting.append(sequence)
        self._admit()
        self._schedule()

    def remove(self, sequence: Sequence) -> None:
        """Give a request up."""
        self._advance()
        if sequence in self._waiting:
            self._waiting.remove(sequence)
            return
        self._ends = [item for item in self._ends if item[2] is not sequence]
        heapq.heapify(self._ends)
        self._leave(sequence)
        self._admit()
        self._schedule()

    def _advance(self) -> None:
        """Count the steps since the last event."""
        begin = max(self._at, min(self._computing, self.clock.now))
        self._at = self.clock.now
        if self._ends and self._at > begin:
            steps = (self._at - begin) / self._pace
            self._steps += steps
            self._kv += steps * len(self._ends)

    def _admit(self) -> None:
        waiting, limits = self._waiting, self.limits
        while waiting and len(self._ends) < limits.max_num_seqs:
            if self._ends and self._kv + waiting[0].prompt >= limits.kv_tokens:
                break
            self._start(waiting.popleft())

    def _start(self, sequence: Sequence) -> None:
        now, running = self.clock.now, len(self._ends)
        sequence.started, sequence.cached = now, self._cached(sequence)
        tokens = sequence.prompt - sequence.cached
        pieces = ceil(tokens / max(1, self.limits.max_batched_tokens - running))
        self._kv += sequence.prompt
        self._computing = max(self._computing, now) + tokens / self.times.prefill_tokens_per_second * self.slow
        pace = self.times.step(running + 1, int(self._kv), 0) * self.slow
        lead = pieces + 0.5 if running else pieces  # it joins when the step that runs now is over
        self.on_first(sequence, self._computing + lead * pace)
        heapq.heappush(self._ends, (self._steps + lead + sequence.output - 1, next(self._order), sequence))

    def _cached(self, sequence: Sequence) -> int:
        """Prompt tokens that the prefix cache has; the last one is computed in any case."""
        if not sequence.blocks:
            return 0
        known = min(self.prefix.known(sequence.blocks), (sequence.prompt - 1) // PREFIX_TOKENS)
        self.prefix.hold(sequence.blocks)
        return known * PREFIX_TOKENS

    def _leave(self, sequence: Sequence) -> None:
        self._kv = max(0.0, self._kv - sequence.prompt - sequence.output) if self._ends else 0.0
        if sequence.blocks:
            self.prefix.release(sequence.blocks)
            self.prefix.trim((self.limits.kv_tokens - int(self._kv)) // PREFIX_TOKENS)

    def _schedule(self) -> None:
        self._turn += 1
        if self._ends:
            self._pace = self.times.step(len(self._ends), int(self._kv), 0) * self.slow
            begin = max(self.clock.now, self._computing)
            left = max(0.0, self._ends[0][0] - self._steps)
            self.clock.at(begin + left * self._pace, partial(self._over, self._turn))

    def _over(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._advance()
        ends = self._ends
        self._steps = max(self._steps, ends[0][0])
        while ends and ends[0][0] <= self._steps + _ROUNDING:
            sequence = heapq.heappop(ends)[2]
            sequence.made = sequence.output
            self._leave(sequence)
            self.on_end(sequence)
        self._admit()
        self._schedule()
