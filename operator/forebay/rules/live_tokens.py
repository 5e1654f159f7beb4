"""How many tokens a pool's requests keep in an engine's cache, from the lengths that the engine has counted.

vLLM counts prompts and answers in two histograms, each with its sum. Nobody says which prompt had which answer; they
are taken as independent. Where in its bucket a request lies follows from the sum: the buckets are wide (1, 2, 5, 10,
...). On five recorded traces p90 comes out 5 % too small to 21 % too large, without the sums 5 % to 29 % too large.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

Counts = tuple[tuple[float, float], ...]
"""Requests by the upper bound of their tokens: above the bound before, and at most this one. In ascending order."""

REQUESTS_TO_TRUST: Final = 100
COVERED_SHARE: Final = 0.9
_POINTS: Final = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
"""The requests of a bucket are taken to be at these quantiles of it, a quarter of them each."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Lengths in tokens: requests by bucket, and the sum over all of them."""

    counts: Counts = ()
    total: float = 0.0

    @property
    def requests(self) -> float:
        """How many were counted."""
        return sum(count for _, count in self.counts)

    def plus(self, other: "Histogram", share: float = 1.0) -> "Histogram":
        """Both together, the other one times `share`. Engines of different limits have different buckets."""
        sums = dict(self.counts)
        for bound, count in other.counts:
            sums[bound] = sums.get(bound, 0.0) + share * count
        return Histogram(tuple(sorted(sums.items())), self.total + share * other.total)

    def points(self) -> list[tuple[float, float]]:
        """Lengths and their masses. Within a bucket they are spread as low + (high - low) * u ** power."""
        lows = (0.0, *(bound for bound, _ in self.counts))
        buckets = [(low, high, count) for low, (high, count) in zip(lows, self.counts, strict=False) if count > 0]
        least = sum(low * count for low, _, count in buckets)
        room = sum((high - low) * count for low, high, count in buckets)
        share = min(0.95, max(0.05, (self.total - least) / room)) if room else 0.5
        power = 1 / share - 1  # so that the mean of u ** power is that share
        mass = 1 / len(_POINTS)
        return [(low + (high - low) * u**power, count * mass) for low, high, count in buckets for u in _POINTS]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Prompts and answers, counted over the same requests."""

    prompts: Histogram = Histogram()
    answers: Histogram = Histogram()

    def plus(self, other: "Lengths", share: float = 1.0) -> "Lengths":
        """Both together, the other one times `share`."""
        return Lengths(self.prompts.plus(other.prompts, share), self.answers.plus(other.answers, share))

    def since(self, before: "Lengths") -> "Lengths | None":
        """What totals grew by; None where one fell, so that the engine must have begun anew."""
        grown = self.plus(before, -1.0)
        counts = (*grown.prompts.counts, *grown.answers.counts)
        return grown if all(count >= 0 for _, count in counts) else None

    def p90(self) -> int | None:
        """Tokens that nine in ten requests hold at most, at their end; None while too few were counted."""
        if self.prompts.requests < REQUESTS_TO_TRUST:
            return None
        answers = self.answers.points() or [(0.0, 1.0)]
        sums = sorted((p + a, m * n) for p, m in self.prompts.points() for a, n in answers)
        reached = accumulate(mass for _, mass in sums)
        place = bisect_left(list(reached), COVERED_SHARE * sum(mass for _, mass in sums))
        return max(1, round(sums[place][0]))
