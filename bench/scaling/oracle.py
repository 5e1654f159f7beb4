"""Perfect foresight: the fewest GPU-hours that hold a load, given that a replica takes its time to start.

The oracle knows the mean demand D of every minute to come, and wants `ceil(D / (u * C))` replicas in it. Each is asked
for a cold start ahead, so that it serves on time, and kept across a pause that is shorter than a cold start, because to
keep it costs less than to start it again. u is the highest load, in steps of 0.025, at which no more than 1 % of the
requests leave; where even 0.2 does not do, that one.
"""

from bisect import bisect_right
from dataclasses import replace
from math import ceil
from typing import Final

from bench.scaling.load import Load
from bench.scaling.play import Outcome, Setup, play
from forebay.replay.scaler import ScalerView

LOADS: Final = tuple(step * 0.025 for step in range(8, 49))
OVERFLOW: Final = 0.01
STEP: Final = 60.0


class Plan:
    """A size for every moment, written beforehand."""

    period = 15.0

    def __init__(self, changes: list[tuple[float, int]]) -> None:
        self.times = [time for time, _ in changes]
        self.sizes = [size for _, size in changes]

    def decide(self, seen: ScalerView) -> int:
        """The size that was written."""
        return self.sizes[max(0, bisect_right(self.times, seen.now) - 1)]


def plan(needs: list[int], cold_start: float) -> list[tuple[float, int]]:
    """When to ask for which size, so that every step has the replicas that it needs."""
    changes: dict[float, int] = {}
    for level in range(1, max(needs) + 1):
        begin = end = None
        for index, need in enumerate([*needs, 0]):
            now = index * STEP
            if need >= level:
                if end is not None and begin is not None and now - end > cold_start:
                    _add(changes, begin - cold_start, end)
                    begin = None
                begin, end = now if begin is None else begin, now + STEP
        if begin is not None and end is not None:
            _add(changes, begin - cold_start, end)
    size, found = 0, []
    for time in sorted(changes):
        size += changes[time]
        found.append((time, size))
    return found


def _add(changes: dict[float, int], begin: float, end: float) -> None:
    changes[max(begin, 0.0)] = changes.get(max(begin, 0.0), 0) + 1
    changes[end] = changes.get(end, 0) - 1


def oracle(load: Load, setup: Setup) -> tuple[float, Outcome]:
    """The load factor u that holds the load, and what it comes to."""
    demand = load.demand(STEP)

    def at(factor: float) -> Outcome:
        needs = [
            min(max(ceil(value / (factor * setup.capacity) - 1e-9), setup.minimum), setup.maximum) for value in demand
        ]
        return play(load, setup, Plan(plan(needs, setup.cold_start)), needs[0])

    best = LOADS[0], at(LOADS[0])
    low, high = 1, len(LOADS)
    while low < high:
        middle = (low + high) // 2
        found = at(LOADS[middle])
        if found.overflow_share <= OVERFLOW:
            best, low = (LOADS[middle], found), middle + 1
        else:
            high = middle
    return best


def peak(load: Load, setup: Setup) -> int:
    """The size that never has to grow: of the busiest minute at 90 %."""
    return min(setup.maximum, max(setup.minimum, ceil(max(load.demand(STEP)) / (0.9 * setup.capacity))))


def without_cloud(setup: Setup) -> Setup:
    """The same pool with nobody behind it."""
    return replace(setup, cloud=False)
