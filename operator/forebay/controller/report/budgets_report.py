"""How a policy's budget stands: its status and its condition. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.report.conditions import Verdict, rfc3339
from forebay.resources.money_ledger import HIGH, LedgerEntry, PeriodEntry
from forebay.resources.policy_budget import BudgetStatus, PolicyBudget
from forebay.resources.reasons import ConditionReason, ConditionType
from forebay.resources.report import GatewayReport
from forebay.resources.terms import Enforcement
from forebay.rules.budget.picodollars import dollars_text, in_dollars, picodollars


@dataclass(frozen=True, slots=True)
class BudgetFacts:
    """A policy's budget in the period that runs. `common` is None while there is no ledger."""

    budget: PolicyBudget
    common: PeriodEntry | None = None
    high: PeriodEntry | None = None
    unknown_zone: str = ""
    in_flight: int = 0
    now: float = 0.0

    @property
    def periods(self) -> tuple[PeriodEntry, ...]:
        """Both parts, as far as they are there."""
        return tuple(item for item in (self.common, self.high) if item is not None)


def budget_facts(
    fleet: ObservedFleet, name: str, budget: PolicyBudget, ledgers: Mapping[str, LedgerEntry], unknown_zone: str
) -> BudgetFacts:
    """What status and condition are made from."""
    common, high = (
        ledger.at(fleet.now) if (ledger := ledgers.get(key)) is not None else None for key in (name, name + HIGH)
    )
    open_now = sum(
        item.reserved
        for last in fleet.heard.values()
        if isinstance(last.report, GatewayReport)
        for item in last.report.budgets
        if item.budget in (name, name + HIGH)
    )
    return BudgetFacts(budget, common, high, unknown_zone, open_now, fleet.now)


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
        closed=_exact(facts.common.closed),
        closed_high=_exact(facts.high.closed if facts.high is not None else 0),
    )


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
    if common.recovering is not None:
        words = f"the ledger is built anew: nothing is granted until every gateway was heard; {figures}"
        return ConditionReason.BUDGET_HELD, words
    if all(item.short for item in facts.periods) or common.spent >= common.amount:
        words = f"{figures}; requests that may cost ${dollars_text(max(1, common.short))} or more stay local"
        return ConditionReason.BUDGET_SPENT, words
    if common.paced_until > facts.now:
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
