"""A log with a known truth: a week of traffic of several applications, with failures and malformed lines.

Rates rise and fall with the day and sink at the weekend; each application has its model, its mix of capabilities and
its lengths. What a request really is stands in the truth; the log has it only where the form says so.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import pi, sin
from random import Random
from typing import Final

from bench.profile.texts import words
from forebay.resources.reasons import Capability

BEGIN: Final = 1_790_000_000.0
WEEK: Final = 7 * 86_400
FORMS: Final = ("labels", "words")
"""LiteLLM rows with labels as tags; OpenAI-style requests with words and no labels."""
MALFORMED: Final = 0.001
FAILED: Final = 0.01
C, E, R, G = Capability


@dataclass(frozen=True, slots=True)
class Application:
    """Share of the requests, model, mix of capabilities (C, E, R, G), median prompt tokens."""

    share: float
    model: str
    mix: tuple[float, float, float, float]
    prompt: int


APPLICATIONS: Final = (
    Application(0.45, "gpt-5.4-mini", (0.70, 0.20, 0.02, 0.08), 400),  # tickets
    Application(0.30, "gpt-5.6", (0.05, 0.70, 0.05, 0.20), 1500),  # documents
    Application(0.20, "gpt-5.6", (0.05, 0.05, 0.30, 0.60), 900),  # chat
    Application(0.05, "claude-sonnet-5", (0.00, 0.10, 0.60, 0.30), 12_000),  # agents
)
OUTPUT: Final = {C: 6, E: 90, R: 700, G: 250}


@dataclass(frozen=True, slots=True)
class Truth:
    """One request as it really is."""

    at: float
    prompt: int
    output: int
    capability: Capability


def generate(lines: int, form: str, seed: int) -> Iterator[tuple[str, Truth | None]]:
    """Lines, and what each is; None where it is malformed or failed."""
    random = Random(seed)
    shares = [each.share for each in APPLICATIONS]
    for number, at in enumerate(_times(lines, random)):
        if random.random() < MALFORMED:
            yield '{"call_type": "acompletion", "startTime": 17', None
            continue
        app = random.choices(APPLICATIONS, shares)[0]
        capability = random.choices(tuple(Capability), app.mix)[0]
        prompt = min(200_000, max(8, int(random.lognormvariate(0, 0.9) * app.prompt)))
        output = min(8_000, max(1, int(random.lognormvariate(0, 0.6) * OUTPUT[capability])))
        failed = random.random() < FAILED
        truth = None if failed else Truth(at, prompt, output, capability)
        yield _line(form, number, app.model, truth or Truth(at, prompt, 0, capability), failed, random), truth


def _times(lines: int, random: Random) -> Iterator[float]:
    """Arrivals over a week in order: a rate that rises and falls, and bursts of a minute now and then."""
    weights = []
    for minute in range(WEEK // 60):
        day, hour = divmod(minute / 60, 24)
        rate = (1.15 + sin((hour - 8) / 24 * 2 * pi)) * (0.35 if day >= 5 else 1.0)
        weights.append(rate * (4.0 if random.random() < 0.004 else 1.0))
    whole, left, given = sum(weights), 0.0, 0
    for minute, weight in enumerate(weights):
        left += lines * weight / whole
        count = int(left) if minute < len(weights) - 1 else lines - given
        left, given = left - count, given + count
        yield from sorted(BEGIN + (minute + random.random()) * 60 for _ in range(count))


def _line(form: str, number: int, model: str, truth: Truth, failed: bool, random: Random) -> str:
    if form == "labels":
        return json.dumps({
            "request_id": f"chatcmpl-{number}", "call_type": "acompletion", "api_key": "5f1c", "spend": 0.0,
            "startTime": _iso(truth.at), "endTime": _iso(truth.at + 1), "model": model, "model_group": model,
            "status": "failure" if failed else "success", "cache_hit": "None", "prompt_tokens": truth.prompt,
            "completion_tokens": truth.output, "total_tokens": truth.prompt + truth.output, "metadata": {},
            "messages": {}, "request_tags": ["env:prod", f"capability:{truth.capability}"],
        })  # fmt: skip
    body = {"model": model, "messages": [{"role": "system", "content": "You are a helpful assistant."},
                                         {"role": "user", "content": words(truth.capability, random)}]}  # fmt: skip
    usage = {"prompt_tokens": truth.prompt, "completion_tokens": truth.output}
    return json.dumps({"timestamp": truth.at, "status": 500 if failed else 200, "request": body,
                       "response": {"model": model, "usage": usage}})  # fmt: skip


def _iso(at: float) -> str:
    days, seconds = divmod(at - BEGIN, 86_400)
    hours, rest = divmod(seconds, 3600)
    return f"2026-09-{21 + int(days):02d}T{int(hours):02d}:{int(rest // 60):02d}:{rest % 60:06.3f}Z"
