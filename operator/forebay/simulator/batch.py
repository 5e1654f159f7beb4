"""Continuous batching as a machine without clock or I/O: requests in, steps of tokens out.

Time per step = (base + per_running * running + per_kv_token * KV tokens) * slow; base is mostly the reading of all
weights. A step in which prompts are computed, for the tokens that the prefix cache does not have, reads them while it
computes: it takes the longer of the two. Long prompts are computed in pieces, as vLLM does.

The defaults are fitted to a recorded run of vLLM 0.19 with Llama-3.1-8B on an RTX 4090. How near they come to that run,
and what fits others, is in docs/simulator.md (`make bench-calibrate`).
"""

from collections import deque
from dataclasses import dataclass, field
from math import ceil, sqrt

from forebay.rules.hardware import EngineEstimate
from forebay.simulator.prefix import PREFIX_TOKENS, PrefixCache

BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Seconds."""

    base: float = 0.0162
    per_running: float = 0.00007
    per_kv_token: float = 1.18e-7
    prefill_tokens_per_second: float = 9000.0

    @classmethod
    def of(cls, engine: EngineEstimate) -> "ServiceTime":
        """What GPU and model are known for (rules/hardware)."""
        times = engine.base_seconds, engine.shares.request, engine.kv_token_seconds
        return cls(*times, engine.prompt_tokens_per_second)

    def step(self, running: int, kv_tokens: int, prefill_tokens: int) -> float:
        """Duration of one step."""
        computing = (prefill_tokens + running) / self.prefill_tokens_per_second if prefill_tokens else 0.0
        return max(self.base, computing) + self.per_running * running + self.per_kv_token * kv_tokens

    def steps(self, running: int, kv_tokens: int, count: int) -> float:
        """Duration of `count` steps without prefill, in each of which every running request grows by a token."""
        return count * self.step(running, kv_tokens, 0) + self.per_kv_token * running * count * (count - 1) / 2

    def steps_within(self, running: int, kv_tokens: int, seconds: float) -> int:
        """How many such steps it takes for `seconds` to pass."""
        first, growth = self.step(running, kv_tokens, 0), self.per_kv_token * running
        if growth == 0:
            return ceil(seconds / first)
        linear = first / growth - 0.5
        return ceil(sqrt(linear * linear + 2 * seconds / growth) - linear)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one engine holds: as in that run, but for `max_in_flight` (running and waiting; None: no bound)."""

    max_num_seqs: int = 256
    kv_tokens: int = 41_408
    max_in_flight: int | None = None
    max_batched_tokens: int = 2048
    max_adapters: int = 1  # in one batch


