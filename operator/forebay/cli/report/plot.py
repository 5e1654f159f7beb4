"""Plots as SVG: curves over two axes, and bars with intervals. Each is drawn twice, for a desk and for a phone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from forebay.cli.report.axis import Axis, Scale, laid, percent
from forebay.cli.report.markup import element, text

SHARES: Final = Axis(say=percent)
DESK: Final = 820
PHONE: Final = 380
TONES: Final = ("local", "cloud", "third", "fourth", "other")
"""Colours, by what they stand for: own hardware, the cloud, and what is compared with them."""


@dataclass(frozen=True, slots=True)
class PlotCurve:
    """Points in order of x. `stroke` is "", "dashed" or "dotted", so that colour alone says nothing.

    `band` is what it may also be: x, low, high.
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: str = "local"
    stroke: str = ""
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A numbered point; what it says stands below the plot."""

    x: float
    y: float
    says: str


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves over two axes, with numbered marks, and rules: x and what stands at it."""

    title: str
    x: Axis
    y: Axis
    curves: Sequence[PlotCurve]
    marks: Sequence[Mark] = ()
    rules: Sequence[tuple[float, str]] = ()
    note: str = ""

    def html(self) -> Element:
        """Title, legend, drawing, and what the marks say."""
        legend = element("div", *map(_key, self.curves), class_="legend")
        under = [element("ol", *(element("li", mark.says) for mark in self.marks))] if self.marks else []
        if self.note:
            under.append(element("p", self.note))
        caption = [element("figcaption", *under)] if under else []
        return element("figure", element("p", self.title, class_="title"), legend, *_twice(self.drawn), *caption)

    def drawn(self, width: int) -> Element:
        """The drawing alone."""
        height = 400 if width == DESK else 300
        left, right, top, bottom = 62, width - 14, 22, height - 44
        points = [point for curve in self.curves for point in curve.points]
        bands = [(at, value) for curve in self.curves for at, *ends in curve.band for value in ends]
        x = laid(self.x, [at for at, _ in points] + [at for at, _ in self.rules], left, right)
        y = laid(self.y, [value for _, value in points + bands], bottom, top)
        svg = _svg(self.title, width, height)
        svg.extend(_grid(x, y, right, bottom, 5 if width == PHONE else 8))
        for at, says in self.rules:
            svg.append(element("path", d=f"M{text(x.at(at))} {top}V{bottom}", class_="rule"))
            end = x.at(at) > width * 0.6
            beside = x.at(at) + (-5 if end else 5)
            svg.append(element("text", says, x=beside, y=bottom - 8, text_anchor="end" if end else "start"))
        for curve in self.curves:
            svg.extend(_curve(curve, x, y))
        for number, mark in enumerate(self.marks, 1):
            across, down = x.at(mark.x), y.at(mark.y)
            svg.append(element("circle", element("title", mark.says), cx=across, cy=down, r=8.5, class_="mark"))
            svg.append(element("text", str(number), x=across, y=down + 4, text_anchor="middle"))
        return svg


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: a value, the interval in which the truth may lie, and a word behind it (the value itself if empty)."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    says: str = ""
    tone: str = "local"


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars on one axis; on a logarithmic one they are dots, for a bar's length would mean nothing."""

    title: str
    bars: Sequence[Bar]
    axis: Axis = SHARES
    rules: Sequence[tuple[float, str]] = ()
    note: str = ""

    def html(self) -> Element:
        """Title and drawing."""
        caption = [element("figcaption", self.note)] if self.note else []
        return element("figure", element("p", self.title, class_="title"), *_twice(self.drawn), *caption)

    def drawn(self, width: int) -> Element:
        """The drawing alone: on a phone a bar's name stands above it."""
        above = width == PHONE
        row, top = (44 if above else 30), (34 if self.rules else 16)
        left, right = (4 if above else 250), width - (76 if above else 96)
        bottom = top + row * len(self.bars)
        svg = _svg(self.title, width, bottom + 28)
        values = [end for bar in self.bars for end in (bar.value, bar.low, bar.high) if end is not None]
        x = laid(self.axis, values + [at for at, _ in self.rules], left, right)
        for tick in x.ticks(4 if above else 7):
            svg.append(element("path", d=f"M{text(x.at(tick))} {top - 6}V{bottom}", class_="grid"))
            svg.append(element("text", self.axis.say(tick), x=x.at(tick), y=bottom + 18, text_anchor="middle"))
        for at, says in self.rules:
            svg.append(element("path", d=f"M{text(x.at(at))} {top - 10}V{bottom}", class_="rule"))
            svg.append(element("text", says, x=x.at(at), y=top - 16, text_anchor="middle"))
        for place, bar in enumerate(self.bars):
            svg.extend(self._row(bar, x, top + row * place + (18 if above else 0), above))
        return svg

    def _row(self, bar: Bar, x: Scale, top: float, above: bool) -> list[Element]:
        middle = top + 13
        across, down, anchor = (4.0, top - 2, "start") if above else (x.begin - 12, middle + 4.5, "end")
        drawn = [element("text", bar.name, class_="name", x=across, y=down, text_anchor=anchor)]
        if self.axis.logarithmic:
            drawn.append(element("circle", cx=x.at(bar.value), cy=middle, r=6, class_=bar.tone))
        else:
            length = max(1.0, x.at(bar.value) - x.begin)
            drawn.append(element("rect", x=x.begin, y=middle - 8, width=length, height=16, rx=2, class_=bar.tone))
        edge = x.at(bar.value) + (6 if self.axis.logarithmic else 0)
        if bar.low is not None and bar.high is not None:
            low, high = x.at(bar.low), x.at(bar.high)
            path = f"M{text(low)} {middle - 4}v8M{text(low)} {middle}H{text(high)}m0 -4v8"
            drawn.append(element("path", d=path, class_="span", fill="none"))
            edge = max(edge, high)
        drawn.append(element("text", bar.says or self.axis.say(bar.value), x=edge + 8, y=middle + 4.5, class_="value"))
        return drawn


