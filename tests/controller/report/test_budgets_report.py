"""What a policy's status foretells of its budget: of the part for all, from what both parts have cost."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from forebay.controller.report.budgets_report import BudgetFacts, budget_status
from forebay.controller.report.statuses import worth_writing
from forebay.resources.money_ledger import PeriodEntry
from forebay.resources.policy import PolicyStatus
from forebay.resources.policy_budget import BudgetForecast, BudgetPacing, PolicyBudget
from forebay.rules.budget.picodollars import DOLLAR

BEGIN, TODAY, END = (int(datetime(2026, *day, tzinfo=UTC).timestamp()) for day in ((11, 1), (11, 15), (12, 1)))
DAY = 86_400
COMMON = PeriodEntry(start=BEGIN, end=END, amount=200 * DOLLAR, closed_spent=145 * DOLLAR)
DAYS = tuple((TODAY // DAY - back, 10 * DOLLAR) for back in range(1, 11))
FACTS = BudgetFacts(PolicyBudget(amount="200"), COMMON, now=float(TODAY), days=DAYS)


def foretold(**changed: Any) -> BudgetForecast | None:
    status = budget_status(dataclasses.replace(FACTS, **changed), None)
    assert status is not None
    return status.forecast


def common(**changed: Any) -> PeriodEntry:
    return PeriodEntry(**{**{name: getattr(COMMON, name) for name in COMMON.__struct_fields__}, **changed})


def test_the_day_follows_from_what_is_not_spent_and_what_days_cost() -> None:
    day = "2026-11-20"  # five whole days of $10, and half of one
    assert foretold() == BudgetForecast(likely=day, earliest=day, latest=day, days=9)
    lost = foretold(common=common(written_off=10 * DOLLAR))
    assert lost is not None and lost.likely == "2026-11-19", "what is lost cannot be spent any more"


def test_what_high_requests_cost_counts_and_what_is_reserved_for_them_does_not() -> None:
    high = PeriodEntry(start=BEGIN, end=END, amount=1000 * DOLLAR)
    found = foretold(high=high, days=(*DAYS, *DAYS))
    assert found is not None and found.likely == "2026-11-17", "the part for all goes at both parts' rate"


def test_a_budget_that_lasts_has_no_day() -> None:
    assert foretold(common=common(amount=900 * DOLLAR)) == BudgetForecast(days=9)


@pytest.mark.parametrize(
    "changed",
    [
        {"days": DAYS[:3]}, {"days": ()}, {"common": common(amount=145 * DOLLAR)}, {"common": common(short=1)},
        {"common": common(recovering=1)}, {"budget": PolicyBudget(amount="200", pacing=BudgetPacing())},
    ],
)  # fmt: skip
def test_nothing_is_foretold_where_nothing_can_be(changed: dict[str, Any]) -> None:
    assert foretold(**changed) is None


def test_a_forecast_that_is_not_there_is_no_news() -> None:
    """The API server keeps no nulls."""
    budget = budget_status(dataclasses.replace(FACTS, days=()), None)
    status = PolicyStatus(budget=budget).model_dump(mode="json", by_alias=True)
    del status["budget"]["forecast"]
    live, new = status, PolicyStatus(budget=budget).model_dump(mode="json", by_alias=True)
    assert worth_writing(new, live, since_last=1e6) == ""
    told = PolicyStatus(budget=budget_status(FACTS, None)).model_dump(mode="json", by_alias=True)
    assert worth_writing(told, live, since_last=1e6) == "numbers"
    assert worth_writing(new, told, since_last=1e6) == "numbers"
