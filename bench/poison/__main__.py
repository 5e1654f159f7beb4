"""One client's poison beside everybody's good requests, on real processes (`make poison`).

A cell is a fleet of its own: replicas, a fault, and how many requests a second ask for it, all of one client, each with
another text. Good requests of other clients run beside it. What has to hold: at least 99 % of the good ones are served
locally, and no more of them than without the poison go to a provider, which costs money. In the cells named `all-...`
one replica meets everybody with the fault halfway; the gateway has to leave it alone within 10 s. An engine that was
killed starts again after two seconds. Exits with 1 where something did not hold.
"""

import argparse
import asyncio
import fnmatch
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.fleet import Fleet, Process, Shape
from bench.poison.clients import GOOD, POISON, Clients
from forebay.resources.table import QueueEntry

REPLICAS: Final = (1, 3)
POISONS: Final = ("500", "error-event", "kill", "401", "silent")
BROKEN: Final = ("500", "silent")
RATES: Final = (2, 20, 50)
GOOD_RATE: Final = 20.0
PACE_MS: Final = 10.0
FIRST_TOKEN_SECONDS: Final = 5.0
LEAST_LOCAL_PERCENT: Final = 99.0
MOST_OUT_SECONDS: Final = 10.0
SLOTS: Final = 64
BROKEN_SLOTS: Final = 256
"""So many that a silent replica is left alone because it fails, not because it is full."""
RESTART_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.1
QUIET_SECONDS: Final = 0.8
"""Without a request at a broken engine; less than the shortest time that a gateway leaves a replica alone."""


@dataclass(frozen=True)
class Cell:
    """What happens in one fleet. A fault without `rate` is everybody's, at the first replica."""

    replicas: int
    fault: str = ""
    rate: int = 0

    @property
    def broken(self) -> bool:
        """Whether a replica is really broken."""
        return bool(self.fault) and not self.rate

    @property
    def name(self) -> str:
        """As `--cells` has it."""
        if self.rate:
            return f"{self.replicas}/{self.fault}/{self.rate}"
        return f"{self.replicas}/all-{self.fault}" if self.fault else f"{self.replicas}/none"


def cells() -> list[Cell]:
    """All of them, those without poison first."""
    return [
        cell
        for replicas in REPLICAS
        for cell in (
            Cell(replicas),
            *(Cell(replicas, fault, rate) for fault in POISONS for rate in RATES),
            *(Cell(replicas, fault) for fault in BROKEN),
        )
    ]


async def play(fleet: Fleet, cell: Cell, seconds: float, good_rate: float) -> dict[str, Any]:
    """One cell."""
    clients = Clients(fleet.gateway.ports["request"])
    load = asyncio.ensure_future(
        clients.run(good_rate, cell.fault if cell.rate else "", cell.rate, seconds * 2 if cell.broken else seconds)
    )
    killed, out = 0, None
    if cell.broken:
        await asyncio.sleep(seconds / 2)
        out = await asyncio.to_thread(seconds_until_out, fleet.engines[0], cell.fault, seconds * 1.5)
    while not load.done():
        await asyncio.sleep(LOOK_SECONDS)
        killed += fleet.revive(RESTART_SECONDS)
    await load
    good, bad = clients.good, clients.bad
    served = good.count("local") + good.count("cloud")
    return {
        "cell": cell.name,
        "good": good.sent,
        "served_percent": percent(served, good.sent),
        "local_percent": percent(good.count("local"), good.sent),
        "paid_good": good.count("cloud"),
        "p95_ms": good.p95_ms(),
        "bad": bad.sent,
        "paid_bad": bad.count("cloud"),
        "killed": killed,
        "out_seconds": out,
        "good_ends": dict(good.ends.most_common()),
        "bad_ends": dict(bad.ends.most_common()),
    }


def seconds_until_out(engine: Process, fault: str, longest: float) -> float | None:
    """Break an engine; until no request comes there for a while, if that is before `longest`."""
    engine.get("request", f"/break/{fault}")
    begun = latest = time.monotonic()
    posts = 0
    while (now := time.monotonic()) < begun + longest:
        count = int(engine.get("request", "/count"))
        if count > posts:
            posts, latest = count, now
        elif now - latest >= QUIET_SECONDS:
            return round(latest - begun, 1)
        time.sleep(LOOK_SECONDS)
    return None


