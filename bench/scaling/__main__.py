"""`make bench-scaling`: GPU-hours and money of each scaler, in simulated time. Exact for a seed: there is no clock."""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.scaling.load import CHARACTERS, DAY, Load, generated
from bench.scaling.measure import Days, benches, measure, plays
from bench.scaling.picture import picture
from bench.scaling.play import Setup, play
from bench.scaling.recorded import recorded
from bench.scaling.report import show
from bench.scaling.settings import KINDS

ERROR: Final = (
    "The model's own error: docs/scaling.md compares it with the request-level replay; what the simulated engine's "
    "times are worth: see docs/simulator.md"
)
SHOWN: Final = ("service", ("forebay", "HPA, in flight"), 8)  # the day that is drawn: trace, scalers, number
_said: "Queue[str] | None" = None


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, write the JSON file and the picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--traces", type=Path, help="folder with recorded traces; generated ones alone if left out")
    parser.add_argument("--only", nargs="+", default=[], help="names of traces")
    parser.add_argument("--cold-starts", type=float, nargs="+", default=[120.0, 300.0], metavar="SECONDS")
    parser.add_argument("--quick", action="store_true", help="tuned on one day, reported on another")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path("bench-scaling.json"))
    parser.add_argument("--svg", type=Path, default=Path("bench-scaling.svg"))
    chosen = parser.parse_args(argv)
    if chosen.traces is not None and not chosen.traces.is_dir():
        parser.error(f"there is no folder {chosen.traces}: leave --traces out to use generated traces alone")
    days = Days((1.0, 2.0), (8.0, 9.0)) if chosen.quick else Days()
    work: list[tuple[Load | None, str]] = [(None, kind.name) for kind in CHARACTERS]
    work += recorded(chosen.traces) if chosen.traces else []
    work = [item for item in work if not chosen.only or (item[0].name if item[0] else item[1]) in chosen.only]
    if not work:
        parser.error(f"no trace has one of these names: {' '.join(chosen.only)}")
    traces = _run(work, days, chosen.cold_starts, chosen.seed, chosen.jobs)
    found = {
        "error": ERROR,
        "seed": chosen.seed,
        "cold_starts": chosen.cold_starts,
        "days": {"tuned_on": days.tune, "reported": days.report},
        "day": _day(days, max(chosen.cold_starts), chosen.seed),
        "traces": traces,
    }
    show(found, Console(width=170 if not sys.stdout.isatty() else None))
    chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    chosen.svg.write_text(picture(found))
    print(f"wrote {chosen.json} and {chosen.svg}")
    return 0


def _run(
    work: list[tuple[Load | None, str]], days: Days, cold_starts: list[float], seed: int, jobs: int
) -> list[dict[str, Any]]:
    """All traces, a process each at a time; results in the order of the work."""
    context = get_context("fork")
    said: Queue[str] = context.Queue()
    columns = (
        TextColumn("{task.description:40}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with (
        Progress(*columns, transient=True, console=Console(stderr=True)) as progress,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_listen, initargs=(said,)) as pool,
    ):
        bar = progress.add_task("", total=plays(len(work), len(cold_starts)))
        futures = {pool.submit(_one, own, like, days, cold_starts, seed): at for at, (own, like) in enumerate(work)}
        results: dict[int, list[dict[str, Any]]] = {}
        left = set(futures)
        while left:
            try:
                progress.update(bar, advance=1, description=said.get(timeout=0.5))
            except Empty:
                for future in [future for future in left if future.done()]:
                    results[futures[future]] = future.result()
                    left.discard(future)
        for future in as_completed(futures):
            results[futures[future]] = future.result()
    return [trace for at in sorted(results) for trace in results[at]]


def _listen(said: "Queue[str]") -> None:
    global _said  # noqa: PLW0603 - a worker's one way to say how far it is
    _said = said


def _one(own: Load | None, like: str, days: Days, cold_starts: list[float], seed: int) -> list[dict[str, Any]]:
    name = own.name if own else like

    def say(words: str) -> None:
        if _said is not None:
            _said.put(f"{name}: {words}")

    return [measure(bench) for bench in benches(own, like, days, cold_starts, seed, say)]


def _day(days: Days, cold_start: float, seed: int) -> dict[str, Any]:
    """One day of one trace under a few scalers, to be looked at."""
    name, scalers, number = SHOWN
    kind = next(kind for kind in CHARACTERS if kind.name == name)
    load = generated(kind, days.all, seed).part(number * DAY, (number + 1) * DAY)
    setup = Setup(cold_start=cold_start)
    lines = {}
    for scaler in scalers:
        sizes = play(load, setup, KINDS[scaler].make(load, setup, None, ()), 2).sizes
        lines[scaler] = [(round(time / 3600, 3), size * setup.capacity) for time, size in sizes]
    return {"trace": name, "demand": [round(value, 1) for value in load.demand(300.0)], "slots": lines}


if __name__ == "__main__":
    sys.exit(main())
