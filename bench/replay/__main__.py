"""`make bench-replay`: how far a replay can be believed. TRACE=file measures the quick engine on that trace as well."""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.replay import agreement, error
from forebay.replay import TraceRequest
from forebay.replay.readers import read
from forebay.simulator.batch import BatchLimits

ROOMY = BatchLimits(kv_tokens=400_000)


def main() -> int:
    """Print the tables, write the JSON file. 1 when fewer than 99 % of the decisions agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="of each trace through the router")
    parser.add_argument("--traces", type=int, default=5)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--trace", type=Path, action="append", default=[], help="a recorded one, for the quick engine")
    parser.add_argument("--json", type=Path, default=Path("bench-replay.json"))
    chosen = parser.parse_args()
    if absent := [path for path in chosen.trace if not path.is_file()]:
        parser.error(f"there is no trace at {absent[0]}: leave it out to use generated ones")
    console = Console()
    agreed = _agreement(chosen.requests, chosen.traces, console)
    errors = {"generated": error.compare(list(_generated(20_000)), chosen.slots, ROOMY)}
    for path in chosen.trace:
        errors[path.name] = error.compare(read(path).requests, chosen.slots, ROOMY)
    for name, found in errors.items():
        _show(name, found, console)
    chosen.json.write_text(json.dumps({"agreement": agreed, "engines": {n: asdict(e) for n, e in errors.items()}},
                                      indent=1) + "\n")  # fmt: skip
    console.print(f"wrote {chosen.json}")
    return 0 if agreed["share"] >= 0.99 else 1


def _agreement(requests: int, traces: int, console: Console) -> dict[str, float]:
    total = same = 0
    reasons: Counter[tuple[str, str]] = Counter()
    different: Counter[tuple[str, str]] = Counter()
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        bar = progress.add_task("through the real router", total=traces)
        for seed in range(1, traces + 1):
            found = agreement.compare(
                requests, seed, lambda part, done=seed - 1: progress.update(bar, completed=done + part)
            )
            total, same = total + found.requests, same + found.same
            for (_, destination, reason), n in found.by_decision.items():
                reasons[destination, reason] += n
            for _, (_, destination, reason), _ in found.differences:
                different[destination, reason] += 1
    title = f"{same} of {total} decisions of the real router are replay's ({same / total:.2%})"
    table = Table("destination", "reason", "decisions", "replay says otherwise", title=title)
    for (destination, reason), n in reasons.most_common():
        table.add_row(destination, reason, str(n), str(different[destination, reason]))
    console.print(table)
    return {"requests": total, "same": same, "share": same / total}


def _show(name: str, found: error.Error, console: Console) -> None:
    table = Table("figure", "exact", "quick", "off by", title=f"{name}: {found.requests} requests, two replicas")
    for row, exact, quick in found.rows:
        table.add_row(row, f"{exact:.4g}", f"{quick:.4g}", f"{quick / exact - 1:+.1%}")
    speeds = (found.exact.speed, found.quick.speed)
    table.add_row("requests a minute of CPU", *(f"{speed:,.0f}" for speed in speeds), "")
    console.print(table)


def _generated(count: int) -> Iterator[TraceRequest]:
    """Bursts and lulls of five minutes, log-normal lengths."""
    rng, at = random.Random(1), 0.0
    for _ in range(count):
        at += rng.expovariate(8.0 if at // 300 % 2 else 2.0)
        yield TraceRequest(at, 20 + int(rng.lognormvariate(6.5, 1)), 1 + int(rng.lognormvariate(4.9, 0.8)))


if __name__ == "__main__":
    sys.exit(main())