@dataclass(slots=True, eq=False)
class Sequence:
    """One request inside the engine. `output` is how many tokens it will make, `blocks` the prompt's whole blocks."""

    prompt: int
    output: int
    arrived: float
    blocks: tuple[int, ...] = ()
    made: int = 0
    started: float = 0.0
    preemptions: int = 0
    cached: int = 0  # prompt tokens that the prefix cache had
    left: int = 0  # tokens to be computed before the next one is made
    adapter: str = ""  # it needs this one; empty: the model itself

    @property
    def private(self) -> int:
        """Tokens that it alone keeps in the cache: those behind its prompt's whole blocks."""
        return -(-(self.prompt + self.made + 1 - len(self.blocks) * PREFIX_TOKENS) // BLOCK_TOKENS) * BLOCK_TOKENS

    @property
    def done(self) -> bool:
        """Whether its last token was made."""
        return self.made >= self.output


@dataclass(slots=True)
class BatchStep:
    """One step's outcome: who got a token, who began, how long it takes (None: nothing to do).

    `count` is more than one where several steps of the same members were taken together.
    """

    made: list[Sequence] = field(default_factory=list)
    begun: list[Sequence] = field(default_factory=list)
    seconds: float | None = None
    count: int = 1
    kv_tokens: int = 0


class Batch:
    """An engine's scheduler: first come first served within the limits, the newest preempted when memory ends."""

    def __init__(self, limits: BatchLimits, times: ServiceTime, slow: float = 1.0) -> None:
        self.limits = limits
        self.times = times
        self.slow = slow
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.deferred = 0  # of those that wait: for an adapter's turn
        self.prefix = PrefixCache()
        self.prefix_queries = 0  # prompt tokens looked up in the prefix cache, and found there
        self.prefix_hits = 0

    def add(self, sequence: Sequence) -> bool:
        """Take a request in; False when there are too many."""
        if self.full:
            return False
        self.waiting.append(sequence)
        return True

    @property
    def full(self) -> bool:
        """Whether as many are in flight as may be."""
        most = self.limits.max_in_flight
        return most is not None and len(self.waiting) + len(self.running) >= most

    def remove(self, sequence: Sequence) -> None:
        """Its client is gone; unknown ones are fine."""
        if sequence in self.running:
            self._end(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    @property
    def kv_used(self) -> int:
        """Tokens that running requests keep in the cache."""
        return self.prefix.held * PREFIX_TOKENS + sum(sequence.private for sequence in self.running)

    def begin(self, now: float, most: int = 1) -> BatchStep:
        """Schedule the next step; its tokens exist after `seconds`. Call `finish` then.

        With `most` above one, steps in which nothing but their number changes are taken together.
        """
        self._make_room()
        step, used = BatchStep(), self.kv_used
        decoding = sum(not sequence.left for sequence in self.running)
        budget = room = max(1, self.limits.max_batched_tokens - decoding)
        for sequence in self.running:
            budget -= self._compute(sequence, budget)
        later: list[Sequence] = []
        while self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            first = self.waiting[0]
            if first.adapter and not self._has_place(first.adapter):
                later.append(self.waiting.popleft())
                continue
            needed = first.private + self.prefix.missing(first.blocks) * PREFIX_TOKENS
            if used + needed > self.limits.kv_tokens and self.running:
                break
            self.waiting.popleft()
            self._start(first, now)
            step.begun.append(first)
            used, budget = used + needed, budget - self._compute(first, budget)
        self.waiting.extendleft(reversed(later))
        self.deferred = len(later)
        self.prefix.trim((self.limits.kv_tokens - used) // PREFIX_TOKENS)
        if not self.running:
            return step
        step.made, step.kv_tokens = [sequence for sequence in self.running if not sequence.left], used
        if budget < room:
            step.seconds = self.times.step(len(self.running), used, room - budget) * self.slow
        else:
            step.count = min(most, self._alike(used)) if most > 1 else 1
            step.seconds = self.times.steps(len(self.running), used, step.count) * self.slow
        return step

    def cut(self, step: BatchStep, elapsed: float) -> None:
        """Somebody came `elapsed` seconds into steps taken together: they end with the one that runs now."""
        if step.count > 1:
            running = len(self.running)
            within = self.times.steps_within(running, step.kv_tokens, elapsed / self.slow)
            step.count = min(step.count, max(1, within))
            step.seconds = self.times.steps(running, step.kv_tokens, step.count) * self.slow

    def finish(self, step: BatchStep) -> list[Sequence]:
        """Make the step's tokens; returns the sequences that are complete, which leave the batch."""
        for sequence in step.made:
            sequence.made += step.count
        ended = [sequence for sequence in step.made if sequence.done and sequence in self.running]
        for sequence in ended:
            self._end(sequence)
        return ended

    def _start(self, sequence: Sequence, now: float) -> None:
        """Give it memory. The last token of a prompt is computed in any case: it makes the first one of the answer."""
        known = min(self.prefix.known(sequence.blocks), (sequence.prompt - 1) // PREFIX_TOKENS) * PREFIX_TOKENS
        self.prefix.hold(sequence.blocks)
        self.prefix_queries += sequence.prompt
        self.prefix_hits += known
        sequence.cached, sequence.left = known, sequence.prompt + sequence.made - known
        sequence.started = sequence.started or now
        self.running.append(sequence)

    def _has_place(self, adapter: str) -> bool:
        """Whether an adapter may come into this batch: those that it has stay until their last request ends."""
        loaded = {sequence.adapter for sequence in self.running if sequence.adapter}
        return adapter in loaded or len(loaded) < self.limits.max_adapters

    @staticmethod
    def _compute(sequence: Sequence, budget: int) -> int:
        """Compute a piece of its prompt; returns how many tokens."""
        piece = min(sequence.left, budget)
        sequence.left -= piece
        return piece

    def _end(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.prefix.release(sequence.blocks)

    def _alike(self, used: int) -> int:
        """For how many steps nobody ends and memory lasts."""
        room = (self.limits.kv_tokens - used) // len(self.running) - BLOCK_TOKENS
        return max(1, min(room, *(sequence.output - sequence.made for sequence in self.running)))

    def _make_room(self) -> None:
        while len(self.running) > 1 and self.kv_used > self.limits.kv_tokens:
            victim = self.running[-1]
            self._end(victim)
            victim.preemptions += 1
            self.preemptions += 1
            self.waiting.appendleft(victim)
