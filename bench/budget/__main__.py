"""`make bench-budget`: what a budget overspends and leaves unspent when things break, beside other ways to keep one."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.budget.measure import measure
from bench.budget.schedule import WEATHERS


def show(found: dict[str, dict[str, dict[str, float]]], console: Console) -> None:
    """Print the tables."""
    for weather, ways in found.items():
        table = Table(title=weather, title_justify="left")
        for title in ("way", "overspent, median", "most", "unused, median", "most", "wait p99, s", "writes/s"):
            table.add_column(title, justify="left" if title == "way" else "right")
        for name, row in ways.items():
            shares = (row["overspent_median"], row["overspent_most"], row["unused_median"], row["unused_most"])
            writes = row.get("writes_per_second_most")
            table.add_row(
                name,
                *(f"{share:.2%}" for share in shares),
                f"{row['wait_p99_most']:.1f}",
                "" if writes is None else f"{writes:.2f}",
            )
        console.print(table)


def main() -> int:
    """Print the tables, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="schedules of each weather")
    parser.add_argument("--json", type=Path, default=Path("bench-budget.json"))
    chosen = parser.parse_args()
    console = Console(stderr=True)
    with console.status("") as status:
        found = measure(range(chosen.seeds), WEATHERS, status.update)
    show(found, Console())
    chosen.json.write_text(json.dumps({"seeds": chosen.seeds, "weathers": found}, indent=1) + "\n")
    print(f"wrote {chosen.json}")
    worst = max(row["forebay"]["overspent_most"] for row in found.values())
    return 0 if worst == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
