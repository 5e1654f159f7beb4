"""A recorded run's requests through the simulated engine: the same arrivals and lengths, its own times."""

from collections.abc import Sequence as Several
from dataclasses import dataclass
from math import inf

from bench.calibrate.runs import Run
from forebay.simulator.batch import Batch, BatchLimits, BatchStep, Sequence, ServiceTime

MANY = 1_000_000


@dataclass(slots=True)
class Played:
    """What became of one request; seconds since the run began."""

    queued: float
    output: int
    started: float = 0.0
    first: float = 0.0
    last: float = 0.0

    @property
    def per_token(self) -> float:
        """Mean seconds between its tokens."""
        return (self.last - self.first) / (self.output - 1)


def play(run: Run, times: ServiceTime) -> list[Played]:
    """Every request of the run, in its order. Data-parallel ranks each take the next one when they have fewest."""
    limits = BatchLimits(run.max_num_seqs, run.kv_tokens, None, run.max_batched_tokens)
    ranks = _Ranks([Batch(limits, times) for _ in range(run.engines)])
    played = [Played(request.queued, request.output) for request in run.requests]
    for request, outcome in zip(run.requests, played, strict=True):
        ranks.until(request.queued)
        ranks.add(Sequence(request.prompt, request.output, request.queued), outcome)
    ranks.until(inf)
    return played


class _Ranks:
    """Batches that step together, as expert parallelism makes them: each step takes as long as its slowest rank."""

    def __init__(self, batches: Several[Batch]) -> None:
        self.batches = batches
        self.now = 0.0
        self._outcomes: dict[Sequence, Played] = {}

    def add(self, sequence: Sequence, outcome: Played) -> None:
        """A request comes."""
        self._outcomes[sequence] = outcome
        self.now = max(self.now, outcome.queued)
        min(self.batches, key=lambda batch: len(batch.running) + len(batch.waiting)).add(sequence)

    def until(self, end: float) -> None:
        """Take steps until `end`; the one that is under way then is finished."""
        alone = len(self.batches) == 1
        while self.now < end:
            steps = [batch.begin(self.now, MANY if alone else 1) for batch in self.batches]
            if all(step.seconds is None for step in steps):
                return
            if alone and self.now + (steps[0].seconds or 0.0) > end:
                self.batches[0].cut(steps[0], end - self.now)
            seconds = max(step.seconds or 0.0 for step in steps)
            for batch, step in zip(self.batches, steps, strict=True):
                self._finish(batch, step, seconds)
            self.now += seconds

    def _finish(self, batch: Batch, step: BatchStep, seconds: float) -> None:
        for sequence in step.begun:
            outcome = self._outcomes[sequence]
            outcome.started = outcome.started or self.now
        for sequence in step.made:
            if not sequence.made:
                self._outcomes[sequence].first = self.now + seconds / step.count
        for sequence in batch.finish(step):
            self._outcomes[sequence].last = self.now + seconds
