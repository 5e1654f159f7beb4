"""Which slot each request would take: all sizes of a pool from one pass over its arrivals.

Slots are numbered, and a request takes the lowest one that is free (telephone engineers call it ordered hunting).
The first m slots do not notice whether others stand behind them: what they take is what a pool of m slots takes whose
overflow leaves at once, which is the rule for one pool with a cloud behind it. So a request with slot number s is
served by every pool with more than s slots, and is overflow of every smaller one. That holds as well where the time
depends on the slot.
"""

from array import array
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

NOWHERE = 2**32 - 1
"""Slot of a request that the pool cannot serve at any size."""


def assign_slots(
    arrivals: Iterable[tuple[float, float]], held_up: Callable[[int], float] = lambda _: 0.0
) -> "array[int]":
    """Slot number of each arrival, given as its time and how long it holds the slot, in order of time (seconds).

    `held_up` is by how much longer it holds a slot of this number, because of those that run beside it.
    """
    taken: list[tuple[float, int]] = []  # end, slot
    free: list[int] = []
    slots = array("I")
    known = 0
    for at, seconds in arrivals:
        while taken and taken[0][0] <= at:
            heappush(free, heappop(taken)[1])
        if free:
            slot = heappop(free)
        else:
            slot, known = known, known + 1
        heappush(taken, (at + seconds + held_up(slot), slot))
        slots.append(slot)
    return slots
