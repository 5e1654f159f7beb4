"""What a month costs, and where local begins to win: on which basis, against which price."""

from itertools import islice, pairwise
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.prices import shipped
from forebay.rules.cost import (
    CLAIM_TOKENS,
    MONTH_HOURS,
    Basis,
    BasisName,
    Hardware,
    MonthlyDemand,
    Price,
    basis,
    bill,
    break_even,
    cheapest,
    for_the_peak,
    taken_by,
)
from testing.examples import examples

SLOTS = 32
UNIT = 1_000_000
HARDWARE = Hardware()


def chat(price: Price) -> MonthlyDemand:
    """A million tokens, three read for one written, all of which the pool could serve, and endless capacity."""
    usd = price.of(0.75 * UNIT, 0.25 * UNIT)
    return MonthlyDemand(UNIT, usd, usd)


def priced(model: str) -> Price:
    return next(price for price in shipped() if price.model == model)


@pytest.mark.parametrize(
    ("name", "replica", "fleet"),
    [
        (BasisName.ELECTRICITY, 0.6 * 730 * 0.15, 0),
        (BasisName.OWNED, 15_000 / 36 + 0.6 * 730 * 0.15, 500),
        (BasisName.RENTED, 2 * 730, 0),
    ],
)
def test_what_a_replica_costs_on_each_basis(name: BasisName, replica: float, fleet: float) -> None:
    found = basis(name, HARDWARE)
    assert (found.replica, found.fleet) == (pytest.approx(replica), fleet)
    assert basis(name, HARDWARE, gpus=4).replica == pytest.approx(4 * replica)
    assert found.of(0) == 0


@pytest.mark.parametrize(
    ("name", "model", "millions"),
    [
        # The claim: electricity alone, against a frontier model.
        (BasisName.ELECTRICITY, "claude-opus-5", 6.57),
        (BasisName.ELECTRICITY, "gpt-5.6", 8.21),
        (BasisName.ELECTRICITY, "gpt-5.6-terra", 14.6),
        (BasisName.ELECTRICITY, "claude-sonnet-5", 16.4),
        # Where it does not hold: against small models, ...
        (BasisName.ELECTRICITY, "gpt-5.4-mini", 38.9),
        (BasisName.ELECTRICITY, "gpt-5.6-luna", 146),
        (BasisName.ELECTRICITY, "gpt-5-nano", 478),
        # ... once the hardware has to be paid, ...
        (BasisName.OWNED, "gpt-5.6", 123),
        (BasisName.OWNED, "gpt-5.4-mini", 582),
        (BasisName.OWNED, "gpt-5.6-luna", 2_183),
        # ... or is rented.
        (BasisName.RENTED, "gpt-5.6", 182),
        (BasisName.RENTED, "gpt-5.4-mini", 865),
        (BasisName.RENTED, "gpt-5.6-luna", 3_244),
    ],
)
def test_where_local_begins_to_win(name: BasisName, model: str, millions: float) -> None:
    found = break_even(basis(name, HARDWARE), chat(priced(model)), SLOTS)
    assert found is not None
    assert found / UNIT == pytest.approx(millions, rel=0.005)


def test_the_claim_of_ten_million_holds_for_electricity_against_a_frontier_price_alone() -> None:
    def times(name: BasisName, model: str) -> float:
        return (break_even(basis(name, HARDWARE), chat(priced(model)), SLOTS) or 0.0) / CLAIM_TOKENS

    assert 0.5 < times(BasisName.ELECTRICITY, "gpt-5.6") < 2
    assert times(BasisName.OWNED, "gpt-5.6") > 10
    assert times(BasisName.ELECTRICITY, "gpt-5.4-mini") > 3
    assert times(BasisName.RENTED, "gpt-5.6-luna") > 300


def test_cached_tokens_have_their_own_price() -> None:
    price = Price("p", "m", input=4, output=20, cached=0.4)
    assert price.of(1e6, 1e6) == pytest.approx(24)
    assert price.of(1e6, 1e6, cached_tokens=5e5) == pytest.approx(22.2)
    assert Price("p", "m", 4, 20).of(1e6, 0, 5e5) == pytest.approx(4)


def test_a_replica_that_cannot_pay_for_itself_even_when_full_never_wins() -> None:
    # 320 slots in use save 100 dollars: 32 of them save 10 at most.
    demand = MonthlyDemand(tokens=1e9, cloud_usd=100, servable_usd=100, loads=(320.0,) * 3)
    assert break_even(Basis(BasisName.RENTED, 10.1), demand, SLOTS) is None
    assert cheapest(Basis(BasisName.RENTED, 10.1), demand, SLOTS, volume=50).replicas == 0
    assert break_even(Basis(BasisName.RENTED, 9), demand, SLOTS) is not None