def percent(part: int, whole: int) -> float:
    """With one decimal, rounded down: 99.96 is not everything."""
    return part * 1000 // max(1, whole) / 10


def problem(cell: Cell, found: dict[str, Any], paid_before: int) -> str:
    """What did not hold, or nothing."""
    wrong = []
    if not cell.broken:
        if found["local_percent"] < LEAST_LOCAL_PERCENT:
            wrong.append(f"{found['local_percent']:g} % local")
        if found["paid_good"] > paid_before:
            wrong.append(f"{found['paid_good']} paid")
    elif found["out_seconds"] is None or found["out_seconds"] > MOST_OUT_SECONDS:
        wrong.append("not out within 10 s")
    return ", ".join(wrong)


def one(
    cell: Cell,
    seconds: float,
    first_token: float = FIRST_TOKEN_SECONDS,
    good_rate: float = GOOD_RATE,
    pace_ms: float = PACE_MS,
) -> dict[str, Any]:
    """A fleet, its cell, and the fleet's end. Raises TimeoutError when it does not start, three times."""
    service = {"first_ms": 30, "pace_ms": pace_ms}
    shape = Shape(
        replicas=cell.replicas,
        slots=BROKEN_SLOTS if cell.broken else SLOTS,
        queue=QueueEntry(max_wait_seconds=10),
        engine={**service, "poison": True},
        provider=service,
        flags=(f"--first-token-seconds={first_token:g}",),
        clients=(*GOOD, POISON),
    )
    for last in (False, False, True):
        with tempfile.TemporaryDirectory() as folder:
            fleet = Fleet(Path(folder), shape)
            try:
                fleet.wait_ready()
                return uvloop.run(play(fleet, cell, seconds, good_rate))
            except TimeoutError:  # somebody else took one of its ports
                if last:
                    raise
            finally:
                fleet.stop(at_once=True)
    raise AssertionError


def show(found: list[dict[str, Any]], console: Console) -> None:
    """The table."""
    table = Table(
        "cell", "good", "served %", "local %", "p95 ms", "paid", "without", "bad", "paid, bad", "killed", "out s",
        "what did not hold",
    )  # fmt: skip
    for row in found:
        columns = ("cell", "good", "served_percent", "local_percent", "p95_ms", "paid_good", "paid_without", "bad",
                   "paid_bad", "killed", "out_seconds", "problem")  # fmt: skip
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    console.print(table)


def main() -> int:
    """Run, print, write the JSON file."""
    parser = argparse.ArgumentParser(prog="bench.poison", description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="of one cell; twice that where a replica is broken")
    parser.add_argument("--cells", default="*", help="patterns of cells, by commas: 3/kill/*,?/all-*")
    parser.add_argument("--good-rate", type=float, default=GOOD_RATE, help="good requests a second")
    parser.add_argument("--pace-ms", type=float, default=PACE_MS, help="between the eight tokens of an answer")
    parser.add_argument("--first-token-seconds", type=float, default=FIRST_TOKEN_SECONDS, help="of the routers")
    parser.add_argument("--json", type=Path, default=Path("build/poison.json"))
    chosen = parser.parse_args()
    patterns = chosen.cells.split(",")
    wanted = [cell for cell in cells() if any(fnmatch.fnmatchcase(cell.name, pattern) for pattern in patterns)]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    found: list[dict[str, Any]] = []
    paid: dict[int, int] = {}  # without poison, by replicas
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(wanted))
        for cell in wanted:
            progress.update(bar, description=cell.name)
            row = one(cell, chosen.seconds, chosen.first_token_seconds, chosen.good_rate, chosen.pace_ms)
            if not cell.fault:
                paid[cell.replicas] = row["paid_good"]
            row["paid_without"] = paid.get(cell.replicas)
            row["problem"] = problem(cell, row, paid.get(cell.replicas, 0))
            found.append(row)
            progress.console.print(
                f"{cell.name}: {row['local_percent']:g} % local, {row['paid_good']} paid, good: {row['good_ends']}, "
                f"bad: {row['bad_ends']}",
                highlight=False,
            )
            progress.advance(bar)
            chosen.json.parent.mkdir(parents=True, exist_ok=True)
            chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    show(found, Console(width=None if sys.stdout.isatty() else 160))
    return 1 if any(row["problem"] for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
