"""What a budget can still pay of the overflow to come: a table, and what must always hold."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.money_ledger import AccountEntry, PeriodEntry
from forebay.resources.reasons import NO_MONEY, Reason
from forebay.rules.budget.outlook import BudgetOutlook, falls_short, outlook, payable_share, refusal
from forebay.rules.budget.picodollars import DOLLAR
from forebay.rules.budget.renewal import DAY

BEGIN = 20_454 * DAY  # 2026-01-01
MONTH = 30 * DAY


def period(spent: float, amount: float = 300, **more: object) -> PeriodEntry:
    """A month of 30 days of which so many dollars are spent."""
    account = AccountEntry(id="a", granted=int(amount * DOLLAR), spent=int(spent * DOLLAR))
    fields = {"start": BEGIN, "end": BEGIN + MONTH, "amount": int(amount * DOLLAR), "accounts": (account,), **more}
    return PeriodEntry(**fields)  # type: ignore[arg-type]


def days(*dollars: float, until: int = 10) -> tuple[tuple[int, int], ...]:
    """What the last days cost, the one that runs included, on that day of the month."""
    first = BEGIN // DAY + until - len(dollars) + 1
    return tuple((first + number, int(each * DOLLAR)) for number, each in enumerate(dollars))


@dataclass(frozen=True)
class Case:
    """A budget at a day of its month, and the share that it can pay."""

    what: str
    share: float
    spent: float = 100.0
    day: float = 10.0
    week: tuple[float, ...] = (10.0,) * 6 + (0.0,)
    amount: float = 300.0
    enforced: bool = True
    short: int = 0
    paced_until: int = 0
    recovering: int | None = None
    written_off: int = 0


CASES = (
    Case("what is left lasts at the recent rate", 1.0),
    Case("nothing was ever spent", 1.0, spent=0, week=()),
    Case("twice as fast in the last week: half", 0.5, week=(20.0,) * 6 + (0.0,)),
    Case("the week before was slow, the period is not: the faster one counts", 0.5, spent=150, week=(1.0,) * 7),
    Case("a first hour does not stand for the month", 1.0, spent=5, day=1 / 24, week=(5.0,)),
    Case("half of the amount on the first day does", 0.5 / 14.5, spent=150, day=1.0, week=(150.0, 0.0)),
    Case("the last hours are paid, however fast", 1.0, spent=290, day=29.9, week=(14.0,) * 7),
    Case("a request no longer fits", 0.0, short=5 * DOLLAR),
    Case("all is spent", 0.0, spent=300),
    Case("more than all is spent", 0.0, spent=320),
    Case("what is due by now is spent", 0.0, paced_until=BEGIN + 11 * DAY),
    Case("pacing let it through again", 1.0, paced_until=BEGIN + 9 * DAY),
    Case("the ledger is built anew", 0.0, recovering=DOLLAR),
    Case("what was lost with gateways is not left", 0.5, written_off=100 * DOLLAR),
    Case("an amount of nothing", 0.0, amount=0, spent=0, week=()),
    Case("Advisory refuses nothing", 1.0, spent=300, enforced=False),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_the_share_that_can_be_paid(case: Case) -> None:
    now = BEGIN + case.day * DAY
    told = {"short": case.short, "paced_until": case.paced_until, "recovering": case.recovering}
    found = outlook(
        period(case.spent, case.amount, written_off=case.written_off, **told),
        days(*case.week, until=int(case.day)), now, enforced=case.enforced,
    )  # fmt: skip
    assert payable_share(found) == pytest.approx(case.share, rel=0.06)


def test_without_a_ledger_nothing_is_granted() -> None:
    assert payable_share(outlook(None, (), BEGIN, enforced=True)) == 0.0
    assert payable_share(outlook(None, (), BEGIN, enforced=False)) == 1.0
    assert refusal((), BEGIN) is Reason.BUDGET_HELD


def test_what_another_period_spent_is_no_rate_of_this_one() -> None:
    """Somebody changes the kind of period; what its own days have cost counts, as if in one moment."""
    taken_over = period(0, accounts=(), closed_spent=150 * DOLLAR, carried=150 * DOLLAR)
    assert outlook(taken_over, (), BEGIN + 10.0, enforced=True).per_second == 0.0


def test_the_common_part_counts_and_not_what_only_high_may_spend() -> None:
    gone, full = period(300), period(0)
    assert refusal((gone,), BEGIN) is Reason.BUDGET_SPENT
    assert refusal((period(100, short=1), full), BEGIN) is None


outlooks = st.builds(
    BudgetOutlook,
    left=st.integers(-(10**15), 10**15),
    seconds_left=st.floats(0, 3e6),
    per_second=st.floats(0, 1e10),
    refusal=st.sampled_from([None, *NO_MONEY]),
    enforced=st.booleans(),
)


@given(outlooks, st.integers(0, 10**15), st.booleans())
def test_more_money_never_makes_a_pool_count_on_it_less(found: BudgetOutlook, more: int, before: bool) -> None:
    less, richer = payable_share(found), payable_share(found._replace(left=found.left + more))
    assert 0.0 <= less <= richer <= 1.0
    assert falls_short(less, before=before) or not falls_short(richer, before=before)


@given(outlooks)
def test_there_is_a_gap_between_both_edges(found: BudgetOutlook) -> None:
    share = payable_share(found)
    assert falls_short(share, before=True) or not falls_short(share, before=False)


@given(outlooks)
def test_an_advisory_budget_and_one_without_end_pay_all(found: BudgetOutlook) -> None:
    assert payable_share(found._replace(enforced=False)) == 1.0
    endless = found._replace(left=10**30, refusal=None)
    assert payable_share(endless) == 1.0
