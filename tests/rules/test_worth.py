"""What one more replica is worth: against counting, and what must always hold."""

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.worth import BreakEven, beyond, kept, worthwhile


@pytest.mark.parametrize(("mean", "slots"), [(8, 9), (18, 18), (25, 36), (60, 54)])
def test_what_finds_no_slot_is_as_if_one_counted(mean: float, slots: int) -> None:
    rng = random.Random(1)
    counted = fmean(max(rng.gauss(mean, mean**0.5) - slots, 0.0) for _ in range(200_000))
    assert beyond(mean, slots) == pytest.approx(counted, abs=0.02)


def test_a_replica_has_to_pay_for_its_start_but_not_for_staying() -> None:
    prices = BreakEven(replica_hour=4.0, request_hour=2.0)
    assert prices.to_start(0) == 2.0
    assert prices.to_start(1800) == 3.0
    assert prices.to_stay() == pytest.approx(1.6)


means, capacities = st.floats(0, 500), st.integers(1, 64)


@given(means, capacities, st.integers(1, 20))
def test_a_replica_keeps_no_more_than_its_slots_and_no_more_than_the_one_before(
    mean: float, capacity: int, replicas: int
) -> None:
    assert -1e-9 <= kept(mean, replicas, capacity) <= capacity + 1e-9
    assert kept(mean, replicas + 1, capacity) <= kept(mean, replicas, capacity) + 1e-9


@given(means, st.floats(0, 50), capacities, st.floats(0.01, 64))
def test_more_demand_is_never_worth_fewer_replicas(mean: float, more: float, capacity: int, least: float) -> None:
    assert worthwhile(mean + more, capacity, least, 40) >= worthwhile(mean, capacity, least, 40)


@given(means, capacities, st.floats(0.01, 64))
def test_every_replica_that_is_worth_it_pays_and_the_next_does_not(mean: float, capacity: int, least: float) -> None:
    found = worthwhile(mean, capacity, least, 40)
    assert found == 0 or kept(mean, found, capacity) >= least
    assert found == 40 or kept(mean, found + 1, capacity) < least
