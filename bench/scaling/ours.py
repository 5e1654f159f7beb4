"""forebay's rule as a scaler: the very function that the operator calls."""

from bench.scaling.load import DAY
from bench.scaling.play import Purse
from forebay.controller.observe.memory import Latch
from forebay.controller.sizing.overflow_money import unpaid
from forebay.replay.scaler import ScalerView
from forebay.resources.money_ledger import LedgerEntry, PeriodEntry
from forebay.resources.policy_budget import PolicyBudget
from forebay.rules.budget.picodollars import DOLLAR
from forebay.rules.history import History
from forebay.rules.marginal_value import BreakEven
from forebay.rules.scale import Demand, Pace, ScaleInputs, scale


class Money:
    """What the operator knows of a budget whose period is the play, from a purse that is spent meanwhile."""

    def __init__(self, purse: Purse, seconds: float) -> None:
        self.purse, self.seconds = purse, seconds
        self.budget = PolicyBudget(amount=f"{purse.amount:.2f}")
        self.days: dict[int, int] = {}
        self.seen = 0
        self.latch = Latch()

    def pays(self, now: float) -> bool:
        """The edge that the operator's own function finds."""
        spent, day = int(self.purse.spent * DOLLAR), int(now // DAY)
        self.days[day], self.seen = self.days.get(day, 0) + spent - self.seen, spent
        period = PeriodEntry(
            start=0, end=int(self.seconds) + 1, amount=int(self.purse.amount * DOLLAR), closed_spent=spent,
            short=int(self.purse.short),
        )  # fmt: skip
        ledger = LedgerEntry(budget="play", periods=(period,), days=tuple(self.days.items()))
        self.latch = unpaid(self.latch, self.budget, ledger, now)
        return not self.latch.on


class Forebay:
    """`rules/scale.py`, every 15 s. The operator looks more often; the rule's windows do not care."""

    period = 15.0

    def __init__(
        self,
        minimum: int,
        maximum: int,
        pace: Pace | None = None,
        prices: BreakEven | None = None,
        cloud: bool = True,
        money: Money | None = None,
    ) -> None:
        self.minimum, self.maximum, self.pace, self.prices, self.cloud = minimum, maximum, pace, prices, cloud
        self.money = money
        self.history: History | None = None

    def decide(self, seen: ScalerView) -> int:
        """As the operator would."""
        demand = Demand(seen.running, seen.queued, seen.overflowing, seen.lost_per_second, seen.service_seconds)
        found = scale(
            ScaleInputs(
                now=seen.now,
                current=seen.size,
                minimum=self.minimum,
                maximum=self.maximum,
                demand=demand,
                capacity=seen.capacity,
                starting=seen.starting,
                ending=seen.ending,
                history=self.history or History.restored((), 0, seen.now),
                overflow_allowed=self.cloud,
                overflow_paid=self.money is None or self.money.pays(seen.now),
                cold_start_seconds=seen.cold_start_seconds,
                replica_hour_price=self.prices.replica_hour if self.prices else None,
                overflow_cost_per_request_hour=self.prices.request_hour if self.prices else None,
                pace=self.pace,
            )
        )
        self.history = found.history
        return found.replicas