def test_the_best_size_leaves_rare_peaks_to_the_cloud() -> None:
    # The first 32 slots take 90 % of the money, the next 32 the rest.
    carried = tuple(0.9 * m / 32 for m in range(33)) + tuple(0.9 + 0.1 * m / 32 for m in range(1, 33))
    demand = MonthlyDemand(1e9, 1000, 1000, carried=carried)
    assert for_the_peak(Basis(BasisName.RENTED, 99), demand, SLOTS).replicas == 2
    assert cheapest(Basis(BasisName.RENTED, 99), demand, SLOTS).replicas == 2
    best = cheapest(Basis(BasisName.RENTED, 101), demand, SLOTS)
    assert (best.replicas, best.cloud, best.local) == (1, pytest.approx(100), pytest.approx(0.9))


def test_what_the_model_cannot_serve_is_paid_to_the_cloud_at_every_size() -> None:
    demand = MonthlyDemand(1e6, cloud_usd=100, servable_usd=60)
    assert bill(Basis(BasisName.OWNED, 1), demand, SLOTS, 10).cloud == pytest.approx(40)


@pytest.mark.parametrize(
    ("load", "slots", "taken"),
    [(1, 1, 0.5), (10, 10, 0.7854), (20, 30, 0.9915), (100, 90, 0.8539)],  # Erlang's table: 1 - B
)
def test_another_volume_is_judged_by_erlangs_formula(load: float, slots: int, taken: float) -> None:
    half = MonthlyDemand(1e6, 1, 1, loads=(load / 2, load / 2))
    assert next(islice(taken_by(half, slots, volume=2), 1, None)) == pytest.approx(taken, abs=1e-4)
    states = [load**busy / factorial(busy) for busy in range(slots + 1)]
    assert taken == pytest.approx(1 - states[-1] / sum(states), abs=1e-4)


def test_peaks_grow_with_the_volume() -> None:
    even, uneven = MonthlyDemand(1, 1, 1, loads=(10, 10)), MonthlyDemand(1, 1, 1, loads=(1, 19))
    for volume in (0.5, 2, 5):
        one, other = (list(islice(taken_by(demand, 8, volume), 5)) for demand in (even, uneven))
        assert all(a > b for a, b in zip(one[1:], other[1:], strict=True))


shapes = st.lists(st.floats(0, 200), min_size=1, max_size=12).map(tuple)


@given(shapes, st.floats(0, 1), st.floats(1e-2, 20), st.floats(0.1, 1e4), st.floats(0, 1e4))
def test_local_first_at_its_best_never_costs_more_than_the_cloud_alone(
    loads: tuple[float, ...], servable: float, volume: float, replica: float, fleet: float
) -> None:
    demand = MonthlyDemand(1e6, 500, 500 * servable, loads)
    found = cheapest(Basis(BasisName.OWNED, replica, fleet), demand, 8, volume)
    assert found.total <= volume * 500 * (1 + 1e-9)
    assert -1e-9 <= found.local <= servable + 1e-9


@given(shapes, st.floats(0.5, 10))
def test_more_replicas_take_more_and_each_takes_less_than_the_one_before(
    loads: tuple[float, ...], volume: float
) -> None:
    taken = list(islice(taken_by(MonthlyDemand(1, 1, 1, loads), 8, volume), 30))
    gains = [after - before for before, after in pairwise(taken)]
    assert all(gain >= -1e-9 for gain in gains)
    assert all(before >= after - 1e-9 for before, after in pairwise(gains))


@examples(0.4)
@given(st.floats(1, 1e4), st.floats(0, 1e4), st.floats(0.01, 1e3), shapes)
def test_below_the_break_even_the_cloud_wins_and_above_it_local(
    replica: float, fleet: float, usd: float, loads: tuple[float, ...]
) -> None:
    basis, demand = Basis(BasisName.OWNED, replica, fleet), MonthlyDemand(UNIT, usd, usd, loads)
    point = break_even(basis, demand, 4)
    if point is not None:
        assert cheapest(basis, demand, 4, point / UNIT * 1.001).replicas > 0
        assert cheapest(basis, demand, 4, point / UNIT * 0.999).replicas == 0


def test_a_month_is_a_twelfth_of_a_year() -> None:
    assert MONTH_HOURS == 365 * 24 / 12
