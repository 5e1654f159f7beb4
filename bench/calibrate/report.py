"""The errors as tables for a person, and as a picture."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.calibrate.measure import Line, Off
from bench.calibrate.runs import Run

WIDTH, LEFT, PANEL, HIGH, GAP, TOP = 860, 52, 350, 150, 74, 88
STYLE = """.t{fill:#1f2328}.s{fill:#57606a;font-size:12px}.g{stroke:#d0d7de}.r{stroke:#8c959f}.m{stroke:#1a7f37}
.l{fill:none;stroke-width:2}.w{stroke-dasharray:3 4}
@media (prefers-color-scheme: dark){.t{fill:#e6edf3}.s{fill:#9da7b3}.g{stroke:#30363d}.r{stroke:#6e7681}
.m{stroke:#3fb950}}"""


def show(rows: Mapping[str, Mapping[str, Off]], console: Console) -> None:
    """A row for each run and each way to come by its service times."""
    table = Table(title="How far the simulated engine is from recorded runs")
    for title in ("service times from", "per token", "p90", "first token", "p90", "running", "waiting", "end"):
        table.add_column(title, justify="right" if table.columns else "left")
    for run, ways in rows.items():
        table.add_row(f"[bold]{run}[/]")
        for way, off in ways.items():
            waiting = "-" if off.waiting is None else f"{off.waiting:.0%}"
            requests = (off.per_token, off.per_token_p90, off.first_token, off.first_token_p90)
            cells = (f"{value:.1%}" for value in requests)
            table.add_row(f"  {way}", *cells, f"{off.running:.0%}", waiting, f"{off.end:+.0%}")
        table.add_section()
    console.print(table)
    console.print("Errors of requests: median and p90 of their distance. Of gauges: mean distance over their mean.")


def picture(lines: Sequence[tuple[Run, Line, Off]]) -> str:
    """An SVG: what ran and what waited in each run, recorded and simulated."""
    parts = []
    for number, (run, line, off) in enumerate(lines):
        x = LEFT + (number % 2) * (PANEL + 58)
        parts += _panel(run, line, off, x, TOP + (number // 2) * (HIGH + GAP))
    height = TOP + (len(lines) + 1) // 2 * (HIGH + GAP) - 20
    key = (
        '<path class="l r" d="M12 40h22"/><text class="s" x="40" y="44">recorded</text>'
        '<path class="l m" d="M112 40h22"/><text class="s" x="140" y="44">simulated</text>'
        '<path class="l r w" d="M222 40h22"/><text class="s" x="250" y="44">dashed: waiting</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif"'
        ' font-size="14" role="img" aria-label="running and waiting requests over time in recorded runs of vLLM and in'
        f' the simulated engine">\n<style>{STYLE}</style>\n'
        '<text class="t" x="12" y="20" font-weight="600">Requests that run and that wait, by second</text>\n'
        + "\n".join([key, *parts])
        + "\n</svg>\n"
    )


def _panel(run: Run, line: Line, off: Off, x: int, y: int) -> list[str]:
    seconds = [second.at for second in run.seconds]
    recorded = Line([second.running for second in run.seconds], [second.waiting for second in run.seconds])
    most = max(*recorded.running, *recorded.waiting, *line.running, *line.waiting, 1)
    widest = seconds[-1]

    def path(values: Sequence[int], kind: str) -> str:
        across, down = PANEL / widest, HIGH / most
        points = (f"{x + across * t:.1f} {y + HIGH - down * v:.1f}" for t, v in zip(seconds, values, strict=True))
        return f'<path class="l {kind}" d="M{" L".join(points)}"/>'

    return [
        f'<text class="t" x="{x}" y="{y - 10}">{escape(run.name)}</text>',
        f'<text class="s" x="{x}" y="{y + HIGH + 16}">off by {off.per_token:.0%} (time per token), '
        f"{off.first_token:.0%} (first token)</text>",
        f'<path class="g" d="M{x} {y}V{y + HIGH}H{x + PANEL}" fill="none"/>',
        f'<text class="s" x="{x - 6}" y="{y + 8}" text-anchor="end">{most}</text>',
        f'<text class="s" x="{x - 6}" y="{y + HIGH}" text-anchor="end">0</text>',
        f'<text class="s" x="{x + PANEL}" y="{y + HIGH + 16}" text-anchor="end">{widest:.0f} s</text>',
        path(recorded.waiting, "r w"),
        path(line.waiting, "m w"),
        path(recorded.running, "r"),
        path(line.running, "m"),
    ]


def as_json(rows: Mapping[str, Mapping[str, Off]], times: Mapping[str, Any]) -> dict[str, Any]:
    """For whoever wants to go on from there."""
    plain = {run: {way: _plain(off) for way, off in ways.items()} for run, ways in rows.items()}
    return {"errors": plain, "service_times": times}


def _plain(off: Off) -> dict[str, float | None]:
    return {name: getattr(off, name) for name in off.__slots__}
