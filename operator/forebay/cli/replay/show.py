"""The answer on a terminal, and as data."""

from dataclasses import asdict
from typing import Any

from rich.console import Console

from forebay.cli.console import table
from forebay.cli.replay import phrases
from forebay.cli.replay.answer import ReplayAnswer
from forebay.cli.replay.series import series

PLOT_COLUMNS = 60
PLOTTED = ("replicas", "slots", "demand", "left", "refused")


def show(found: ReplayAnswer, console: Console) -> None:
    """Sentences, tables and a plot."""
    console.print(phrases.source(found), markup=False)
    for notice in phrases.notices(found):
        console.print(f"! {notice}", style="yellow", markup=False)
    console.print()
    console.print(phrases.headline(found), style="bold", markup=False)
    for titles, rows, left in (
        (phrases.POOLS, phrases.pools(found), 1),
        (phrases.SERVED, phrases.served(found), 1),
        (phrases.TIMES, phrases.times(found), 1),
        (phrases.SPENT, phrases.spent(found), 3),
        (phrases.REFUSED, phrases.refused(found), 3),
    ):
        if rows:
            made = table(*titles, right=titles[left:])
            for row in rows:
                made.add_row(*row)
            console.print()
            console.print(made)
    for pool in found.pools:
        _plot(found, pool.name, console)
    for name, value, where in found.assumptions:
        console.print(f"{name}: {value} ({where})", style="dim", markup=False)


def _plot(found: ReplayAnswer, pool: str, console: Console) -> None:
    drawn = series([minute for minute in found.minutes if minute.pool == pool], PLOT_COLUMNS)
    console.print(f"\n{pool} over {found.hours:.1f} h", markup=False)
    for name in PLOTTED:
        line = drawn[name]
        if line.most:
            console.print(f"{line.name:>20} {line.bars()} {line.most:,.4g} at most", markup=False)
    console.print()


def data(found: ReplayAnswer) -> dict[str, Any]:
    """Plain data for `-o json` and `-o yaml`. Seconds, shares 0..1, money US dollars as decimal strings."""
    trace = found.trace
    return {
        "trace": {
            "source": found.name, "format": trace.form, "requests": found.requests, "hours": round(found.hours, 4),
            "skipped": trace.skipped, "firstSkipped": trace.problems, "notInference": trace.passed,
            "outputsEstimated": trace.estimated,
        },
        "requests": {
            "local": found.local, "cloud": found.left, "refused": found.requests - found.local - found.left,
        },
        "cost": {"gpus": _usd(found.local_cost), "cloud": _usd(found.cloud_cost), "total": _usd(found.total_cost)},
        "pools": [
            {
                "name": pool.name, "slotsPerReplica": pool.slots, "leastReplicas": pool.least,
                "meanReplicas": round(pool.mean, 4), "mostReplicas": pool.most, "reversals": pool.reversals,
                "gpuHours": round(pool.gpu_hours, 4), "busy": round(pool.busy, 4), "cost": _usd(pool.cost),
                "changes": [
                    {"at": change.at, "from": change.before, "to": change.after} for change in pool.changes
                ],
                "minutes": [_minute(minute) for minute in found.minutes if minute.pool == pool.name],
            }
            for pool in found.pools
        ],
        "priorities": [
            {
                "priority": str(row.priority), "requests": row.requests, "local": row.local, "cloud": row.left,
                "refused": row.refused, "waited": row.waited,
                "waitSeconds": row.wait and asdict(row.wait),
                "firstTokenSeconds": row.first_token and asdict(row.first_token),
                "tokenSeconds": row.per_token and asdict(row.per_token),
            }
            for row in found.served
        ],
        "overflow": [
            {
                "pool": row.pool, "destination": row.destination, "reason": str(row.reason),
                "priority": str(row.priority), "requests": row.requests, "inputTokens": row.usage.input,
                "outputTokens": row.usage.output, "cost": _usd(row.cost),
            }
            for row in found.spent
        ],
        "refusals": [
            {
                "reason": str(row.reason), "status": row.status, "priority": str(row.priority),
                "requests": row.requests,
            }
            for row in found.refused
        ],
        "assumptions": {name: value for name, value, _ in found.assumptions},
        "notices": phrases.notices(found),
    }  # fmt: skip


def _minute(minute: Any) -> dict[str, Any]:
    values = asdict(minute)
    del values["pool"], values["looks"]
    return {name: round(value, 3) for name, value in values.items()}


def _usd(value: Any) -> str | None:
    return None if value is None else f"{value:.6f}".rstrip("0").rstrip(".")
