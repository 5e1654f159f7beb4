"""What a month costs, and where local begins to win: on which basis, against which price."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.prices import shipped
from forebay.rules.cost import (
    CLAIM_TOKENS,
    MONTH_HOURS,
    Basis,
    BasisName,
    Demand,
    Hardware,
    Price,
    basis,
    bill,
    break_even,
    cheapest,
    most_replicas,
)

SLOTS = 32
ENDLESS = 10**9  # slots: whether one replica can take it all is another question
UNIT = 1_000_000
HARDWARE = Hardware()


def chat(price: Price, carried: tuple[float, ...] = (0.0, 1.0)) -> Demand:
    """A million tokens, three read for one written, all of which the pool could serve."""
    usd = price.of(0.75 * UNIT, 0.25 * UNIT)
    return Demand(UNIT, usd, usd, carried)


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
    found = break_even(basis(name, HARDWARE), chat(priced(model)), ENDLESS)
    assert found is not None
    assert found / UNIT == pytest.approx(millions, rel=0.005)


def test_the_claim_of_ten_million_holds_for_electricity_against_a_frontier_price_alone() -> None:
    def times(name: BasisName, model: str) -> float:
        return (break_even(basis(name, HARDWARE), chat(priced(model)), ENDLESS) or 0.0) / CLAIM_TOKENS

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
    dear = Basis(BasisName.RENTED, replica=1000)
    cheap = Demand(tokens=1e9, cloud_usd=100, servable_usd=100, carried=tuple(m / 320 for m in range(321)))
    assert break_even(dear, cheap, SLOTS) is None
    assert cheapest(dear, cheap, SLOTS, volume=50).replicas == 0


def test_the_best_size_leaves_rare_peaks_to_the_cloud() -> None:
    # The first 32 slots take 90 % of the money, the next 32 the rest.
    carried = tuple(0.9 * m / 32 for m in range(33)) + tuple(0.9 + 0.1 * m / 32 for m in range(1, 33))
    demand = Demand(1e9, 1000, 1000, carried)
    assert most_replicas(demand, SLOTS) == 2
    assert cheapest(Basis(BasisName.RENTED, 99), demand, SLOTS).replicas == 2
    best = cheapest(Basis(BasisName.RENTED, 101), demand, SLOTS)
    assert (best.replicas, best.cloud, best.local) == (1, pytest.approx(100), pytest.approx(0.9))


def test_what_the_model_cannot_serve_is_paid_to_the_cloud_at_every_size() -> None:
    demand = Demand(1e6, cloud_usd=100, servable_usd=60)
    assert bill(Basis(BasisName.OWNED, 1), demand, SLOTS, 10).cloud == pytest.approx(40)


shapes = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(lambda parts: sorted(parts, reverse=True))


@given(shapes, st.floats(0, 1), st.floats(1e-3, 1e3), st.floats(0.1, 1e4), st.floats(0, 1e4))
def test_local_first_at_its_best_never_costs_more_than_the_cloud_alone(
    parts: list[float], servable: float, volume: float, replica: float, fleet: float
) -> None:
    whole, carried = sum(parts) or 1.0, [0.0]
    for part in parts:
        carried.append(min(1.0, carried[-1] + part / whole))
    demand = Demand(1e6, 500, 500 * servable, tuple(carried))
    found = cheapest(Basis(BasisName.OWNED, replica, fleet), demand, 8, volume)
    assert found.total <= volume * 500 * (1 + 1e-9)
    assert 0 <= found.local <= servable + 1e-9


@given(st.floats(1, 1e4), st.floats(0, 1e4), st.floats(0.01, 1e3))
def test_below_the_break_even_the_cloud_wins_and_above_it_local(replica: float, fleet: float, usd: float) -> None:
    basis, demand = Basis(BasisName.OWNED, replica, fleet), Demand(UNIT, usd, usd, (0.0, 0.5, 0.8, 1.0))
    point = break_even(basis, demand, 1)
    if point is not None:
        assert cheapest(basis, demand, 1, point / UNIT * 1.001).replicas > 0
        assert cheapest(basis, demand, 1, point / UNIT * 0.999).replicas == 0


def test_a_month_is_a_twelfth_of_a_year() -> None:
    assert MONTH_HOURS == 365 * 24 / 12
