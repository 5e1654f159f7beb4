"""The arithmetic of `cost`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.cost.bill import IDLE, NO_POOL, By, bill_rows, one_less, one_more, slots_of_a_replica, total
from forebay.cli.cost.period import BilledPeriod, Moment, PoolUse, Use
from forebay.resources.usage import LOCAL
from forebay.rules.cost import Price

PRICE = Price("acme", "small", input=1.0, output=4.0)
HOUR = 3600.0


def use(pool: str = "chat", destination: str = LOCAL, client: str = "batch", **more: float) -> Use:
    usual = {"requests": 10.0, "seconds": 100.0, "input_tokens": 1000.0, "output_tokens": 0.0, "dollars": 0.0}
    capability, priority = "general", "Normal"
    return Use(pool, destination, client, priority, capability, **{**usual, **more})


def pool(name: str = "chat", **more: object) -> PoolUse:
    usual: dict[str, object] = {
        "gpus": 1, "gpu_hour_price": 1.2, "gpu_hours": 2.0, "prompt_tokens": 1e6, "generation_tokens": 5e5,
    }  # fmt: skip
    return PoolUse(name, **{**usual, **more})  # type: ignore[arg-type]


def period(*uses: Use, pools: tuple[PoolUse, ...] = (pool(),)) -> BilledPeriod:
    return BilledPeriod("demo", 0.0, HOUR, "test", pools, uses, {item.name: PRICE for item in pools})


def test_a_pool_costs_its_gpus_and_saves_what_its_tokens_would_have_cost() -> None:
    (line,) = bill_rows(period(use()), By.POOL)
    assert (line.hardware, line.cloud, line.local_requests) == (2.4, 0.0, 10.0)
    assert line.all_cloud == pytest.approx(1.0 + 2.0)  # a million tokens in at $1, half a million out at $4
    assert line.saved == pytest.approx(0.6)


def test_what_overflowed_costs_what_the_provider_counted_in_either_case() -> None:
    (line,) = bill_rows(period(use(), use(destination="acme/large", dollars=0.5, output_tokens=70.0)), By.POOL)
    assert (line.cloud_requests, line.cloud) == (10.0, 0.5)
    assert line.all_cloud == pytest.approx(3.5)
    assert line.saved == pytest.approx(0.6)


def test_clients_share_the_gpus_by_service_time_and_prompts_by_their_tokens() -> None:
    bill = {line.name: line for line in bill_rows(period(
        use(client="a", seconds=75.0, input_tokens=1000.0), use(client="b", seconds=25.0, input_tokens=3000.0)
    ), By.CLIENT)}  # fmt: skip
    assert (bill["a"].hardware, bill["b"].hardware) == (pytest.approx(1.8), pytest.approx(0.6))
    assert (bill["a"].input_tokens, bill["b"].input_tokens) == (250_000, 750_000)
    assert (bill["a"].output_tokens, bill["b"].output_tokens) == (375_000, 125_000)


def test_gaps_stand_by_themselves() -> None:
    gap = use(pool="", destination="acme/large", dollars=0.25)
    assert {line.name: line.cloud for line in bill_rows(period(use(), gap), By.POOL)} == {"chat": 0.0, NO_POOL: 0.25}


def test_an_idle_pool_is_a_line_of_every_bill() -> None:
    quiet = period(use(), pools=(pool(), pool("sorter", gpu_hours=1.0)))
    assert {line.name: line.hardware for line in bill_rows(quiet, By.CLIENT)} == {"batch": 2.4, IDLE: 1.2}


def test_without_a_price_it_cannot_be_said() -> None:
    unknown = pool(gpu_hour_price=None)
    (line,) = bill_rows(period(use(), pools=(unknown,)), By.POOL)
    assert (line.hardware, line.total, line.saved) == (None, None, None)
    assert one_more(period(use(), pools=(unknown,)), pool(gpu_hour_price=None, moments=MOMENTS)).net is None


ROWS = st.lists(
    st.builds(use, st.sampled_from(["chat", "sorter", ""]), st.sampled_from([LOCAL, "acme/large"]),
              st.sampled_from(["a", "b"]), seconds=st.floats(0.1, 1e4), dollars=st.floats(0, 10)),
    max_size=12,
)  # fmt: skip


@given(ROWS)
def test_every_split_adds_up_to_the_same_total(rows: list[Use]) -> None:
    sensible = [row for row in rows if row.pool or not row.local]
    whole = period(*sensible, pools=(pool(), pool("sorter", gpu_hours=3.0)))
    sums = [total(bill_rows(whole, by)) for by in By]
    for other in sums[1:]:
        assert other.hardware == pytest.approx(sums[0].hardware)
        assert other.cloud == pytest.approx(sums[0].cloud)
        assert other.all_cloud == pytest.approx(sums[0].all_cloud)
    assert sums[0].hardware == pytest.approx(2.4 + 3.6)


MOMENTS = (
    Moment(1800, 1, 8, 8, 2, 4),  # full, half of a replica's worth overflows
    Moment(900, 1, 8, 8, 9, 16),  # full, two replicas' worth overflow
    Moment(900, 2, 16, 3, 0, 0),  # nearly idle
)


def test_one_replica_more_takes_what_overflowed_up_to_its_slots() -> None:
    spilled = use(destination="acme/large", dollars=2.16, seconds=4 * 1800 + 16 * 900)
    busy = pool(moments=MOMENTS)
    more = one_more(period(use(), spilled, pools=(busy,)), busy)
    home = 4 * 1800 + 8 * 900
    assert more.share == pytest.approx(home / (4 * 1800 + 16 * 900))
    assert (more.hardware, more.cloud) == (pytest.approx(1.2), pytest.approx(-2.16 * more.share))


def test_one_replica_less_sends_away_what_then_finds_no_slot() -> None:
    busy = pool(moments=MOMENTS)
    ran = 8 * 1800 + 8 * 900 + 3 * 900
    less = one_less(period(use(seconds=ran), pools=(busy,)), busy)
    assert slots_of_a_replica(busy) == 8
    assert less.share == pytest.approx((8 * 1800 + 8 * 900) / ran)
    assert (less.hardware, less.cloud) == (pytest.approx(-1.2), pytest.approx(3.0 * less.share))


def test_one_replica_less_of_an_idle_pool_only_saves() -> None:
    quiet = pool(moments=(Moment(3600, 2, 16, 3, 0, 0),))
    less = one_less(period(use(), pools=(quiet,)), quiet)
    assert (less.cloud, less.net) == (0.0, pytest.approx(-1.2))
