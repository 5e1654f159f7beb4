"""Continuous batching as a machine without clock or I/O: requests in, steps of tokens out.

Time per step = (a + b * running + c * KV tokens) * slow; a step in which prompts are computed takes their prefill time
besides. The defaults are of the order of vLLM serving Llama-3.1-8B on an RTX 4090 (LLMServingSim's recorded run:
about 20-25 ms a token at a handful of running requests), not a fit.
"""

from collections import deque
from dataclasses import dataclass, field

BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Seconds."""

    base: float = 0.016
    per_running: float = 0.00018
    per_kv_token: float = 2.0e-8
    prefill_tokens_per_second: float = 8000.0

    def step(self, running: int, kv_tokens: int, prefill_tokens: int) -> float:
        """Duration of one step."""
        decode = self.base + self.per_running * running + self.per_kv_token * kv_tokens
        return decode + prefill_tokens / self.prefill_tokens_per_second


@dataclass(frozen=True, slots=True)
class Limits:
    """What one engine holds. `max_queued` None: no bound."""

    max_num_seqs: int = 256
    kv_tokens: int = 60_000
    max_queued: int | None = None
    max_batched_tokens: int = 8192


@dataclass(slots=True, eq=False)
class Sequence:
    """One request inside the engine. `output` is how many tokens it will make."""

    prompt: int
    output: int
    arrived: float
    made: int = 0
    started: float = 0.0
    preemptions: int = 0
    index: int = 0

    @property
    def live(self) -> int:
        """Tokens that it keeps in the cache, in whole blocks."""
        return -(-(self.prompt + self.made + 1) // BLOCK_TOKENS) * BLOCK_TOKENS

    @property
    def done(self) -> bool:
        """Whether its last token was made."""
        return self.made >= self.output


@dataclass(slots=True)
class Step:
    """One step's outcome: who got a token, who began, and when the next step is over (None: nothing to do)."""

    made: list[Sequence] = field(default_factory=list)
    begun: list[Sequence] = field(default_factory=list)
    seconds: float | None = None


class Batch:
    """An engine's scheduler: first come first served within the limits, the newest preempted when memory ends."""

    def __init__(self, limits: Limits, times: ServiceTime, slow: float = 1.0) -> None:
        self.limits = limits
        self.times = times
        self.slow = slow
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0

    def add(self, sequence: Sequence) -> bool:
        """Take a request in; False when the queue is full."""
        if self.limits.max_queued is not None and len(self.waiting) >= self.limits.max_queued:
            return False
        self.waiting.append(sequence)
        return True

    def remove(self, sequence: Sequence) -> None:
        """Its client is gone; unknown ones are fine."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    @property
    def kv_used(self) -> int:
        """Tokens in the cache."""
        return sum(sequence.live for sequence in self.running)

    def begin(self, now: float) -> Step:
        """Schedule the next step; its tokens exist after `seconds`. Call `finish` then."""
        self._make_room()
        step, used, prefill = Step(), self.kv_used, 0
        while self.waiting and len(self.running) < self.limits.max_num_seqs:
            first = self.waiting[0]
            if used + first.live > self.limits.kv_tokens and self.running:
                break
            if prefill and prefill + first.prompt > self.limits.max_batched_tokens:
                break
            self.waiting.popleft()
            first.started = first.started or now
            self.running.append(first)
            step.begun.append(first)
            used, prefill = used + first.live, prefill + first.prompt
        if self.running:
            step.made = list(self.running)
            step.seconds = self.times.step(len(self.running), used, prefill) * self.slow
        return step

    def finish(self, step: Step) -> list[Sequence]:
        """Make the step's tokens; returns the sequences that are complete, which leave the batch."""
        for sequence in step.made:
            sequence.made += 1
        ended = [sequence for sequence in step.made if sequence.done and sequence in self.running]
        for sequence in ended:
            self.running.remove(sequence)
        return ended

    def _make_room(self) -> None:
        while len(self.running) > 1 and self.kv_used > self.limits.kv_tokens:
            victim = self.running.pop()
            victim.preemptions += 1
            self.preemptions += 1
            self.waiting.appendleft(victim)
