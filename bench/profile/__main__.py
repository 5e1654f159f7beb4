"""`make bench-profile`: time, memory, and the answer against the generator's truth."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.profile.generate import FORMS, Truth, generate
from forebay.cli.profile.asked_pool import AskedPool

POOL: Final = AskedPool(slots=12)
"""Small enough that the log's peaks do not fit into one replica, nor all of them into the best size."""


def main() -> int:
    """Exit status 1 where the answer is more than 3 points off, or the limits of time or memory are passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--json", type=Path, default=Path("bench-profile.json"))
    parser.add_argument("--keep", type=Path, help="folder for the logs and pages; else they are thrown away")
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for form in chosen.forms:
            rows.append(measure(form, chosen.lines, chosen.seed, chosen.keep or Path(folder)))
    show(rows)
    chosen.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"wrote {chosen.json}")
    return 0 if all(row["holds"] for row in rows) else 1


def measure(form: str, lines: int, seed: int, folder: Path) -> dict[str, Any]:
    """Make a log, profile it in a process of its own, compare."""
    log = folder / f"{form}.jsonl"
    truths = []
    with log.open("w") as file:
        made = generate(lines, form, seed)
        for line, truth in track(made, f"writing {form}", lines, console=Console(stderr=True), transient=True):
            file.write(line + "\n")
            if truth is not None:
                truths.append(truth)
    found, seconds, cpu, mebibytes = profiled(log, folder)
    local = found["localShare"]
    truth = share(truths, max(1, found["localFirst"]["replicas"]))
    off = local["value"] - truth
    return {
        "form": form, "lines": lines, "seed": seed, "megabytes": round(log.stat().st_size / 1e6),
        "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_mib": round(mebibytes),
        "malformed": found["log"]["malformed"], "failed": found["log"]["failed"],
        "classified": found["log"]["textsClassified"], "replicas": found["localFirst"]["replicas"],
        "local": round(local["value"], 4), "low": round(local["low"], 4), "high": round(local["high"], 4),
        "truth": round(truth, 4), "points_off": round(100 * off, 2),
        "within": local["low"] <= truth <= local["high"],
        "holds": abs(off) <= 0.03 and cpu <= 60 and mebibytes <= 500,
    }  # fmt: skip


def profiled(log: Path, folder: Path) -> tuple[Any, float, float, float]:
    """What the command says; seconds, CPU seconds, and its peak of memory in MiB."""
    out = folder / "answer.json"
    page = str(folder / f"{log.stem}.html")
    command = [sys.executable, "-m", "forebay.cli", "profile", str(log), "--slots", str(POOL.slots), "--html",
               page, "-o", "json"]  # fmt: skip
    begun = time.monotonic()
    with out.open("w") as file:
        actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), 1)]
        child = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"profile failed on {log.name}")
    seconds = time.monotonic() - begun
    return json.loads(out.read_text()), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def share(truths: Iterable[Truth], replicas: int) -> float:
    """Share that a pool of that size serves, by what the requests really are. Played plainly, slot by slot."""
    ends: list[float] = []
    served = count = 0
    for request in truths:
        count += 1
        while ends and ends[0] <= request.at:
            heappop(ends)
        fits = request.capability in POOL.capabilities and request.prompt + request.output <= POOL.context_tokens
        if fits and len(ends) < replicas * POOL.usable:
            served += 1
            heappush(ends, request.at + POOL.seconds(request.prompt, request.output))
    return served / count


def show(rows: list[dict[str, Any]]) -> None:
    """A table."""
    table = Table(title="kubectl forebay profile against the generator's truth")
    for title in ("log", "lines", "MB", "s", "CPU s", "peak MiB", "local", "bounds", "truth", "off"):
        table.add_column(title, justify="left" if title == "log" else "right")
    for row in rows:
        table.add_row(row["form"], f"{row['lines']:,}", str(row["megabytes"]), str(row["seconds"]),
                      str(row["cpu_seconds"]), str(row["peak_mib"]), f"{row['local']:.1%}",
                      f"{row['low']:.1%} to {row['high']:.1%}", f"{row['truth']:.1%}",
                      f"{row['points_off']:+.1f}")  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    sys.exit(main())
