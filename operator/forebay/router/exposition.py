"""The engine's own metrics, which nobody but its sidecar can reach: passed on as they are, and read where somebody else
has a name for them. Only looked at when the sidecar is scraped."""

import re
from functools import cache
from typing import Final

from forebay.resources.report import LengthReport

TIME_PER_TOKEN: Final = "vllm:request_time_per_output_token_seconds"  # noqa: S105 - a name
PROMPTS: Final = "vllm:request_prompt_tokens"
ANSWERS: Final = "vllm:request_generation_tokens"
Buckets = tuple[list[tuple[str, float]], float]
"""Cumulative counts by upper bound, in ascending order, and the sum of all values."""

_OWN = re.compile(r"(?:# (?:HELP|TYPE) )?vllm:(?!\w*_created\b)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def of_engine(text: str) -> str:
    """The lines of the engine's own families; not those of its process and its HTTP server."""
    return "".join(line for line in text.splitlines(keepends=True) if _OWN.match(line))


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


def histogram(text: str, name: str) -> dict[str, Buckets]:
    """One histogram by `model_name`; the series of several data-parallel engines are summed. Empty where it is not."""
    counts: dict[str, dict[str, float]] = {}
    sums: dict[str, float] = {}
    for kind, labels, value in _samples(name).findall(text):
        found = dict(_LABEL.findall(labels))
        model = found.get("model_name", "")
        if kind == "sum":
            sums[model] = sums.get(model, 0.0) + float(value)
        elif "le" in found:
            buckets = counts.setdefault(model, {})
            buckets[found["le"]] = buckets.get(found["le"], 0.0) + float(value)
    return {
        model: (sorted(buckets.items(), key=lambda item: float(item[0])), sums.get(model, 0.0))
        for model, buckets in counts.items()
        if "+Inf" in buckets
    }
