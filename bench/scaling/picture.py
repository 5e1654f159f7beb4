"""The figures as one SVG: by trace, GPU-hours beside the oracle's, and what left; and a day of one of them."""

from html import escape
from math import log10
from typing import Any, Final

from bench.scaling.report import defaults
from bench.scaling.settings import OURS

COLUMNS, PANEL, TALL, LEFT, TOP, GAP_X, GAP_Y = 3, 225, 170, 66, 74, 78, 54
MOST: Final = 2.5  # GPU-hours / oracle
LEAST_SHARE, MOST_SHARE = 1e-4, 1.0
CLASSES: Final = {
    "forebay": "f", "HPA, in flight": "h", "KEDA, waiting > 5": "k", "Knative KPA": "n", "Ray Serve": "r",
    "SkyServe": "s", "static": "o",
}  # fmt: skip
STYLE: Final = """.t{fill:#1f2328}.m{fill:#57606a;font-size:11px}.g{stroke:#d0d7de;fill:none}
.goal{fill:#1a7f37;opacity:.1}
.f{fill:#1a7f37;stroke:#1a7f37}.h{fill:#bc4c00;stroke:#bc4c00}.k{fill:#8250df;stroke:#8250df}
.n{fill:#cf222e;stroke:#cf222e}.r{fill:#0969da;stroke:#0969da}.s{fill:#9a6700;stroke:#9a6700}
.o{fill:#8c959f;stroke:#8c959f}.d{fill:#8c959f;opacity:.35}.l{fill:none;stroke-width:1.4}.l.f{stroke-width:2.4}
@media (prefers-color-scheme: dark){.t{fill:#e6edf3}.m{fill:#9da7b3}.g{stroke:#30363d}
.f{fill:#3fb950;stroke:#3fb950}.h{fill:#f0883e;stroke:#f0883e}.k{fill:#a371f7;stroke:#a371f7}
.n{fill:#f85149;stroke:#f85149}.r{fill:#58a6ff;stroke:#58a6ff}.s{fill:#d29922;stroke:#d29922}.goal{fill:#3fb950}
.l{fill:none}}"""


def picture(found: dict[str, Any]) -> str:
    """Panels of the longest cold start, then the day."""
    cold_start = max(found["cold_starts"])
    traces = [trace for trace in found["traces"] if trace["cold_start"] == cold_start]
    rows = -(-len(traces) // COLUMNS)
    width = LEFT + COLUMNS * (PANEL + GAP_X)
    below = TOP + rows * (TALL + GAP_Y)
    parts = [_legend()]
    for index, trace in enumerate(traces):
        x = LEFT + index % COLUMNS * (PANEL + GAP_X)
        parts.append(_panel(trace, x, TOP + index // COLUMNS * (TALL + GAP_Y)))
    parts.append(_day(found["day"], LEFT, below + 12, width - LEFT - GAP_X, 150))
    label = (
        "GPU-hours beside the oracle's and share of requests that left, by scaler and trace; and one day of one trace"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {below + 192}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="{label}">\n<style>{STYLE}</style>\n'
        f'<text class="t" x="12" y="20">Each scaler with its own defaults, {cold_start:.0f} s cold start: '
        "GPU-hours / oracle (across), requests that left (up). Shaded: the goal</text>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _legend() -> str:
    parts, x = [], 12
    for name, kind in CLASSES.items():
        parts.append(f'<circle class="{kind}" cx="{x + 5}" cy="38" r="5"/>')
        parts.append(f'<text class="t" x="{x + 15}" y="42">{escape(name)}</text>')
        x += 34 + 7 * len(name)
    return "\n".join(parts)


def _panel(trace: dict[str, Any], x: int, y: int) -> str:
    def across(ratio: float) -> float:
        return x + PANEL * min(ratio, MOST) / MOST

    def up(share: float) -> float:
        held = min(max(share, LEAST_SHARE), MOST_SHARE)
        return y + TALL * (1 - log10(held / LEAST_SHARE) / log10(MOST_SHARE / LEAST_SHARE))

    parts = [f'<text class="t" x="{x}" y="{y - 7}" font-weight="600">{escape(trace["trace"])}</text>']
    goal = f'x="{x}" y="{up(0.01):.1f}" width="{across(1.35) - x:.1f}" height="{y + TALL - up(0.01):.1f}"'
    parts.append(f'<rect class="goal" {goal}/>')
    for tick in (0.5, 1, 1.5, 2, 2.5):
        parts.append(f'<path class="g" d="M{across(tick):.1f} {y}v{TALL}"/>')
        words = f"≥ {tick:g}" if tick == MOST else f"{tick:g}"
        parts.append(f'<text class="m" x="{across(tick):.1f}" y="{y + TALL + 14}" text-anchor="middle">{words}</text>')
    for share, words in ((1.0, "100 %"), (0.1, "10 %"), (0.01, "1 %"), (0.001, "0.1 %"), (0.0001, "≤ 0.01 %")):
        parts.append(f'<path class="g" d="M{x} {up(share):.1f}h{PANEL}"/>')
        parts.append(f'<text class="m" x="{x - 4}" y="{up(share) + 4:.1f}" text-anchor="end">{words}</text>')
    for name, row in sorted(defaults(trace).items(), key=lambda item: item[0] == OURS):
        size = 7 if name == OURS else 5
        words = f"{escape(name)}: {row['over_oracle']:.2f} x oracle, {row['overflow']:.2%}"
        place = f'cx="{across(row["over_oracle"]):.1f}" cy="{up(row["overflow"]):.1f}" r="{size}"'
        parts.append(f'<circle class="{CLASSES[name]}" {place}><title>{words}</title></circle>')
    return "\n".join(parts)


def _day(day: dict[str, Any], x: int, y: int, wide: int, tall: int) -> str:
    """Demand as an area; slots of each scaler's replicas as a line of steps."""
    most = max([*day["demand"], *(slots for line in day["slots"].values() for _, slots in line)])

    def point(hours: float, value: float) -> str:
        return f"{x + wide * hours / 24:.1f} {y + tall - tall * value / most:.1f}"

    step = 24 / len(day["demand"])
    area = " L".join(point(index * step, value) for index, value in enumerate(day["demand"]))
    parts = [
        f'<text class="t" x="{x}" y="{y - 9}">A day of <tspan font-weight="600">{escape(day["trace"])}</tspan>: '
        "concurrent requests wanted (grey), slots asked for (lines)</text>",
        f'<path class="d" d="M{point(0, 0)} L{area} L{point(24, 0)} Z"/>',
    ]
    for hour in range(0, 25, 4):
        parts.append(f'<path class="g" d="M{point(hour, 0)}V{y}"/>')
        parts.append(
            f'<text class="m" x="{x + wide * hour / 24:.1f}" y="{y + tall + 15}" text-anchor="middle">{hour} h</text>'
        )
    for value in range(0, int(most) + 1, 18):
        parts.append(
            f'<text class="m" x="{x - 4}" y="{y + tall - tall * value / most + 4:.1f}" text-anchor="end">{value}</text>'
        )
    for name, line in sorted(day["slots"].items(), key=lambda item: item[0] == OURS):
        path = f"M{point(0, line[0][1])}" + "".join(
            f"H{x + wide * hours / 24:.1f}V{y + tall - tall * slots / most:.1f}" for hours, slots in line[1:]
        )
        parts.append(f'<path class="l {CLASSES[name]}" style="fill:none" d="{path}H{x + wide}"/>')
    return "\n".join(parts)
