"""Draws docs/break-even.svg: a month's bill by its tokens, three cloud models beside one replica on three bases.

.venv/bin/python -m bench.profile.claim > docs/break-even.svg
"""

import sys
from importlib.resources import files
from math import log10
from typing import Final
from xml.etree.ElementTree import Element, tostring

from forebay.cli.prices import asked, shipped
from forebay.cli.report import Axis, Curves, Mark, PlotCurve, dollars, short
from forebay.cli.report.markup import element
from forebay.cli.report.plot import DESK
from forebay.rules.cost import CLAIM_TOKENS, BasisName, Hardware, MonthlyDemand, basis, break_even

MODELS: Final = ("gpt-5.6", "gpt-5.4-mini", "gpt-5.6-luna")
LOW, HIGH = 1e6, 1e10  # tokens
LEAST, MOST = 1.0, 10_000.0  # US dollars
NAMES: Final = {
    BasisName.ELECTRICITY: ("electricity only", "local", ""),
    BasisName.OWNED: ("owned, amortised", "third", "dashed"),
    BasisName.RENTED: ("rented", "fourth", "dotted"),
}


def drawing() -> str:
    """The picture as SVG, for light and dark."""
    curves, marks, names = [], [], []
    for model in MODELS:
        usd = asked(model, shipped()).of(0.75, 0.25)  # for a token, three read for one written
        begin, end = max(LOW, LEAST / usd), min(HIGH, MOST / usd)
        curves.append(PlotCurve(model, [(begin, begin * usd), (end, end * usd)], "cloud"))
        for name in BasisName:
            point = break_even(basis(name, Hardware()), MonthlyDemand(1.0, usd, usd), 32)
            if point is not None:
                marks.append(Mark(point, point * usd, f"{model}, {NAMES[name][0]}: {short(point)}"))
    for name, (title, tone, stroke) in NAMES.items():
        month = basis(name, Hardware()).of(1)
        curves.append(PlotCurve(title, [(LOW, month), (HIGH, month)], tone, stroke))
        names.append((month, f"{title}: {dollars(month)}", stroke))
    plot = Curves(
        "A month's bill by its tokens: where one replica begins to win",
        Axis("tokens a month", logarithmic=True, say=short, low=LOW, high=HIGH),
        Axis("US dollars a month", logarithmic=True, say=dollars, low=LEAST, high=MOST),
        curves,
        marks,
        [(CLAIM_TOKENS, "the claim: 10M")],
    )
    svg = plot.drawn(DESK)
    svg.set("xmlns", "http://www.w3.org/2000/svg")
    svg.insert(0, element("rect", width="100%", height="100%", style="fill:var(--ground)"))
    svg.insert(0, _style())
    svg.extend(_names(names))
    return tostring(svg, "unicode") + "\n"


def _style() -> Element:
    return element("style", files("forebay.cli.report").joinpath("style.css").read_text("utf-8"))


def _names(names: list[tuple[float, str, str]]) -> list[Element]:
    """Words on the lines: what a replica costs at the left, what the cloud's model is called near its end."""
    top, bottom, left, right = 22.0, 356.0, 62.0, DESK - 14.0
    made = [
        element(
            "text",
            says,
            x=left + 8,
            y=_down(month, top, bottom) + (15 if stroke == "dashed" else -6),
            class_="name",
            text_anchor="start",
        )
        for month, says, stroke in names
    ]
    for model in MODELS:
        usd = asked(model, shipped()).of(0.75, 0.25)
        at = min(HIGH, MOST / usd) * 0.5
        across = left + (right - left) * _share(at, LOW, HIGH)
        made.append(element("text", model, x=across - 8, y=_down(at * usd, top, bottom), class_="name",
                            text_anchor="end"))  # fmt: skip
    return made


def _down(value: float, top: float, bottom: float) -> float:
    return bottom + (top - bottom) * _share(value, LEAST, MOST)


def _share(value: float, low: float, high: float) -> float:
    return log10(value / low) / log10(high / low)


if __name__ == "__main__":
    sys.stdout.write(drawing())
