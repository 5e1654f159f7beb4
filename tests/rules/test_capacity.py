"""How much a replica runs."""

import pytest

from forebay.rules.capacity import Bound, CapacityInputs, capacity, high_reserve


@pytest.mark.parametrize(
    ("inputs", "slots", "bound"),
    [
        (CapacityInputs(), 32, Bound.UNKNOWN),
        (CapacityInputs(override=8), 8, Bound.OVERRIDE),
        (CapacityInputs(override=8, max_num_seqs=4), 4, Bound.MAX_NUM_SEQS),
        (CapacityInputs(max_num_seqs=256), 32, Bound.UNKNOWN),
        (CapacityInputs(max_num_seqs=16), 16, Bound.MAX_NUM_SEQS),
        (CapacityInputs(max_num_seqs=256, kv_tokens=100_000, live_tokens=2000), 50, Bound.MEMORY),
        (CapacityInputs(kv_tokens=100, live_tokens=2000), 1, Bound.MEMORY),
    ],
)
def test_the_smallest_known_bound_decides(inputs: CapacityInputs, slots: int, bound: Bound) -> None:
    found = capacity(inputs)
    assert (found.slots, found.bound) == (slots, bound)


@pytest.mark.parametrize(("slots", "percent", "kept"), [(3, 90, 0), (4, 10, 0), (10, 10, 1), (19, 10, 1), (40, 25, 10)])
def test_highs_reserve_is_the_floor_of_its_share(slots: int, percent: int, kept: int) -> None:
    assert high_reserve(slots, percent) == kept