def _twice(drawn: Callable[[int], Element]) -> list[Element]:
    made = []
    for width, name in ((DESK, "desk"), (PHONE, "phone")):
        svg = drawn(width)
        svg.set("class", name)
        made.append(svg)
    return made


def _svg(label: str, width: float, height: float) -> Element:
    return element("svg", viewBox=f"0 0 {text(width)} {text(height)}", role="img", aria_label=label)


def _grid(x: Scale, y: Scale, right: float, bottom: float, most: int) -> list[Element]:
    made = []
    for tick in x.ticks(most):
        made.append(element("path", d=f"M{text(x.at(tick))} {text(y.end)}V{text(bottom)}", class_="grid"))
        made.append(element("text", x.axis.say(tick), x=x.at(tick), y=bottom + 18, text_anchor="middle"))
    for tick in y.ticks(5):
        made.append(element("path", d=f"M{text(x.begin)} {text(y.at(tick))}H{text(right)}", class_="grid"))
        made.append(element("text", y.axis.say(tick), x=x.begin - 8, y=y.at(tick) + 4.5, text_anchor="end"))
    made.append(element("text", x.axis.title, x=right, y=bottom + 38, text_anchor="end"))
    made.append(element("text", y.axis.title, x=2, y=y.end - 8, text_anchor="start"))
    return made


def _curve(curve: PlotCurve, x: Scale, y: Scale) -> list[Element]:
    made = []
    if curve.band:
        upper = [f"{text(x.at(at))} {text(y.at(high))}" for at, _, high in curve.band]
        lower = [f"{text(x.at(at))} {text(y.at(low))}" for at, low, _ in reversed(curve.band)]
        made.append(element("path", d="M" + "L".join(upper + lower) + "Z", class_=f"band {curve.tone}"))
    line = "M" + "L".join(f"{text(x.at(at))} {text(y.at(value))}" for at, value in curve.points)
    made.append(element("path", element("title", curve.name), d=line, class_=f"curve {curve.tone} {curve.stroke}"))
    return made


def _key(curve: PlotCurve) -> Element:
    line = element("path", d="M1 5H25", class_=f"curve {curve.tone} {curve.stroke}")
    return element("span", element("svg", line, viewBox="0 0 26 10", aria_hidden="true"), curve.name)
