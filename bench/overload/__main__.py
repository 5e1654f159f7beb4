"""First half the load that the fleet can carry, then ten times as much as it can (`make overload`).

What has to hold: High's first token comes as fast as before (95th percentile at most 1.2 times), all others are served,
sent to a provider, or told when to come back; nothing breaks, and memory stays bounded. Exits with 1 otherwise.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.fleet import Fleet, Shape
from bench.overload.clients import CHUNKS, Load
from forebay.resources.table import QueueEntry

REPLICAS: Final = 2
SLOTS: Final = 10
FIRST_MS: Final = 150
PACE_MS: Final = 25
CAPACITY: Final = REPLICAS * SLOTS / ((FIRST_MS + CHUNKS * PACE_MS) / 1000)
"""Requests a second that the engines can carry."""
MIX: Final = {"High": 0.04, "Normal": 0.76, "Low": 0.20}
"""Even at ten times the capacity High alone is less than half of it."""
MOST_TIMES: Final = 1.2
MEMORY_MIB: Final = 150.0
"""What a gateway may hold with full queues of these requests."""


def phase(fleet: Fleet, rate: float, seconds: float, seed: int, progress: Progress, text: str) -> dict[str, Any]:
    """One phase and what was seen of it."""
    bar = progress.add_task(text, total=1.0)
    peak = 0.0

    def look(share: float) -> None:
        nonlocal peak
        if share * 1000 % 50 < 2:
            peak = max(peak, fleet.gateway.memory() / 2**20)
        progress.update(bar, completed=share)

    async def run() -> Load:
        load = Load(fleet.gateway.ports["request"], MIX, seed)
        await load.run(rate, seconds, look)
        return load

    load = uvloop.run(run())
    progress.update(bar, completed=1.0)
    return {
        "rate": round(rate, 1),
        "seconds": seconds,
        "gateway_peak_mib": round(max(peak, fleet.gateway.memory() / 2**20), 1),
        "priorities": {
            name: {
                "sent": seen.sent,
                "first_ms_p50": seen.percentile(50),
                "first_ms_p95": seen.percentile(95),
                "ends": dict(seen.ends.most_common()),
                "wrong": dict(seen.wrong),
            }
            for name, seen in sorted(load.seen.items(), key=lambda item: list(MIX).index(item[0]))
        },
    }


def problems(calm: dict[str, Any], storm: dict[str, Any]) -> list[str]:
    """What is wrong, in sentences."""
    found = [
        f"{name} at {part['rate']:g}/s: {count} x {what}"
        for part in (calm, storm)
        for name, seen in part["priorities"].items()
        for what, count in seen["wrong"].items()
    ]
    before, after = (part["priorities"]["High"]["first_ms_p95"] for part in (calm, storm))
    if before is None or after is None or after > MOST_TIMES * before:
        found.append(f"High's first token took {after} ms (95th percentile), {before} ms at half load")
    if refused := sum(n for end, n in storm["priorities"]["High"]["ends"].items() if end[:3] in ("429", "503")):
        found.append(f"{refused} High requests were refused")
    if storm["gateway_peak_mib"] > MEMORY_MIB:
        found.append(f"the gateway held {storm['gateway_peak_mib']} MiB")
    return found


def show(found: dict[str, Any], console: Console) -> None:
    """The tables."""
    for title, part in (("half load", found["calm"]), ("ten times the capacity", found["storm"])):
        text = f"{title}: {part['rate']:g} requests/s for {part['seconds']:g} s, gateway {part['gateway_peak_mib']} MiB"
        table = Table("priority", "sent", "first token p50 ms", "p95 ms", "what became of them", title=text)
        for name, seen in part["priorities"].items():
            ends = "\n".join(f"{count} {end}" for end, count in {**seen["ends"], **seen["wrong"]}.items())
            table.add_row(name, str(seen["sent"]), str(seen["first_ms_p50"]), str(seen["first_ms_p95"]), ends)
        console.print(table)


def main() -> int:
    """Run, print, write the JSON file."""
    parser = argparse.ArgumentParser(prog="bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="of ten times the capacity")
    parser.add_argument("--times", type=float, default=10.0)
    parser.add_argument("--no-cloud", action="store_true", help="without a provider to overflow to")
    parser.add_argument("--json", type=Path, default=Path("build/overload.json"))
    chosen = parser.parse_args()
    service = {"first_ms": FIRST_MS, "pace_ms": PACE_MS}
    shape = Shape(
        replicas=REPLICAS,
        slots=SLOTS,
        queue=QueueEntry(max_wait_seconds=5, max_requests=100),
        engine=service,
        provider=None if chosen.no_cloud else service,
        provider_limit=10,
    )
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        fleet = Fleet(Path(folder), shape)
        try:
            fleet.wait_ready()
            calm_seconds = max(15.0, chosen.seconds / 5)
            calm = phase(fleet, CAPACITY / 2, calm_seconds, 1, progress, "half load")
            storm = phase(fleet, CAPACITY * chosen.times, chosen.seconds, 2, progress, f"{chosen.times:g} x capacity")
        finally:
            fleet.stop()
    found = {"capacity": round(CAPACITY, 1), "calm": calm, "storm": storm, "problems": problems(calm, storm)}
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    show(found, Console())
    for problem in found["problems"]:
        console.print(f"not good: {problem}", style="red")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
