"""simulator.Batch for weeks of traffic: what it costs grows with requests, and hardly with how many run together.

All requests that generate get a token a step, so one count of steps serves for all of them: a request ends when the
count has grown by its answer's length, and a heap knows who is next. Steps that compute prompts are taken one by one,
all others together. Left out beside Batch: memory is counted in tokens rather than blocks, a request has its place
from when it begins, and nothing is preempted when memory ends. docs/replay.md says how far the two are apart.
"""

import heapq
import itertools
from collections import deque

from forebay.simulator.batch import BatchLimits, BatchStep, Sequence, ServiceTime
from forebay.simulator.prefix import PREFIX_TOKENS, PrefixCache


class QuickBatch:
    """An engine's scheduler: first come first served within the limits."""

    def __init__(self, limits: BatchLimits, times: ServiceTime, slow: float = 1.0) -> None:
        self.limits = limits
        self.times = times
        self.slow = slow
        self.prefix = PrefixCache()
        self._waiting: deque[Sequence] = deque()
        self._prompts: deque[Sequence] = deque()  # those whose prompts are being computed, first come first
        self._ends: list[tuple[int, int, Sequence]] = []  # by the count of steps at which they end
        self._order = itertools.count()
        self._steps = 0
        self._kv = 0  # tokens that running requests keep

    def add(self, sequence: Sequence) -> bool:
        """Take a request in; it waits while there is no room for it."""
        self._waiting.append(sequence)
        return True

    def remove(self, sequence: Sequence) -> None:
        """Give a request up; unknown ones are fine."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
            return
        made = 0
        if sequence in self._prompts:
            self._prompts.remove(sequence)
        else:
            place = next((item for item in self._ends if item[2] is sequence), None)
            if place is None:
                return
            self._ends.remove(place)
            heapq.heapify(self._ends)
            made = sequence.output - (place[0] - self._steps)
        self._leave(sequence, made)

    def begin(self, now: float, most: int = 1) -> BatchStep:
        """Schedule the next steps, at most so many; `made` lists those that get their first token."""
        step, decoding = BatchStep(), len(self._ends)
        budget = room = max(1, self.limits.max_batched_tokens - decoding)
        for sequence in self._prompts:
            budget -= self._compute(sequence, budget, step)
        while budget > 0 and self._waiting and self._fits(self._waiting[0]):
            budget -= self._compute(self._start(self._waiting.popleft(), now), budget, step)
        step.kv_tokens, running = self._kv, decoding + len(self._prompts)
        if budget < room:
            step.seconds = self.times.step(running, self._kv, room - budget) * self.slow
        elif decoding:
            step.count = min(most, self._ends[0][0] - self._steps)
            step.seconds = self.times.steps(running, self._kv, step.count) * self.slow
        return step

    def cut(self, step: BatchStep, elapsed: float) -> None:
        """Somebody came or went `elapsed` seconds into steps taken together: they end with the one that runs now."""
        running = len(self._ends)
        within = self.times.steps_within(running, step.kv_tokens, elapsed / self.slow)
        step.count = min(step.count, max(1, within))
        step.seconds = self.times.steps(running, step.kv_tokens, step.count) * self.slow

    def finish(self, step: BatchStep) -> list[Sequence]:
        """Make the steps' tokens; returns the sequences that are complete."""
        ends, prompts = self._ends, self._prompts
        self._steps += step.count
        self._kv += step.count * len(ends)
        for sequence in step.made:
            if prompts and prompts[0] is sequence:  # it may have been given up
                prompts.popleft()
                sequence.made = 1
                self._kv += 1
                heapq.heappush(ends, (self._steps + sequence.output - 1, next(self._order), sequence))
        ended = []
        while ends and ends[0][0] <= self._steps:
            sequence = heapq.heappop(ends)[2]
            sequence.made = sequence.output
            self._leave(sequence, sequence.output)
            ended.append(sequence)
        return ended

    def _fits(self, sequence: Sequence) -> bool:
        running = len(self._ends) + len(self._prompts)
        roomy = not running or self._kv + sequence.prompt < self.limits.kv_tokens
        return roomy and running < self.limits.max_num_seqs

    def _start(self, sequence: Sequence, now: float) -> Sequence:
        sequence.started, sequence.cached = now, self._cached(sequence)
        sequence.left = max(1, sequence.prompt - sequence.cached)
        self._kv += sequence.prompt
        self._prompts.append(sequence)
        return sequence

    @staticmethod
    def _compute(sequence: Sequence, budget: int, step: BatchStep) -> int:
        """Compute a piece of its prompt; returns how many tokens."""
        piece = min(sequence.left, budget)
        sequence.left -= piece
        if not sequence.left:
            step.made.append(sequence)
        return piece

    def _cached(self, sequence: Sequence) -> int:
        """Prompt tokens that the prefix cache has; the last one is computed in any case."""
        if not sequence.blocks:
            return 0
        known = min(self.prefix.known(sequence.blocks), (sequence.prompt - 1) // PREFIX_TOKENS)
        self.prefix.hold(sequence.blocks)
        return known * PREFIX_TOKENS

    def _leave(self, sequence: Sequence, made: int) -> None:
        self._kv -= sequence.prompt + made
        if sequence.blocks:
            self.prefix.release(sequence.blocks)
            self.prefix.trim((self.limits.kv_tokens - self._kv) // PREFIX_TOKENS)
