"""Calendar periods of a budget, and how its pacing spreads it over one. Times are Unix seconds; zones come in."""

from datetime import date, datetime, timedelta, tzinfo
from typing import assert_never

from forebay.resources.terms import BudgetPeriod, Weekday


def period_bounds(kind: BudgetPeriod, zone: tzinfo, now: float, first: Weekday = Weekday.MONDAY) -> tuple[int, int]:
    """Start and end of the period that `now` lies in: local midnights, whatever the clocks do in between."""
    today = datetime.fromtimestamp(now, zone).date()
    match kind:
        case BudgetPeriod.DAY:
            start, end = today, today + timedelta(days=1)
        case BudgetPeriod.WEEK:
            start = today - timedelta(days=(today.weekday() - list(Weekday).index(first)) % 7)
            end = start + timedelta(days=7)
        case BudgetPeriod.MONTH:
            start = today.replace(day=1)
            end = (start + timedelta(days=32)).replace(day=1)
        case _:
            assert_never(kind)
    return _midnight(start, zone), _midnight(end, zone)


def _midnight(day: date, zone: tzinfo) -> int:
    """The first instant of a day: where clocks go forward at midnight, that moment; where they go back over it, the
    first of both."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def paced(amount: int, burst_percent: int, start: int, end: int, now: float) -> int:
    """What may be committed by now: the burst at once, the rest evenly over the period."""
    share = min(1.0, max(0.0, (now - start) / (end - start)))
    burst = amount * burst_percent // 100
    return min(amount, burst + int((amount - burst) * share))


def paced_until(amount: int, burst_percent: int, start: int, end: int, wanted: int) -> int:
    """When so much may be committed."""
    burst = amount * burst_percent // 100
    if wanted <= burst:
        return start
    share = (wanted - burst) / max(1, amount - burst)
    return min(end, start + int(share * (end - start)) + 1)
