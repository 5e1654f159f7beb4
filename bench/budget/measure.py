"""Play schedules through every way: what is billed above the amount, and what is left although it was wanted."""

import heapq
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from bench.budget.schedule import Ask, Schedule, Weather, drawn
from bench.budget.ways import WAYS, Forebay, Way

AGAIN_SECONDS = 1.0
PATIENCE_SECONDS = 20.0
"""How long a request that finds no money is asked again, as one that waits in a queue is."""


LAST_PART = 0.95


def play(schedule: Schedule, way: Way) -> dict[str, float]:
    """One schedule: parts of the amount that were overspent and left unused, and how long those waited that were served
    while a twentieth of it was left."""
    billed = 0.0
    waits: list[float] = []
    due: list[tuple[float, int, str, Any]] = []
    for order, ask in enumerate(schedule.asks):
        due.append((ask.at, order, "ask", ask))
    for order, (at, kind, where) in enumerate(schedule.troubles):
        due.append((at, -order - 1, "trouble", (kind, where)))
    heapq.heapify(due)
    number = len(due)
    while due:
        at, _, what, item = heapq.heappop(due)
        way.run(at)
        number += 1
        if what == "trouble":
            way.trouble(*item)
        elif what == "end":
            way.end(*item)
        else:
            ask: Ask = item
            sent = way.begin(ask)
            if sent is not None:
                billed += ask.cost
                if billed < LAST_PART * schedule.amount:
                    waits.append(at - ask.at)
                heapq.heappush(due, (at + ask.seconds, number, "end", (sent, ask)))
            elif at - ask.at < PATIENCE_SECONDS:
                heapq.heappush(due, (at + AGAIN_SECONDS, number, "ask", ask))
    waits.sort()
    wanted = sum(ask.cost for ask in schedule.asks)
    most = min(schedule.amount, wanted)
    found = {
        "overspent": max(0.0, billed - schedule.amount) / schedule.amount,
        "unused": max(0.0, most - billed) / schedule.amount,
        "wait_p99": waits[int(len(waits) * 0.99)] if waits else 0.0,
    }
    if isinstance(way, Forebay):
        found["writes_per_second"] = way.town.writes / schedule.seconds
    return found


def measure(
    seeds: Iterable[int], weathers: Iterable[Weather], tell: Callable[[str], None] = lambda _: None
) -> dict[str, dict[str, dict[str, float]]]:
    """By weather and way: over all seeds, the most and the median of what was overspent and left unused."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    seeds = tuple(seeds)
    for weather in weathers:
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
        for seed in seeds:
            tell(f"{weather.name} {seed}")
            schedule = drawn(seed, weather)
            for name, make in WAYS.items():
                with tempfile.TemporaryDirectory() as folder:
                    rows[name].append(play(schedule, make(schedule, Path(folder))))
        found[weather.name] = {name: _summary(items) for name, items in rows.items()}
    return found


def _summary(rows: list[dict[str, float]]) -> dict[str, float]:
    over, unused = [row["overspent"] for row in rows], [row["unused"] for row in rows]
    made = {
        "overspent_median": median(over),
        "overspent_most": max(over),
        "unused_median": median(unused),
        "unused_most": max(unused),
        "wait_p99_most": max(row["wait_p99"] for row in rows),
    }
    if "writes_per_second" in rows[0]:
        made["writes_per_second_most"] = max(row["writes_per_second"] for row in rows)
    return made
