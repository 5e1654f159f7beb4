"""How a policy's budget stands: its status and its condition. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.report.conditions import Verdict, rfc3339
from forebay.resources.money_ledger import HIGH, LedgerEntry, PeriodEntry
from forebay.resources.policy_budget import BudgetForecast, BudgetStatus, PolicyBudget
from forebay.resources.reasons import ConditionReason, ConditionType, Reason
from forebay.resources.report import GatewayReport
from forebay.resources.terms import Enforcement
from forebay.rules.budget.forecast import forecast
from forebay.rules.budget.outlook import refusal
from forebay.rules.budget.picodollars import dollars_text, in_dollars, picodollars

EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class BudgetFacts:
    """A policy's budget in the period that runs. `common` is None while there is no ledger."""

    budget: PolicyBudget
    common: PeriodEntry | None = None
    high: PeriodEntry | None = None
    unknown_zone: str = ""
    in_flight: int = 0
    now: float = 0.0
    days: tuple[tuple[int, int], ...] = ()  # days since 1970 (UTC), and what both parts have cost on them

    @property
    def periods(self) -> tuple[PeriodEntry, ...]:
        """Both parts, as far as they are there."""
        return tuple(item for item in (self.common, self.high) if item is not None)


def budget_facts(
    fleet: ObservedFleet, name: str, budget: PolicyBudget, ledgers: Mapping[str, LedgerEntry], unknown_zone: str
) -> BudgetFacts:
    """What status and condition are made from."""
    found = [ledgers.get(key) for key in (name, name + HIGH)]
    common, high = (ledger.at(fleet.now) if ledger is not None else None for ledger in found)
    days = tuple(day for ledger in found if ledger is not None for day in ledger.days)
    open_now = sum(
        item.reserved
        for last in fleet.heard.values()
        if isinstance(last.report, GatewayReport)
        for item in last.report.budgets
        if item.budget in (name, name + HIGH)
    )
    return BudgetFacts(budget, common, high, unknown_zone, open_now, fleet.now, days)


def budget_status(facts: BudgetFacts, before: BudgetStatus | None) -> BudgetStatus | None:
    """The status; what it was `before` while there is no ledger, which is built anew from it."""
    if facts.common is None:
        return before
    periods = facts.periods
    held = sum(item.held - item.spent for period in periods for item in period.accounts)
    return BudgetStatus(
        period_start=rfc3339(facts.common.start),
        period_end=rfc3339(facts.common.end),
        amount=_exact(picodollars(facts.budget.amount)),
        spent=_exact(sum(item.spent for item in periods)),
        in_flight=_exact(facts.in_flight),
        leased=_exact(held),
        lost=_exact(sum(item.written_off for item in periods)),
        left=_exact(sum(item.left for item in periods)),
        committed=_exact(_known(facts.common)),
        committed_high=_exact(_known(facts.high)),
        forecast=_forecast(facts, facts.common),
        closed=_exact(facts.common.closed),
        closed_high=_exact(facts.high.closed if facts.high is not None else 0),
    )


def _forecast(facts: BudgetFacts, common: PeriodEntry) -> BudgetForecast | None:
    """Of what all requests may use: those of High use it first. A pace that is held spends nothing before its time."""
    if facts.budget.pacing is not None or common.recovering is not None or common.short:
        return None
    days: dict[int, int] = {}
    for day, cost in facts.days:
        days[day] = days.get(day, 0) + cost
    found = forecast(tuple(days.items()), common.amount - common.spent - common.written_off, facts.now, common.end)
    if found is None:
        return None
    likely, earliest, latest = ("" if day is None else _date(day) for day in found[:3])
    return BudgetForecast(likely=likely, earliest=earliest, latest=latest, days=found.history)


def _date(day: int) -> str:
    return (EPOCH + timedelta(days=day)).isoformat()


def budget_verdict(facts: BudgetFacts) -> Verdict:
    """The condition BudgetAvailable."""
    kind, common = ConditionType.BUDGET_AVAILABLE, facts.common
    if facts.unknown_zone:
        words = f"budget.timeZone names {facts.unknown_zone}, which is no zone of the IANA data base: correct it"
        return Verdict(kind, False, ConditionReason.BUDGET_HELD, words)
    if common is None:
        return Verdict(kind, None, ConditionReason.PENDING, "there is no ledger yet")
    spent, amount = sum(item.spent for item in facts.periods), picodollars(facts.budget.amount)
    figures = f"${dollars_text(spent)} of ${facts.budget.amount} are spent, until {rfc3339(common.end)}"
    if facts.budget.enforcement is Enforcement.ADVISORY:
        figures = f"{figures}; nothing is refused: enforcement is Advisory"
    over = sum(item.committed for item in facts.periods) - amount
    if over > 0 and amount:
        figures = f"{figures}; the amount was lowered, and gateways hold ${dollars_text(over)} more than is left of it"
    reason, words = _state(facts, common, figures)
    available = reason in (ConditionReason.WITHIN_BUDGET, ConditionReason.NEAR_LIMIT)
    return Verdict(kind, available, reason, words)


def _state(facts: BudgetFacts, common: PeriodEntry, figures: str) -> tuple[ConditionReason, str]:
    why = refusal(facts.periods, facts.now)
    if why is Reason.BUDGET_HELD:
        words = f"the ledger is built anew: nothing is granted until every gateway was heard; {figures}"
        return ConditionReason.BUDGET_HELD, words
    if why is Reason.BUDGET_SPENT:
        words = f"{figures}; requests that may cost ${dollars_text(max(1, common.short))} or more stay local"
        return ConditionReason.BUDGET_SPENT, words
    if why is Reason.BUDGET_PACED:
        return ConditionReason.BUDGET_PACED, f"{figures}; there is more at {rfc3339(common.paced_until)}"
    spent, amount = sum(item.spent for item in facts.periods), picodollars(facts.budget.amount)
    near = sorted(item for item in facts.budget.alert_percents if item < 100)
    if near and spent * 100 >= near[-1] * amount:
        return ConditionReason.NEAR_LIMIT, figures
    return ConditionReason.WITHIN_BUDGET, figures


def _known(period: PeriodEntry | None) -> int:
    return 0 if period is None else max(period.committed, period.recovering or 0)


def _exact(amount: int) -> str:
    return format(in_dollars(amount).normalize() + Decimal(0), "f")
