"""What one more replica is worth: the requests that it keeps from leaving, beside what it costs.

Concurrent requests vary around their mean m: as a Poisson variable does, with variance m, where clients are many and
alone; by more where they come in bursts, which is measured. In a pool of so many slots, `E[max(D - slots, 0)]` of them
find none, which for a normal D is the loss function of inventory theory: (m - slots) * Phi(u) + s * phi(u), with
u = (m - slots) / s and s the standard deviation.
"""

from dataclasses import dataclass
from math import erf, exp, pi, sqrt
from typing import Final

PAYBACK_SECONDS: Final = 3600.0
"""How soon a replica has to pay for what it costs while it starts, and while the pool waits before it lets it go."""
_ROOT_HALF: Final = sqrt(0.5)
_DENSITY: Final = 1.0 / sqrt(2.0 * pi)


@dataclass(frozen=True, slots=True)
class BreakEven:
    """US dollars: a replica for an hour, and one request after the other at the provider for an hour."""

    replica_hour: float
    request_hour: float

    def to_start(self, bound_seconds: float) -> float:
        """Requests that a replica must keep from leaving to be started, if it is paid for so long without serving."""
        return self.replica_hour / self.request_hour * (1.0 + bound_seconds / PAYBACK_SECONDS)

    def to_stay(self) -> float:
        """Requests that a replica must keep from leaving to stay."""
        return self.replica_hour / self.request_hour


@dataclass(frozen=True, slots=True)
class DemandDistribution:
    """Concurrent requests: their mean, and their variance, which is never less than the mean."""

    mean: float
    variance: float = 0.0

    def beyond(self, slots: float) -> float:
        """Mean concurrent requests that find none of these slots."""
        if self.mean <= 0.0:
            return 0.0
        deviation = sqrt(max(self.mean, self.variance))
        over = self.mean - slots
        u = over / deviation
        return max(over * 0.5 * (1.0 + erf(u * _ROOT_HALF)) + deviation * _DENSITY * exp(-0.5 * u * u), 0.0)

    def kept(self, replicas: int, capacity: int) -> float:
        """Mean concurrent requests that the last of so many replicas keeps from leaving."""
        return self.beyond((replicas - 1) * capacity) - self.beyond(replicas * capacity)

    def worthwhile(self, capacity: int, least: float, most: int) -> int:
        """The most replicas, up to `most`, of which the last one still keeps `least` requests from leaving."""
        low, high = 0, most  # a replica never keeps more than the one before, so halving finds it
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.kept(middle, capacity) >= least else (low, middle - 1)
        return low
