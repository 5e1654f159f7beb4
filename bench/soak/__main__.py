"""A long run through gateway, sidecars and engines as real processes; what they hold at its end (`make soak`).

Memory is compared with that after a quarter of the requests, both times at rest: until then the allocator and the
remembered sessions fill up, which is no leak. Exits with 1 when something was left
behind, memory grew by more than a fiftieth, or a client got what it should not.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.fleet import Fleet, Shape
from bench.soak.clients import Soak
from forebay.resources.table import QueueEntry

FAULTS: Final = {"reset": 0.003, "500": 0.003, "error200": 0.002, "cut": 0.004, "stall": 0.00002, "429": 0.00002}
REST_SECONDS: Final = 7.0
"""Longer than connections between routers are kept idle."""
DRIFT_PERCENT: Final = 2.0
QUICK_DRIFT_PERCENT: Final = 8.0
"""A short run has not seen all of its warm-up."""


def held(fleet: Fleet) -> dict[str, dict[str, float]]:
    """What each router holds at rest."""
    found: dict[str, dict[str, float]] = {}
    for process in fleet.routers:
        gateway = process is fleet.gateway
        report = process.report()
        found[process.name] = {
            "memory_mib": round(process.memory() / 2**20, 2),
            "sockets": process.sockets(),
            "client_connections": process.gauge("forebay_connections"),
            "body_bytes": process.gauge("forebay_body_bytes"),
            "calls": 0.0 if not gateway else process.gauge("forebay_upstream_calls"),
            "slots_running": report.get("running", 0),
            "places": sum(pool["queued"] for pool in report.get("pools", ())),
        }
    return found


def problems(before: dict[str, Any], after: dict[str, Any], ends: dict[str, int], drift: float) -> list[str]:
    """What is wrong, in sentences."""
    found = [f"{count} x {end}" for end, count in ends.items() if end.startswith(("WRONG", "stuck", "no connection"))]
    for name, now in after.items():
        for what in ("client_connections", "body_bytes", "calls", "slots_running", "places"):
            if now[what]:
                found.append(f"{name}: {what} is {now[what]:g} at rest")
        if now["sockets"] > before[name]["sockets"] + 2:
            found.append(f"{name}: {now['sockets']:g} sockets at rest, {before[name]['sockets']:g} before")
        grown = percent(before[name]["memory_mib"], now["memory_mib"])
        if grown > drift:
            found.append(f"{name}: memory grew by {grown:.1f} %")
    return found


def percent(before: float, after: float) -> float:
    """By how much it grew."""
    return (after / before - 1) * 100


async def soak(fleet: Fleet, chosen: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Warm up, rest, look, run, rest, look."""
    end = time.monotonic() + chosen.minutes * 60
    warm = chosen.requests // (4 if chosen.requests >= 100_000 else 2)
    clients = Soak(fleet.gateway.ports["request"], chosen.clients)
    bar = progress.add_task("warming up", total=chosen.requests)

    async def part(count: int, text: str) -> dict[str, Any]:
        progress.update(bar, description=text)
        await clients.run(count, end, lambda: progress.update(bar, completed=clients.sent))
        progress.update(bar, description="at rest", completed=clients.sent)
        clients.close()
        await asyncio.sleep(REST_SECONDS)
        return held(fleet)

    began = time.monotonic()
    before = await part(warm, "warming up")
    steps = [before]
    for number in range(chosen.steps):
        left = chosen.requests - clients.sent
        steps.append(await part(left // (chosen.steps - number), f"part {number + 1} of {chosen.steps}"))
    return {
        "requests": clients.sent,
        "seconds": round(time.monotonic() - began, 1),
        "ends": dict(clients.ends.most_common()),
        "before": before,
        "after": steps[-1],
        "memory_mib": {name: [step[name]["memory_mib"] for step in steps] for name in before},
        "drift_percent": {n: round(percent(before[n]["memory_mib"], steps[-1][n]["memory_mib"]), 2) for n in before},
    }


def show(found: dict[str, Any], console: Console) -> None:
    """The tables."""
    table = Table("how it ended", "requests", title=f"{found['requests']} requests in {found['seconds']:g} s")
    for end, count in found["ends"].items():
        table.add_row(end, str(count))
    console.print(table)
    table = Table("at rest", *found["after"], title="what is held at the end")
    for what in next(iter(found["after"].values())):
        table.add_row(what.replace("_", " "), *(f"{router[what]:g}" for router in found["after"].values()))
    table.add_row("memory grew by %", *(f"{grown:g}" for grown in found["drift_percent"].values()))
    console.print(table)


def main() -> int:
    """Run, print, write the JSON file."""
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=40.0, help="stop then, whatever was done")
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--steps", type=int, default=4, help="times to rest and look at memory after the warm-up")
    parser.add_argument("--json", type=Path, default=Path("build/soak.json"))
    chosen = parser.parse_args()
    drift = DRIFT_PERCENT if chosen.requests >= 500_000 else QUICK_DRIFT_PERCENT
    shape = Shape(
        slots=32,
        queue=QueueEntry(max_wait_seconds=10),
        engine={"faults": FAULTS},
        flags=("--between-chunks-seconds=3", "--first-token-seconds=5"),
    )
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        fleet = Fleet(Path(folder), shape)
        try:
            fleet.wait_ready()
            found = uvloop.run(soak(fleet, chosen, progress))
            logs = [process.name for process in fleet.routers if b"Traceback" in _log(fleet, process.name)]
        finally:
            fleet.stop()
    found["problems"] = problems(found["before"], found["after"], found["ends"], drift)
    found["problems"] += [f"{name}: an exception in its log" for name in logs]
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    show(found, Console())
    for problem in found["problems"]:
        console.print(f"not good: {problem}", style="red")
    return 1 if found["problems"] else 0


def _log(fleet: Fleet, name: str) -> bytes:
    return (fleet.folder / f"{name}.log").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
