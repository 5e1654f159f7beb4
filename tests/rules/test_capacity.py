"""How much a replica runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import CapacityBound as Bound
from forebay.rules.capacity import (
    TYPICAL_TOKENS,
    CapacityInputs,
    Learnt,
    ReplicaCapacity,
    capacity,
    high_reserve,
    moved,
    slot_tokens,
    told,
    weight,
)

LEARNT = Learnt(40, Bound.LATENCY, 100_000)


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
        (CapacityInputs(kv_tokens=100_000, live_tokens=2000, latency=20), 20, Bound.LATENCY),
        (CapacityInputs(kv_tokens=100_000, live_tokens=2000, latency=90), 50, Bound.MEMORY),
        (CapacityInputs(table=44), 44, Bound.TABLE),
        (CapacityInputs(table=44, max_num_seqs=16), 16, Bound.MAX_NUM_SEQS),
        (CapacityInputs(table=44, kv_tokens=20_480), 10, Bound.MEMORY),
        (CapacityInputs(learnt=LEARNT), 40, Bound.LATENCY),
        (CapacityInputs(learnt=LEARNT, kv_tokens=1_000_000, latency=3, table=5), 40, Bound.LATENCY),
        (CapacityInputs(learnt=LEARNT, kv_tokens=50_000), 20, Bound.LATENCY),
        (CapacityInputs(learnt=LEARNT, max_num_seqs=8), 8, Bound.MAX_NUM_SEQS),
        (CapacityInputs(learnt=LEARNT, override=64), 64, Bound.OVERRIDE),
    ],
)
def test_the_smallest_known_bound_decides(inputs: CapacityInputs, slots: int, bound: Bound) -> None:
    found = capacity(inputs)
    assert (found.slots, found.bound) == (slots, bound)


@given(st.floats(1, 2000), st.floats(1, 2000), st.floats(0, 48))
def test_c_moves_two_percent_an_hour_up_and_five_down_at_most_and_never_past_its_target(
    exact: float, target: float, hours: float
) -> None:
    after = moved(exact, target, hours)
    assert exact * 0.95**hours * 0.999999 <= after <= exact * 1.02**hours * 1.000001
    assert min(exact, target) <= after <= max(exact, target)


@given(st.integers(1, 500), st.floats(1, 500))
def test_routers_are_told_of_steps_and_of_nothing_smaller(slots: int, exact: float) -> None:
    new = told(slots, exact)
    assert new == slots or abs(exact - slots) >= max(1, 0.05 * slots)
    assert told(new, exact) == new  # and that is the end of it


def test_a_slot_has_room_for_what_c_was_made_from_whatever_c_is() -> None:
    """Were it the live tokens themselves, every request would weigh two slots while C is still on its way."""
    still_many = ReplicaCapacity(50, Bound.MEMORY)
    assert slot_tokens(still_many, 100_000) == 2000
    assert weight(3900, still_many, slot_tokens(still_many, 100_000)) == 1
    assert weight(4100, still_many, slot_tokens(still_many, 100_000)) == 2
    assert weight(99_000, still_many, slot_tokens(still_many, 100_000)) == 25
    assert slot_tokens(ReplicaCapacity(50, Bound.LATENCY), 100_000) == TYPICAL_TOKENS


@pytest.mark.parametrize(
    ("bound", "tokens", "sequences", "slots"),
    [
        (Bound.LATENCY, 900, 1, 1), (Bound.LATENCY, 900, 8, 8), (Bound.LATENCY, 99_000, 1, 1),
        (Bound.LATENCY, 900, 2**31, 25), (Bound.LATENCY, 900, 0, 1), (Bound.LATENCY, 900, -7, 1),
        (Bound.MEMORY, 900, 8, 8), (Bound.MEMORY, 20_000, 8, 10), (Bound.MEMORY, 20_000, 12, 12),
    ],
)  # fmt: skip
def test_each_sequence_takes_a_slot_whatever_the_bound(bound: Bound, tokens: int, sequences: int, slots: int) -> None:
    assert weight(tokens, ReplicaCapacity(50, bound), 2_000, sequences) == slots


@pytest.mark.parametrize(("slots", "percent", "kept"), [(3, 90, 0), (4, 10, 0), (10, 10, 1), (19, 10, 1), (40, 25, 10)])
def test_highs_reserve_is_the_floor_of_its_share(slots: int, percent: int, kept: int) -> None:
    assert high_reserve(slots, percent) == kept
