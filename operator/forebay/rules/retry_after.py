"""When a refused client is told to come back, the one place that `Retry-After` comes from; and what others say so."""

import math
import random
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

SHORTEST_SECONDS: Final = 1
"""Also for what has nothing to do with a queue: a fault, a limit of the client's own, memory for bodies."""
LONGEST_SECONDS: Final = 60
LONGEST_ASKED: Final = 86_400.0
"""Whoever asks for longer is asked again after so many seconds."""


def retry_after(ahead: int, drained_per_second: float, rng: random.Random) -> int:
    """Seconds to tell a refused client: drawn from [t, 2t], t = queue ahead / drain rate, within bounds."""
    low, high = SHORTEST_SECONDS, LONGEST_SECONDS
    t = min(high, max(low, (ahead + 1) / drained_per_second)) if drained_per_second > 0 else low
    return round(min(high, rng.uniform(t, 2 * t)))


def asked_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """How long an answer asks to be let alone, in seconds: `retry-after-ms`, or Retry-After as seconds or as a date.

    None where it does not say. A date is taken against the answer's own Date, where it has one, so that clocks need not
    agree. `now` in Unix seconds.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_ASKED)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is None and text is not None and (then := _unix(text)) is not None:
        seconds = then - (_unix(headers.get("date", "")) or now)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_ASKED)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _unix(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
