"""What one more replica is worth: against counting, and what must always hold."""

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.marginal_value import BreakEven, DemandDistribution


@pytest.mark.parametrize(
    ("mean", "variance", "slots"), [(8, 0, 9), (18, 18, 18), (25, 0, 36), (60, 0, 54), (20, 90, 27)]
)
def test_what_finds_no_slot_is_as_if_one_counted(mean: float, variance: float, slots: int) -> None:
    rng = random.Random(1)
    counted = fmean(max(rng.gauss(mean, max(mean, variance) ** 0.5) - slots, 0.0) for _ in range(100_000))
    assert DemandDistribution(mean, variance).beyond(slots) == pytest.approx(counted, rel=0.02, abs=0.01)


def test_bursts_make_a_replica_worth_more_that_would_stand_idle_otherwise() -> None:
    assert DemandDistribution(9, 100).kept(3, 9) > 10 * DemandDistribution(9).kept(3, 9)


def test_a_replica_has_to_pay_for_its_start_but_not_for_staying() -> None:
    prices = BreakEven(replica_hour=4.0, request_hour=2.0)
    assert prices.to_start(0) == 2.0
    assert prices.to_start(1800) == 3.0
    assert prices.to_stay() == 2.0


capacities = st.integers(1, 64)
spreads = st.builds(DemandDistribution, st.floats(0, 500), st.floats(0, 2000))


@given(spreads, capacities, st.integers(1, 20))
def test_a_replica_keeps_no_more_than_its_slots_and_no_more_than_the_one_before(
    spread: DemandDistribution, capacity: int, replicas: int
) -> None:
    assert -1e-9 <= spread.kept(replicas, capacity) <= capacity + 1e-9
    assert spread.kept(replicas + 1, capacity) <= spread.kept(replicas, capacity) + 1e-9


@given(spreads, st.floats(0, 50), capacities, st.floats(0.01, 64))
def test_more_demand_is_never_worth_fewer_replicas(
    spread: DemandDistribution, more: float, capacity: int, least: float
) -> None:
    higher = DemandDistribution(spread.mean + more, spread.variance)
    assert higher.worthwhile(capacity, least, 40) >= spread.worthwhile(capacity, least, 40)


@given(spreads, capacities, st.floats(0.01, 64))
def test_every_replica_that_is_worth_it_pays_and_the_next_does_not(
    spread: DemandDistribution, capacity: int, least: float
) -> None:
    found = spread.worthwhile(capacity, least, 40)
    assert found == 0 or spread.kept(found, capacity) >= least
    assert found == 40 or spread.kept(found + 1, capacity) < least
