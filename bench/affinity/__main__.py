"""`make bench-affinity`: where sessions go, in simulated time. Exact for a seed: no clock and no network takes part."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.affinity.measure import measure, placements
from bench.affinity.report import picture, show
from bench.affinity.setup import Setup
from bench.affinity.trace import generated, recorded


def main() -> int:
    """Print the tables, write the JSON file and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--trace", type=Path, help="Mooncake's conversation trace (JSON lines); generated ones if left out"
    )
    parser.add_argument("--requests", type=int, default=12_000, help="how many to generate")
    parser.add_argument(
        "--loads", type=int, nargs="+", default=[70, 95, 110], help="percent of what the pool can serve"
    )
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--addresses", type=int, default=12, help="that the clients come from, for ClientIP")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("bench-affinity.json"))
    parser.add_argument("--svg", type=Path, default=Path("bench-affinity.svg"))
    chosen = parser.parse_args()
    if chosen.trace is not None and not chosen.trace.is_file():
        parser.error(f"there is no trace at {chosen.trace}: leave --trace out to generate one")
    requests = recorded(chosen.trace, chosen.seed) if chosen.trace else generated(chosen.requests, chosen.seed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, console=Console(stderr=True)) as progress:
        parts = len(chosen.loads) * len(placements(chosen.addresses)) + 2
        bar = progress.add_task("", total=parts)
        begun = [-1]

        def begin(title: str) -> Callable[[float], None]:
            begun[0] += 1
            progress.update(bar, description=title, completed=begun[0])
            return lambda share: progress.update(bar, completed=begun[0] + min(1.0, share))

        setup = Setup(replicas=chosen.replicas, gateways=chosen.gateways)
        found = measure(requests, setup, chosen.loads, chosen.addresses, chosen.seed, begin)
    found["trace"]["source"] = chosen.trace.name if chosen.trace else f"generated, seed {chosen.seed}"
    show(found, Console())
    chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    chosen.svg.write_text(picture(found))
    print(f"wrote {chosen.json} and {chosen.svg}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
