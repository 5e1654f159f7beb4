"""When a budget will be spent: exact where days are alike, honest where they are not, silent where little is known."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.budget.forecast import DAY, HISTORY, LEAST, Forecast, forecast

TODAY = 20_787  # 2026-11-30, a Monday
MIDNIGHT = float(TODAY * DAY)
DOLLAR = 10**12


def days(*costs: int) -> list[tuple[int, int]]:
    """The days before today, each with what it cost; the first one, which may be a part of a day, is free of charge."""
    begin = TODAY - len(costs)
    return [(begin - 1, DOLLAR), *((begin + place, cost * DOLLAR) for place, cost in enumerate(costs) if cost)]


def reckoned(costs: list[tuple[int, int]], left: float, *, now: float = MIDNIGHT, ahead: float = 30) -> Forecast | None:
    return forecast(costs, int(left * DOLLAR), now, MIDNIGHT + ahead * DAY)


@pytest.mark.parametrize(
    ("left", "hour", "ahead", "place"),
    [
        (55, 0, 30, 5), (50, 0, 30, 4), (51, 0, 30, 5), (55, 12, 30, 5), (45, 12, 30, 4), (46, 12, 30, 5),
        (5, 0, 30, 0), (299, 0, 30, 29), (301, 0, 30, None), (10, 0, 1, 0), (11, 0, 1, None),
        (5, 12, 1, 0), (6, 12, 1, None), (5, 0, 0.5, 0), (6, 0, 0.5, None), (2, 6, 0.5, 0), (3, 6, 0.5, None),
        (14, 0, 1.5, 1), (16, 0, 1.5, None),
    ],
)  # fmt: skip
def test_where_each_day_costs_the_same_the_day_is_exact(left: int, hour: int, ahead: float, place: int | None) -> None:
    found = reckoned(days(*[10] * 10), left, now=MIDNIGHT + hour * 3600, ahead=ahead)
    day = None if place is None else TODAY + place
    assert found == Forecast(day, day, day, 10)


@pytest.mark.parametrize("known", range(LEAST + 2))
def test_it_is_silent_under_three_whole_days(known: int) -> None:
    found = reckoned(days(*[10] * known), 55)
    assert (found is None) == (known < LEAST)
    assert reckoned([], 55) is None


def test_nothing_is_foretold_of_what_is_over() -> None:
    assert reckoned(days(*[10] * 5), 0) is None
    assert reckoned(days(*[10] * 5), -1) is None
    assert reckoned(days(*[10] * 5), 55, ahead=0) is None


def test_today_and_days_before_four_weeks_do_not_count() -> None:
    old = [(TODAY - day, 1000 * DOLLAR) for day in range(HISTORY + 1, HISTORY + 5)]
    plain = [(TODAY - day, 10 * DOLLAR) for day in range(1, HISTORY + 1)]
    assert reckoned([*old, *plain, (TODAY, 500 * DOLLAR)], 55) == Forecast(*[TODAY + 5] * 3, HISTORY)


def test_a_day_without_costs_is_a_day() -> None:
    found = reckoned(days(0, 0, 0, 0, 0, 0, 0), 55)
    assert found == Forecast(None, None, None, 7)
    sparse = reckoned(days(*[0, 30, 0] * 4), 100)
    assert sparse is not None
    assert sparse.likely is not None
    assert sparse.likely - TODAY in range(6, 15), "a tenth of the money goes a day"


def test_weekends_are_foreseen() -> None:
    """Four weeks whose Saturdays and Sundays cost little: money for two workdays lasts longer from a Friday on."""
    friday = TODAY - 3
    weeks = [(day, (20 if (day - TODAY) % 7 < 5 else 1) * DOLLAR) for day in range(friday - 28, TODAY)]

    def lasts(day: int) -> int:
        found = forecast(weeks, 40 * DOLLAR, float(day * DAY), float((day + 20) * DAY))
        assert found is not None
        assert found.likely is not None
        return found.likely - day

    assert lasts(friday) > lasts(TODAY)


def test_it_is_the_same_each_time() -> None:
    uneven = days(3, 9, 27, 1, 14, 8, 2)
    assert len({reckoned(uneven, 120) for _ in range(3)}) == 1


def test_an_uneven_history_makes_a_wide_interval_and_a_short_one_a_wider_one() -> None:
    def width(costs: list[int]) -> int:
        found = reckoned(days(*costs), 150, ahead=60)
        assert found is not None
        assert found.earliest is not None
        return (found.latest or TODAY + 60) - found.earliest

    assert width([10] * 21) == 0
    assert 0 < width([8, 12, 10] * 7) < width([1, 20, 9] * 7) < width([1, 20, 9])


COSTS = st.lists(st.integers(0, 50), min_size=LEAST, max_size=28)


@given(COSTS, st.integers(1, 900), st.integers(0, 86_399), st.integers(1, 31))
def test_the_interval_is_in_order_and_within_the_period(costs: list[int], left: int, second: int, ahead: int) -> None:
    found = reckoned(days(*costs), left, now=MIDNIGHT + second, ahead=ahead)
    assert found is not None
    likely, early, late = ((TODAY + ahead if day is None else day) for day in found[:3])
    assert TODAY <= early <= likely <= late <= TODAY + ahead


@given(COSTS, st.integers(1, 900), st.integers(0, 900))
def test_more_money_never_lasts_less_long(costs: list[int], left: int, more: int) -> None:
    before, after = (reckoned(days(*costs), money) for money in (left, left + more))
    assert before is not None
    assert after is not None
    for day, other in zip(before[:3], after[:3], strict=True):
        assert other is None or (day is not None and day <= other)


def _even(rng: Random) -> float:
    return rng.gauss(20, 3)


def _bursty(rng: Random) -> float:
    return rng.lognormvariate(3, 0.8)


def _idle_or_not(rng: Random) -> float:
    return rng.choice([0.0, 0.0, 60.0])


@pytest.mark.slow
@pytest.mark.parametrize("cost", [_even, _bursty, _idle_or_not])
@pytest.mark.parametrize("known", [5, 28])
def test_days_that_come_fall_into_the_interval_about_as_often_as_it_says(
    cost: Callable[[Random], float], known: int
) -> None:
    rng, held, played = Random(7), 0, 150
    for _ in range(played):
        factors = [rng.uniform(0.5, 1.5) for _ in range(7)]
        spent = {day: max(0, int(cost(rng) * factors[day % 7] * DOLLAR)) for day in range(TODAY - known, TODAY + 30)}
        left = 200 * DOLLAR
        past = [(TODAY - known - 1, DOLLAR), *((day, sum_) for day, sum_ in spent.items() if day < TODAY)]
        found = forecast(past, left, MIDNIGHT, MIDNIGHT + 30 * DAY)
        assert found is not None
        day = TODAY
        while day < TODAY + 30 and left - spent[day] > 0:
            left -= spent[day]
            day += 1
        early, late = ((TODAY + 30 if it is None else it) for it in (found.earliest, found.latest))
        held += early <= day <= late
    assert 0.7 <= held / played <= 0.97, held / played
