"""An axis: where a value lies, and at which values to put a word."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import ceil, floor, log10


def plain(value: float) -> str:
    """As short as it can be said."""
    return f"{value:,.6g}"


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a plot. `say` turns a value into words; a bound that is None is found in what is shown."""

    title: str = ""
    logarithmic: bool = False
    say: Callable[[float], str] = plain
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis laid along `begin` to `end` (units of the drawing). Values outside its bounds lie at their edge."""

    axis: Axis
    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Where it lies."""
        held = min(self.high, max(self.low, value))
        if self.axis.logarithmic:
            share = log10(held / self.low) / log10(self.high / self.low)
        else:
            share = (held - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the bounds, at most about `most`."""
        if self.axis.logarithmic:
            powers = list(range(ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9) + 1))
            return [10.0**power for power in powers[:: max(1, ceil(len(powers) / most))]]
        raw = (self.high - self.low) / most
        power = 10.0 ** floor(log10(raw))
        step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= raw * 0.999)
        first = ceil(self.low / step - 1e-9)
        return [place * step for place in range(first, floor(self.high / step + 1e-9) + 1)]


def laid(axis: Axis, values: list[float], begin: float, end: float) -> Scale:
    """A scale that shows all values: from whole powers of ten to whole powers, or from zero to a little above."""
    if axis.logarithmic:
        positive = [value for value in values if value > 0] or [1.0]
        low = axis.low or 10.0 ** floor(log10(min(positive)))
        high = axis.high or 10.0 ** ceil(log10(max(positive)))
        return Scale(axis, low, max(high, low * 10), begin, end)
    low = axis.low if axis.low is not None else min(0.0, *values, 0.0)
    high = axis.high if axis.high is not None else max(*values, low, low)
    return Scale(axis, low, high if high > low else low + 1, begin, end)


_UNITS = ("", "k", "M", "B", "T")


def short(value: float) -> str:
    """12,300,000 as `12.3M`: three digits and a unit."""
    for place in count():
        scaled = value / 1000**place
        if abs(scaled) < 999.5 or place == len(_UNITS) - 1:
            digits = 0 if abs(scaled) >= 99.5 or scaled == int(scaled) else 1 if abs(scaled) >= 9.95 else 2
            said = f"{scaled:,.{digits}f}"
            return (said.rstrip("0").rstrip(".") if digits else said) + _UNITS[place]
    raise AssertionError


def dollars(value: float) -> str:
    """US dollars, short from ten thousand on; cents below ten dollars if there are any, more digits below a cent."""
    if abs(value) >= 10_000:
        return f"${short(value)}"
    if abs(value) >= 10 or value == int(value):
        return f"${value:,.0f}"
    return f"${value:,.2f}" if abs(value) >= 0.01 else f"${value:.2g}"


def percent(value: float) -> str:
    """A share as whole percent; one decimal below ten and above ninety, where it matters."""
    edge = 0 < value < 0.0995 or 0.9005 < value < 1
    return f"{100 * value:.{1 if edge else 0}f} %"
