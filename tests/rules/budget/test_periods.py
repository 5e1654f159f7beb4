"""When a budget's period begins and ends, in every manner of zone; and what pacing lets through by when."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.terms import BudgetPeriod, Weekday
from forebay.rules.budget.periods import paced, paced_until, period_bounds
from forebay.rules.budget.picodollars import dollars_text, in_dollars, picodollars

DAY, WEEK, MONTH = BudgetPeriod
HOUR = 3600
TABLE = [
    (DAY, "UTC", "2026-11-29T12:00Z", "2026-11-29T00:00Z", 24),
    (DAY, "UTC", "2026-11-29T00:00Z", "2026-11-29T00:00Z", 24),
    (DAY, "Asia/Tokyo", "2026-11-29T14:59Z", "2026-11-28T15:00Z", 24),
    (DAY, "Asia/Tokyo", "2026-11-29T15:00Z", "2026-11-29T15:00Z", 24),
    (DAY, "Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", 23),
    (DAY, "Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", 25),
    (DAY, "Asia/Kathmandu", "2026-11-29T12:00Z", "2026-11-28T18:15Z", 24),
    (DAY, "America/Santiago", "2026-09-06T12:00Z", "2026-09-06T04:00Z", 23),  # clocks go forward at midnight
    (DAY, "America/Havana", "2026-11-01T12:00Z", "2026-11-01T04:00Z", 25),  # and back over it
    (WEEK, "UTC", "2026-11-29T12:00Z", "2026-11-23T00:00Z", 7 * 24),
    (WEEK, "America/New_York", "2026-11-01T12:00Z", "2026-10-26T04:00Z", 7 * 24 + 1),
    (MONTH, "UTC", "2026-11-29T12:00Z", "2026-11-01T00:00Z", 30 * 24),
    (MONTH, "UTC", "2028-02-29T23:59Z", "2028-02-01T00:00Z", 29 * 24),
    (MONTH, "Asia/Tokyo", "2026-12-31T15:00Z", "2026-12-31T15:00Z", 31 * 24),
    (MONTH, "Europe/Berlin", "2026-10-25T12:00Z", "2026-09-30T22:00Z", 31 * 24 + 1),
]


def unix(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


@pytest.mark.parametrize(("kind", "zone", "now", "start", "hours"), TABLE)
def test_a_period_is_a_calendar_day_week_or_month_of_its_zone(
    kind: BudgetPeriod, zone: str, now: str, start: str, hours: int
) -> None:
    begin = unix(start)
    assert period_bounds(kind, ZoneInfo(zone), unix(now)) == (begin, begin + hours * HOUR)


@pytest.mark.parametrize(("first", "day"), list(zip(Weekday, range(23, 30), strict=True)))
def test_a_week_begins_with_the_day_that_it_is_said_to(first: Weekday, day: int) -> None:
    start, _ = period_bounds(WEEK, UTC, unix("2026-11-29T12:00Z"), first)
    assert start == unix(f"2026-11-{day}T00:00Z")


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo", "America/Santiago", "Africa/Cairo", "Pacific/Apia"])


@given(st.sampled_from(BudgetPeriod), ZONES, st.integers(1_700_000_000, 1_900_000_000))
def test_every_moment_lies_in_one_period_and_the_next_one_follows_without_a_gap(
    kind: BudgetPeriod, zone: str, now: int
) -> None:
    start, end = period_bounds(kind, ZoneInfo(zone), now)
    assert start <= now < end
    assert period_bounds(kind, ZoneInfo(zone), end)[0] == end
    assert period_bounds(kind, ZoneInfo(zone), start) == (start, end)


@given(st.integers(0, 10**15), st.integers(0, 100), st.integers(-50, 150), st.integers(0, 10**15))
def test_pacing_lets_the_burst_through_at_once_and_the_rest_evenly(
    amount: int, burst: int, now: int, wanted: int
) -> None:
    assert paced(amount, burst, 0, 100, 0) == amount * burst // 100
    assert paced(amount, burst, 0, 100, 100) == amount
    assert paced(amount, burst, 0, 100, now) <= paced(amount, burst, 0, 100, now + 1) <= amount
    at = paced_until(amount, burst, 0, 100, wanted)
    assert wanted > amount or paced(amount, burst, 0, 100, at) >= wanted - 1


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0.000001", 10**6), ("500", 500 * 10**12), ("0.0000000000001", 1), ("1.23", 1_230_000_000_000), ("0", 0)],
)
def test_money_is_never_rounded_down(text: str, amount: int) -> None:
    assert picodollars(text) == amount
    assert in_dollars(amount) >= in_dollars(picodollars(text))


def test_money_is_said_in_cents_and_small_money_in_less() -> None:
    assert dollars_text(picodollars("12.3401")) == "12.35"
    assert dollars_text(picodollars("0.00011")) == "0.0002"
