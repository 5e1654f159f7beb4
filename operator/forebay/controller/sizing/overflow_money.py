"""Whether what does not fit into a pool will find money: from the budget of its policy to one edge. Pure."""

from forebay.controller.observe.memory import Latch
from forebay.resources.money_ledger import LedgerEntry
from forebay.resources.policy_budget import PolicyBudget
from forebay.resources.reasons import Reason
from forebay.resources.terms import Enforcement
from forebay.rules.budget.outlook import HELD_SECONDS, PAID_AFTER_SECONDS, falls_short, outlook, payable_share


def unpaid(before: Latch, budget: PolicyBudget | None, ledger: LedgerEntry | None, now: float) -> Latch:
    """On while the budget does not pay for what would leave. Without a budget it is off at once.

    What High alone may spend does not count: a pool's size is that of Normal's demand.
    """
    if budget is None:
        return Latch()
    period, days = (ledger.at(now), ledger.days) if ledger is not None else (None, ())
    found = outlook(period, days, now, enforced=budget.enforcement is Enforcement.ENFORCED)
    short = falls_short(payable_share(found), before=before.on)
    return before.step(short, now, PAID_AFTER_SECONDS, HELD_SECONDS if found.refusal is Reason.BUDGET_HELD else 0.0)
