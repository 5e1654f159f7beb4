"""The figures as a table, and whether the goals are met."""

from typing import Any

from rich.console import Console
from rich.table import Table

WIDE = 180  # columns of a terminal that the table fits into
GOALS = (
    ("per request ≤ 0.6 × Envoy, 1000/s", "forebay", ("at 1000/s", "us"), 0.6),
    ("per request ≤ 0.6 × Envoy, full load", "forebay", ("request", "us"), 0.6),
    ("per chunk ≤ 0.7 × Envoy", "forebay", ("chunk", "us"), 0.7),
    ("per request ≤ 1.25 × Envoy, 1000/s", "forebay gateway + sidecar", ("at 1000/s", "us"), 1.25),
)
NO_WORSE = (
    ("per request, full load", ("request", "us"), 1.03),
    ("per request, 1000/s", ("at 1000/s", "us"), 1.03),
    ("per chunk", ("chunk", "us"), 1.0),
    ("idle", ("idle_mib",), 1.0),
)
"""Beside another checkout (--against): how many times its figure ours may be."""
COLUMNS = (
    ("CPU µs a request, full load", ("request", "us")),
    ("at 1000/s", ("at 1000/s", "us")),
    ("CPU µs a chunk", ("chunk", "us")),
    ("p50 ms 200/s", ("at 200/s", "p50")),
    ("p99", ("at 200/s", "p99")),
    ("p50 ms 1000/s", ("at 1000/s", "p50")),
    ("p99", ("at 1000/s", "p99")),
    ("idle MiB", ("idle_mib",)),
    ("2,000 streams", ("streams", "mib")),
    ("2,000 slow", ("slow", "mib")),
    ("open streams", ("many", "streams")),
    ("failed", ("many", "failed")),
    ("knee chunks/s", ("knee", "chunks_per_second")),
)


def value(results: dict[str, Any], name: str, path: tuple[str, ...]) -> Any:
    """A figure, or None where it was not measured."""
    found: Any = results.get(name)
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def markdown(found: dict[str, Any]) -> str:
    """The table for the docs."""
    results = {name: value for name, value in found["results"].items() if name not in ("direct", "alone")}
    columns = [
        (title, path) for title, path in COLUMNS if any(value(results, name, path) is not None for name in results)
    ]
    lines = ["| router | " + " | ".join(title for title, _ in columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name in results:
        cells = [value(results, name, path) for _, path in columns]
        lines.append(f"| {name} | " + " | ".join("" if cell is None else f"{cell:,}" for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def show(found: dict[str, Any], console: Console) -> None:
    """The table, the goals, the pure parts."""
    results = found["results"]
    if console.width < WIDE:
        console.print(markdown(found), soft_wrap=True, markup=False, highlight=False)
    else:
        console.print(_table(results))
    for part, microseconds in results.get("alone", {}).items():
        console.print(f"{part} alone: {microseconds} µs")
    for text, name, path, bound in GOALS:
        for ours in (name, name.replace("forebay", "forebay compiled")):  # the image's router is compiled
            _judge(f"{ours}, {text}", value(results, ours, path), value(results, "envoy", path), bound, console)
    for other in ("other compiled", "other compiled gateway + sidecar"):
        name = other.replace("other", "forebay")
        for text, path, bound in NO_WORSE:
            _judge(f"{name} beside the other tree, {text}", value(results, name, path), value(results, other, path),
                   bound, console)  # fmt: skip
    idle = value(results, "forebay", ("idle_mib",))
    if idle:
        console.print(f"one router idle ≤ 31 MiB: {idle} {'[green]met[/]' if idle <= 31 else '[red]not met[/]'}")
    for name, why in found["missing"].items():
        console.print(f"{name} is missing: {why}", style="yellow")


def _judge(text: str, ours: float | None, others: float | None, bound: float, console: Console) -> None:
    if ours and others:
        mark = "[green]met[/]" if ours / others <= bound else "[red]not met[/]"
        console.print(f"{text}: {ours / others:.2f} {mark}")


def _table(results: dict[str, Any]) -> Table:
    table = Table(title="Routers in front of one engine, one core each")
    table.add_column("router")
    for title, path in COLUMNS:
        if any(value(results, name, path) is not None for name in results):
            table.add_column(title, justify="right")
    for name in results:
        if name == "alone":
            continue
        cells = [
            value(results, name, path)
            for _, path in COLUMNS
            if any(value(results, other, path) is not None for other in results)
        ]
        table.add_row(name, *("" if cell is None else f"{cell:,}" for cell in cells))
    return table
