"""The engine's own metrics, which nobody but its sidecar can reach: passed on as they are, and read where somebody else
has a name for them. Only looked at when the sidecar is scraped."""

import contextlib
import re
from functools import cache

from forebay.resources.report import LengthReport

Buckets = tuple[list[tuple[str, float]], float]
"""Cumulative counts by upper bound, in ascending order, and the sum of all values."""

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def of_engine(text: str, family: str) -> str:
    """The lines of the engine's own families; not those of its process and its HTTP server."""
    own = _of_family(family)
    return "".join(line for line in text.splitlines(keepends=True) if own.match(line))


def summed(text: str, family: str) -> dict[str, float]:
    """Every number of the engine's own families by name; the series of one name are summed."""
    sums: dict[str, float] = {}
    for name, value in _numbers(family).findall(text):
        with contextlib.suppress(ValueError):
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums


@cache
def _of_family(family: str) -> re.Pattern[str]:
    return re.compile(rf"(?:# (?:HELP|TYPE) )?{re.escape(family)}(?!\w*_created\b)")


@cache
def _numbers(family: str) -> re.Pattern[str]:
    return re.compile(rf"^({re.escape(family)}[a-z_]+)(?:\{{[^}}]*\}})? ([-+0-9.eE]+|NaN)$", re.M)


@cache
def _samples(name: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(name)}_(bucket|sum)\{{([^}}]*)\}} (\S+)$", re.M)


def lengths(text: str, name: str) -> LengthReport:
    """A histogram of lengths over all models. Its last bucket has no bound: the next of vLLM's row 1, 2, 5, 10, ..."""
    totals: dict[int, int] = {}
    tokens = 0.0
    for buckets, tokens_of_one in histogram(text, name).values():
        tokens += tokens_of_one
        before = 0
        for bound, total in buckets:
            before = before * 5 // 2 if bound == "+Inf" else int(float(bound))
            totals[before] = totals.get(before, 0) + int(total)
    return LengthReport(totals=tuple(sorted(totals.items())), tokens=int(tokens))


def histogram(text: str, name: str, label: str = "") -> dict[str, Buckets]:
    """One histogram by the value of `label`, else as a whole; the series of data-parallel ranks are summed. Empty where
    it is not."""
    counts: dict[str, dict[str, float]] = {}
    sums: dict[str, float] = {}
    for kind, labels, value in _samples(name).findall(text):
        found = dict(_LABEL.findall(labels))
        of = found.get(label, "")
        if kind == "sum":
            sums[of] = sums.get(of, 0.0) + float(value)
        elif "le" in found:
            buckets = counts.setdefault(of, {})
            buckets[found["le"]] = buckets.get(found["le"], 0.0) + float(value)
    return {
        of: (sorted(buckets.items(), key=lambda item: float(item[0])), sums.get(of, 0.0))
        for of, buckets in counts.items()
        if "+Inf" in buckets
    }
