"""Ordered hunting answers for every size of a pool at once."""

from heapq import heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.profile.slot_assignment import assign_slots

arrivals = st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 30)), max_size=120).map(sorted)


def alone(requests: list[tuple[float, float]], slots: int) -> list[bool]:
    """Which requests a pool of so many slots serves, if what finds none free leaves at once."""
    ends: list[float] = []
    served = []
    for at, seconds in requests:
        while ends and ends[0] <= at:
            heappop(ends)
        served.append(len(ends) < slots)
        if served[-1]:
            heappush(ends, at + seconds)
    return served


@given(arrivals, st.integers(0, 12))
def test_the_first_slots_serve_what_a_pool_of_that_size_serves(requests: list[tuple[float, float]], slots: int) -> None:
    assert [slot < slots for slot in assign_slots(requests)] == alone(requests, slots)


def test_a_slot_that_is_free_again_is_taken_again() -> None:
    assert list(assign_slots([(0, 5), (1, 1), (3, 1), (4, 9), (4.5, 1), (5, 1)])) == [0, 1, 1, 1, 2, 0]
