"""What a budget can still pay of the overflow to come, before its period ends. Pure; money in picodollars."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from forebay.resources.money_ledger import PeriodEntry
from forebay.resources.reasons import Reason
from forebay.rules.budget.renewal import DAY

RECENT_DAYS: Final = 7
"""Over which spending is averaged, so that a weekend does not look like the end of it."""
LEAST_SECONDS: Final = 86_400.0
"""Of a period, before what it has cost says how it goes on; of a shorter one a quarter."""
UNPAID_BELOW: Final = 0.75
"""The share from which on a pool no longer counts on the budget. It does so again only when the whole can be paid."""
PAID_AFTER_SECONDS: Final = 1800.0
"""How long the whole must be payable: where pacing gives a little at a time, requests leave and are refused in turn."""
HELD_SECONDS: Final = 60.0
"""How long a ledger may be missing or built anew before that counts."""


class BudgetOutlook(NamedTuple):
    """What is left until the period ends, what a second costs at the recent rate, and why requests are refused now."""

    left: int
    seconds_left: float
    per_second: float = 0.0
    refusal: Reason | None = None
    enforced: bool = True


def payable_share(outlook: BudgetOutlook) -> float:
    """The share of the overflow until the period ends that can be paid, from 0 to 1. An Advisory budget pays all."""
    if not outlook.enforced:
        return 1.0
    if outlook.refusal is not None or outlook.left <= 0:
        return 0.0
    coming = outlook.per_second * max(outlook.seconds_left, 0.0)
    return 1.0 if coming <= outlook.left else outlook.left / coming


def falls_short(share: float, *, before: bool) -> bool:
    """Whether so little can be paid that a pool is sized as if there were no cloud; `before`: it was until now."""
    return share < (1.0 if before else UNPAID_BELOW)


def refusal(periods: Sequence[PeriodEntry], now: float) -> Reason | None:
    """Why requests find no money now, of the common part and those that are asked after it; None where they find some.
    Without any ledger nothing is granted."""
    if not periods or periods[0].recovering is not None:
        return Reason.BUDGET_HELD
    common = periods[0]
    if all(item.short for item in periods) or common.spent >= common.amount:
        return Reason.BUDGET_SPENT
    return Reason.BUDGET_PACED if common.paced_until > now else None


def outlook(
    period: PeriodEntry | None, days: Iterable[tuple[int, int]], now: float, *, enforced: bool
) -> BudgetOutlook:
    """Of the common part of a budget. `days`: days since 1970 (UTC), and what was spent on them."""
    if period is None:
        return BudgetOutlook(0, 0.0, refusal=Reason.BUDGET_HELD, enforced=enforced)
    return BudgetOutlook(
        left=period.amount - period.spent - period.written_off,
        seconds_left=period.end - now,
        per_second=max(_lately(days, now), _so_far(period, now)),
        refusal=refusal((period,), now),
        enforced=enforced,
    )


def _lately(days: Iterable[tuple[int, int]], now: float) -> float:
    """Of the last week, or as much of it as is known, today's part included."""
    first = int(now) // DAY - RECENT_DAYS + 1
    known = [(day, spent) for day, spent in days if day >= first]
    since = min((day for day, _ in known), default=first) * DAY
    return sum(spent for _, spent in known) / max(now - since, LEAST_SECONDS)


def _so_far(period: PeriodEntry, now: float) -> float:
    least = min(LEAST_SECONDS, (period.end - period.start) / 4)
    return (period.spent - period.carried) / max(now - period.start, least)
