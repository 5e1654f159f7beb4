"""The figures as tables for a person, and as a picture."""

from html import escape
from math import log10
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH, LEFT, RIGHT, ROW, GAP, TOP = 860, 230, 720, 22, 26, 64
LEAST, MOST = 0.3, 60.0
TICKS = (0.5, 1, 2, 5, 10, 20, 60)
STYLE = """.t{fill:#1f2328}.s{fill:#57606a;font-size:12px}.g{stroke:#d0d7de}.o{stroke:#8c959f;fill:#8c959f}
.f{stroke:#1a7f37;fill:#1a7f37}.e{fill:#fff}
@media (prefers-color-scheme: dark){.t{fill:#e6edf3}.s{fill:#9da7b3}.g{stroke:#30363d}.f{stroke:#3fb950;fill:#3fb950}
.e{fill:#0d1117}}"""


def show(found: dict[str, Any], console: Console) -> None:
    """Tables by load, then the scale step."""
    trace = found["trace"]
    console.print(
        f"{trace['requests']:,} requests of {trace['sessions']:,} sessions, {trace['prompt_tokens_mean']:,} prompt"
        f" tokens each on average, {trace['seen_before_share']:.0%} of them seen before; {found['replicas']} replicas x"
        f" {found['slots_per_replica']} slots, {found['gateways']} gateways;"
        f" 100 % is {found['capacity_requests_per_second']} requests/s"
    )
    table = Table(title="Seconds to the first token; share of prompt tokens found in the cache")
    for title in ("load", "placement", "p50", "p95", "cache hits", "refused"):
        table.add_column(title, justify="left" if title == "placement" else "right")
    for load, rows in found["loads"].items():
        best = {key: min(_value(row, key) for row in rows.values()) for key in ("first_token_p50", "first_token_p95")}
        for name, row in rows.items():
            cells = [
                f"[bold green]{_seconds(row[key], found)}[/]"
                if _value(row, key) == best[key]
                else _seconds(row[key], found)
                for key in best
            ]
            table.add_row(f"{load} %", name, *cells, f"{row['hit_share']:.1%}", f"{row['refused_share']:.1%}")
        table.add_section()
    console.print(table)
    moved = found["moves"]
    steps = Table(title=f"Sessions that a scale step moves (ideal: {moved['ideal']:.1%})")
    for title in (
        "",
        f"{found['replicas']} -> {found['replicas'] + 1}",
        f"{found['replicas'] + 1} -> {found['replicas']}",
    ):
        steps.add_column(title, justify="right" if title else "left")
    steps.add_row("by hashing alone", f"{moved['hash_up']:.1%}", f"{moved['hash_down']:.1%}")
    steps.add_row("as forebay remembers", f"{moved['remembered_up']:.1%}", f"{moved['remembered_down']:.1%}")
    console.print(steps)
    console.print(f"The new replica got {moved['new_replica_share']:.1%} of the requests of the next five minutes.")


def picture(found: dict[str, Any]) -> str:
    """An SVG: by load and placement a bar from p50 to p95 on a logarithmic axis, and the hit share."""
    parts, y = [], TOP
    for load, rows in found["loads"].items():
        parts.append(f'<text class="t" x="12" y="{y + 2}" font-weight="600">{load} % load</text>')
        y += ROW
        for name, row in rows.items():
            parts += _row(name, row, y)
            y += ROW
        y += GAP - ROW // 2
    height = y + 8
    grid = [
        f'<path class="g" d="M{_x(tick):.0f} {TOP - 20} V{y - 14}"/>'
        f'<text class="s" x="{_x(tick):.0f}" y="{TOP - 26}" text-anchor="middle">{tick:g} s</text>'
        for tick in TICKS
    ]
    label = (
        "seconds to the first token by placement and load, p50 and p95, and share of prompt tokens found in the cache"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif"'
        f' font-size="14" role="img" aria-label="{label}">\n<style>{STYLE}</style>\n'
        f'<text class="t" x="12" y="20">Time to the first token, p50 to p95</text>'
        f'<text class="t" x="{WIDTH - 12}" y="20" text-anchor="end">cache hits</text>\n'
        + "\n".join([*grid, *parts])
        + "\n</svg>\n"
    )


def _row(name: str, row: dict[str, Any], y: int) -> list[str]:
    kind = "f" if name == "forebay" else "o"
    begin, end = _x(row["first_token_p50"]), _x(row["first_token_p95"])
    lost = row["first_token_p95"] is None
    dots = f'<circle class="{kind}" cx="{begin:.1f}" cy="{y - 5}" r="5"/>'
    if lost:
        dots += f'<text class="s" x="{RIGHT + 6}" y="{y}">{row["refused_share"]:.0%} refused</text>'
    else:
        dots += f'<circle class="{kind} e" cx="{end:.1f}" cy="{y - 5}" r="4" stroke-width="2"/>'
    return [
        f'<text class="{"t" if kind == "f" else "s"}" x="{LEFT - 24}" y="{y}" text-anchor="end">{escape(name)}</text>',
        f'<path class="{kind}" d="M{begin:.1f} {y - 5} H{end:.1f}" stroke-width="4" stroke-linecap="round"/>{dots}',
        f'<text class="t" x="{WIDTH - 12}" y="{y}" text-anchor="end">{row["hit_share"]:.0%}</text>',
    ]


def _x(seconds: float | None) -> float:
    held = min(MOST, max(LEAST, MOST if seconds is None else seconds))
    return LEFT + (RIGHT - LEFT) * log10(held / LEAST) / log10(MOST / LEAST)


def _value(row: dict[str, Any], key: str) -> float:
    return float("inf") if row[key] is None else float(row[key])


def _seconds(value: float | None, found: dict[str, Any]) -> str:
    return f"> {found['max_wait_seconds']:g}" if value is None else f"{value:.2f}"
