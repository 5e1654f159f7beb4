"""How the budget of a policy stands, as far as its status says; and the same in words. Pure.

A status tells of the period in which it was written. Once that has ended, its figures are no longer the budget's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

from forebay.cli.glossary import meaning
from forebay.cli.running.advice import NEXT, advice_for
from forebay.cli.running.fleet_objects import Policy, condition
from forebay.resources.fields import Condition
from forebay.resources.policy_budget import BudgetForecast, BudgetStatus, PolicyBudget
from forebay.resources.reasons import ConditionReason, ConditionType
from forebay.resources.terms import BudgetPeriod, Enforcement

NOT_KNOWN: Final = "not known"
_A: Final = {BudgetPeriod.DAY: "a day", BudgetPeriod.WEEK: "a week", BudgetPeriod.MONTH: "a month"}


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A policy that has a budget, and what is known of it.

    `figures` are None, and `judged`, where the operator has not spoken of the period that runs. `unknown` is why.
    """

    policy: Policy
    budget: PolicyBudget
    figures: BudgetStatus | None
    judged: Condition | None
    unknown: str = ""

    @property
    def reason(self) -> str:
        """The condition's word."""
        return self.judged.reason if self.judged is not None else NOT_KNOWN


def budget_states(policies: Iterable[Policy], now: float) -> tuple[BudgetState, ...]:
    """Of those that have one. `now` in Unix seconds."""
    return tuple(
        _state(policy, policy.spec.budget, now) for policy in policies if policy.spec is not None and policy.spec.budget
    )


def _state(policy: Policy, budget: PolicyBudget, now: float) -> BudgetState:
    figures = policy.status.budget
    judged = condition(policy.status.conditions, ConditionType.BUDGET_AVAILABLE)
    if judged is None:
        return BudgetState(policy, budget, None, None, "the operator has not said anything of this budget yet")
    if figures is not None and figures.period_end and unix(figures.period_end) <= now:
        words = f"the status is of the period that ended at {when(figures.period_end)}"
        return BudgetState(policy, budget, None, None, f"{words}, and last said {judged.reason}: {judged.message}")
    return BudgetState(policy, budget, figures, judged)


def in_sentences(state: BudgetState) -> list[str]:
    """What it is, how it stands and what to do, a sentence a line."""
    said = [("forecast", forecast_in_words(state)), ("next", next_step(state))]
    return [terms(state), *standing(state), *remarks(state), *(f"{title}: {words}" for title, words in said if words)]


def budget_as_data(state: BudgetState) -> dict[str, Any]:
    """All of it for programs. Money that is not known is null."""
    terms = state.budget.model_dump(mode="json", by_alias=True)
    told = state.figures.model_dump(mode="json", by_alias=True) if state.figures is not None else None
    judged = state.judged
    return {
        "namespace": state.policy.namespace,
        "policy": state.policy.name,
        "spec": terms,
        "reservedForHigh": reserved_for_high(state),
        "status": told,
        "condition": None if judged is None else {
            "status": judged.status,
            "reason": judged.reason,
            "meaning": meaning(ConditionReason, judged.reason),
            "message": judged.message,
        },
        "unknown": state.unknown,
        "remarks": remarks(state),
        "forecast": forecast_in_words(state),
        "next": next_step(state),
    }  # fmt: skip


def terms(state: BudgetState) -> str:
    """What the spec says: the amount, its period, and what is special about it."""
    budget = state.budget
    parts = [f"${budget.amount} {_A[budget.period]}, days of {budget.time_zone}"]
    if budget.reserved_for_high_percent:
        parts.append(f"{dollars(reserved_for_high(state))} of it only for High")
    if budget.pacing is not None:
        parts.append(f"paced: {budget.pacing.burst_percent} % at any time, the rest evenly over the period")
    if budget.enforcement is Enforcement.ADVISORY:
        parts.append("enforcement is Advisory: nothing is refused")
    return "; ".join(parts)


def standing(state: BudgetState) -> list[str]:
    """The condition, its meaning and the operator's own words; or why they are not known."""
    if state.judged is None:
        return [f"{NOT_KNOWN}: {state.unknown}"]
    return [f"{state.reason}: {meaning(ConditionReason, state.reason)}", f"  {state.judged.message}"]


def remarks(state: BudgetState) -> list[str]:
    """What keeps the figures from being the whole truth."""
    found, status = [], state.policy.status
    if state.judged is not None and status.observed_generation < state.policy.generation:
        found.append(
            f"this is about generation {status.observed_generation}; the policy is at {state.policy.generation}"
        )
    if state.figures is None:
        return found
    if Decimal(state.figures.lost):
        found.append(f"{dollars(state.figures.lost)} count as spent that gateways took with them when they were lost")
    if Decimal(state.figures.amount) != Decimal(state.budget.amount):
        found.append(f"the figures are those of an amount of ${state.figures.amount}")
    return found


def forecast_in_words(state: BudgetState) -> str:
    """When it will be spent; empty where the status says nothing of that and there is nothing to say."""
    if state.figures is None or state.budget.pacing is not None or state.reason == ConditionReason.BUDGET_SPENT:
        return ""
    found = state.figures.forecast
    if found is None:
        return "none; it takes three whole days of costs"
    what = "the part for all" if state.budget.reserved_for_high_percent else "it"
    basis = f"if days go on as the last {found.days} went"
    if found.likely:
        return f"{what} is spent on about {found.likely}{_between(found)}, {basis}"
    doubt = f", though in one case of ten it is spent by {found.earliest}" if found.earliest else ""
    return f"{what} lasts until the period's end{doubt}, {basis}"


def _between(found: BudgetForecast) -> str:
    late = found.latest or "the period's end"
    return f" ({found.earliest} to {late})" if found.earliest != late else ""


def next_step(state: BudgetState) -> str:
    """What to do about it; empty where nothing is."""
    return advice_for(state.reason) if state.judged is not None else NEXT[ConditionReason.PENDING]


def reserved_for_high(state: BudgetState) -> str:
    """Dollars that only High requests use."""
    return f"{Decimal(state.budget.amount) * state.budget.reserved_for_high_percent / 100:f}"


def dollars(amount: str, *, down: bool = False) -> str:
    """As people read it: cents above a dollar, else four digits; rounded up, or `down` for what is still to be had."""
    value = Decimal(amount)
    places = Decimal("0.01") if abs(value) >= 1 or not value else Decimal("0.0001")
    value = value.quantize(places, ROUND_FLOOR if down else ROUND_CEILING)
    return f"-${-value}" if value < 0 else f"${value}"


def share(spent: str, amount: str) -> str:
    """Percent of the amount, rounded down; empty of nothing."""
    whole = Decimal(amount)
    return f"{int(Decimal(spent) * 100 / whole)} %" if whole else ""


def unix(text: str) -> float:
    """Unix seconds, of a time as statuses have it."""
    return datetime.fromisoformat(text).timestamp()


def when(text: str) -> str:
    """A time of a status, as people read it."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
