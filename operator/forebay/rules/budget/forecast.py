"""On which day a budget is spent, if days go on as the last ones went. Pure, and the same each time: draws are seeded.

What days cost is taken for a level, a factor for the weekday, and a residual. Each of the draws takes its level and
the days to come from residuals that were seen, at random; so a short or uneven history makes a wide interval.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import ceil
from random import Random
from typing import Final, NamedTuple

DAY: Final = 86_400
DRAWS: Final = 400
HISTORY: Final = 28
"""Days that are looked back on, at most."""
LEAST: Final = 3
"""Whole days below which nothing is foretold."""
SHRINK: Final = 2
"""Days like any other that a weekday's factor is mixed with. One that was seen once says nothing: it may be chance."""
EARLY: Final = 0.1
"""Share of draws in which the budget is spent before the interval; as many in which it is after it."""


class Forecast(NamedTuple):
    """Days since 1970 (UTC) on which the budget is spent; None: not before the period's end. `history`: whole days
    that were looked at."""

    likely: int | None
    earliest: int | None
    latest: int | None
    history: int


class _Draw(NamedTuple):
    """What today costs, and what the days from today on cost up to the end of each."""

    today: float
    sums: "array[float]"


def forecast(days: Sequence[tuple[int, int]], left: int, now: float, end: float) -> Forecast | None:
    """From what was spent on days (days since 1970, UTC; those without are left out) and what is left to spend; any
    unit of money. `now` and `end` of the period in Unix seconds. None: too few days are known, or nothing is to come.

    The first day that is known counts only where it is older than what is looked back on: it may have begun late.
    """
    today = int(now) // DAY
    known = dict(days)
    first = max(min(known, default=today) + 1, today - HISTORY)
    history = tuple(known.get(day, 0) for day in range(first, today))
    if len(history) < LEAST or left <= 0 or now >= end:
        return None
    ahead = ceil(end / DAY) - today
    last = end / DAY - (today + ahead - 1)
    passed = now / DAY - today
    spent = sorted(
        bisect_left(draw.sums, left + passed * draw.today) for draw in _draws(history, today, ahead, round(last, 6))
    )
    early, likely, late = (spent[int(DRAWS * share)] for share in (EARLY, 0.5, 1 - EARLY))
    likely_day, first_day, last_day = (today + place if place < ahead else None for place in (likely, early, late))
    return Forecast(likely_day, first_day, last_day, len(history))


@lru_cache(maxsize=64)
def _draws(history: tuple[int, ...], today: int, ahead: int, last: float) -> tuple[_Draw, ...]:
    """Anew only with a new day. `ahead`: days to come, today included; `last`: the part of the last one that counts."""
    begin = today - len(history)
    factors = _weekdays(history, begin)
    even = [cost / factors[(begin + place) % 7] for place, cost in enumerate(history)]
    level = sum(even) / len(even)
    residuals = [cost / level for cost in even] if level else [0.0]
    ahead_of = [level * factors[day % 7] for day in range(today, today + ahead)]
    seen = len(history) - 1  # as many as the mean of so many days is uncertain by
    rng, found = Random(len(history)), []  # noqa: S311 - no secret
    for _ in range(DRAWS):
        raised = sum(rng.choices(residuals, k=seen)) / seen
        drawn = zip(ahead_of, rng.choices(residuals, k=ahead), strict=True)
        costs = [raised * usual * residual for usual, residual in drawn]
        whole = costs[0]
        costs[-1] *= last
        found.append(_Draw(whole, array("d", accumulate(costs))))
    return tuple(found)


def _weekdays(history: Sequence[int], begin: int) -> tuple[float, ...]:
    """What each weekday costs beside the mean of all days, shrunk to 1 by how seldom it was seen; by day modulo 7."""
    mean = sum(history) / len(history)
    found = []
    for weekday in range(7):
        own = [cost for place, cost in enumerate(history) if (begin + place) % 7 == weekday]
        evidence = len(own) - 1
        usual = sum(own) / len(own) / mean if evidence > 0 and mean else 1.0
        found.append((evidence * usual + SHRINK) / (evidence + SHRINK) if evidence > 0 else 1.0)
    return tuple(found)
