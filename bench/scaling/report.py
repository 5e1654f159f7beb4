"""The figures as tables for a person: all traces at a glance, then each."""

from collections.abc import Iterable
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.scaling.money import GPU_HOUR, GPUS, POINTS
from bench.scaling.settings import OURS

GOALS: Final = "goals: GPU-hours <= 1.35 x oracle at <= 1 % overflow, <= 1 change a day undone within an hour"


def show(found: dict[str, Any], console: Console) -> None:
    """The error first, then the summary, then trace by trace."""
    console.print(found["error"])
    console.print(
        "prices (dear, even, cheap): "
        + "; ".join(f"{point.model} {point.prompt:g}/{point.output:g} $/M tokens ({point.as_of})" for point in POINTS)
        + f"; a replica is {GPUS} GPUs at {GPU_HOUR:g} $/h (assumed)"
    )
    for cold_start in found["cold_starts"]:
        part = [trace for trace in found["traces"] if trace["cold_start"] == cold_start]
        console.print(_summary(part, cold_start))
        console.print(_costs(part, cold_start))
        console.print(budgets_table(part, cold_start))
    for trace in found["traces"]:
        console.print(_trace(trace))


def best_tuned(trace: dict[str, Any], point: str) -> float:
    """Cost a day of the cheapest baseline that was tuned for these prices, on the days that are reported."""
    rows = [row for row in trace["rows"] if row["point"] == point and row["how"].startswith("tuned")]
    return float(min(row["cost_day"][point] for row in rows))


def defaults(trace: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of the scalers as they come, by name."""
    return {row["scaler"]: row for row in trace["rows"] if row["how"] == "own defaults"}


def _summary(traces: list[dict[str, Any]], cold_start: float) -> Table:
    table = Table(
        title=f"As they come, {cold_start:.0f} s cold start: median of {len(traces)} traces (worst)", caption=GOALS
    )
    for title in ("", "GPU-h / oracle", "overflow", "undone/day", "turns/day", "late without cloud"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for name in defaults(traces[0]):
        rows = [defaults(trace)[name] for trace in traces]
        cells = [
            _spread((row["over_oracle"] for row in rows), "{:.2f}"),
            _spread((row["overflow"] * 100 for row in rows), "{:.2f} %"),
            _spread((row["undone_day"] for row in rows), "{:.1f}"),
            _spread((row["turns_day"] for row in rows), "{:.1f}"),
            _spread((row["late_without_cloud"] * 100 for row in rows), "{:.1f} %"),
        ]
        table.add_row(name, *cells, style="bold" if name == OURS else "")
    return table


def _costs(traces: list[dict[str, Any]], cold_start: float) -> Table:
    table = Table(
        title=f"Cost / that of the best tuned baseline, {cold_start:.0f} s cold start: median of the traces (worst)",
        caption="each baseline tuned with twelve settings on other days; under 1: cheaper than the best of them",
    )
    table.add_column("")
    for point in POINTS:
        table.add_column(point.name, justify="right", no_wrap=True)
    kinds = dict.fromkeys((row["scaler"], row["how"].split(" for ")[0].split(" ")[0]) for row in traces[0]["rows"])
    for scaler, how in kinds:
        if scaler == "oracle":
            continue
        cells = []
        for point in POINTS:
            ratios = []
            for trace in traces:
                rows = [row for row in trace["rows"] if row["scaler"] == scaler and row["how"].startswith(how)]
                row = next(row for row in rows if row["point"] in ("", point.name))
                ratios.append(row["cost_day"][point.name] / best_tuned(trace, point.name))
            cells.append(_spread(ratios, "{:.3f}"))
        words = {"own": "own defaults", "told": "own defaults, told the prices", "tuned": "tuned"}
        table.add_row(f"{scaler}, {words[how]}", *cells, style="bold" if scaler == OURS else "")
    return table


def budgets_table(traces: list[dict[str, Any]], cold_start: float) -> Table:
    """forebay with a budget for the whole time, medians (worst)."""
    table = Table(
        title=f"forebay with a budget, {cold_start:.0f} s cold start: median of {len(traces)} traces (worst)",
        caption="the budget is a part of what leaves without one, at dear prices; late: over 2 s, or refused",
    )
    for title in ("", "GPU-h/day", "overflow", "refused", "late", "undone/day", "cloud $/day"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for index, first in enumerate(traces[0]["budgets"]):
        rows = [trace["budgets"][index] for trace in traces]
        shares = [_spread((row[key] * 100 for row in rows), "{:.2f} %") for key in ("overflow", "refused", "late")]
        hours, undone, money = (
            _spread((row[key] for row in rows), form)
            for key, form in (("gpu_hours_day", "{:.1f}"), ("undone_day", "{:.1f}"), ("cloud_cost_day", "{:.2f}"))
        )
        table.add_row(first["how"], hours, *shares, undone, money)
    return table


def _trace(trace: dict[str, Any]) -> Table:
    seen = trace["character"]
    table = Table(
        title=f"{trace['trace']}, {trace['cold_start']:.0f} s cold start: {trace['about']}",
        caption=f"{seen['requests']:,} requests in {seen['days']:g} days, gap CV {seen['gap_cv']}, demand "
        f"{seen['mean_demand']} (busiest minute {seen['peak_demand_minute']}); the oracle loads slots to "
        f"{trace['oracle_load']:.0%}",
    )
    for title in ("", "GPU-h / oracle", "overflow", "High", "Normal", "late", "undone/day", "late without cloud",
                  *(f"$/day {point.name}" for point in POINTS)):  # fmt: skip
        table.add_column(title, justify="right" if title else "left", no_wrap=not title)
    for row in trace["rows"]:
        alone = f"{row['late_without_cloud']:.1%}" if "late_without_cloud" in row else ""
        costs = [f"{row['cost_day'][point.name]:.0f}" if row["point"] in ("", point.name) else "" for point in POINTS]
        by = row["overflow_by_priority"]
        table.add_row(
            f"{row['scaler']}, {row['how']}" if row["how"] else row["scaler"], f"{row['over_oracle']:.2f}",
            f"{row['overflow']:.2%}", f"{by['High']:.2%}", f"{by['Normal']:.2%}", f"{row['late']:.2%}",
            f"{row['undone_day']:.1f}", alone, *costs, style="bold" if row["scaler"] == OURS else "",
        )  # fmt: skip
    return table


def _spread(values: Iterable[float], form: str) -> str:
    found = list(values)
    return f"{form.format(median(found))} ({form.format(max(found))})"
