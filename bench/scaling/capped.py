"""forebay's rule with a budget for the whole play, knowing of it or not: what it saves, and what it costs."""

from typing import Any, Final

from bench.scaling.load import DAY, Load
from bench.scaling.money import POINTS, cloud_cost, replicas_cost
from bench.scaling.ours import Forebay, Money
from bench.scaling.play import Outcome, Purse, Setup, play

POINT: Final = POINTS[0]
SHARES: Final = (0.5, 0.2)
"""The budget, as a part of what would leave without one."""


def capped(load: Load, setup: Setup, free: Outcome) -> list[dict[str, Any]]:
    """Rows of one trace. `free`: what becomes of it without a budget."""
    rows = [_row("no budget", free)]
    for share in SHARES:
        for knows in (False, True):
            purse = Purse(share * cloud_cost(free, POINT), POINT.prompt, POINT.output)
            money = Money(purse, load.span) if knows else None
            scaler = Forebay(setup.minimum, setup.maximum, money=money)
            found = play(load, setup, scaler, load.first(setup.capacity), purse)
            rows.append(_row(f"{share:.0%} of it, {'known' if knows else 'not known'} to the rule", found))
    return rows


def _row(how: str, found: Outcome) -> dict[str, Any]:
    """Costs are of a day; `late` waited more than two seconds or was refused."""
    requests, days = sum(found.requests), found.seconds / DAY
    return {
        "how": how,
        "gpu_hours_day": found.replica_seconds / 3600.0 / days,
        "overflow": found.overflow_share,
        "refused": sum(found.refused) / requests,
        "late": (sum(found.late) + sum(found.refused)) / requests,
        "undone_day": found.undone / days,
        "cloud_cost_day": cloud_cost(found, POINT) / days,
        "replicas_cost_day": replicas_cost(found) / days,
    }
