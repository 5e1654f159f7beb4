"""What a provider's status means: whose matter it is, where the request goes next, and for how long it is let alone."""

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from forebay.rules.breaker import CallResult

PAUSE_SECONDS: Final = 1.0
"""After back-pressure that does not say how long."""
LONGEST_PAUSE: Final = 86_400.0


class ProviderVerdict(NamedTuple):
    """`passed_on`: the client gets this very answer; else another way is tried."""

    outcome: CallResult
    passed_on: bool


ANSWER: Final = ProviderVerdict(CallResult.SUCCESS, True)
ELSEWHERE: Final = ProviderVerdict(CallResult.SUCCESS, False)
PRESSED: Final = ProviderVerdict(CallResult.BACK_PRESSURE, False)
FAULT: Final = ProviderVerdict(CallResult.FAULT, False)

STATUSES: Final[Mapping[int, ProviderVerdict]] = {
    401: FAULT,  # our key, not the client's
    402: FAULT,
    403: ELSEWHERE,  # it may be the key, the region or the content: others may think otherwise
    404: ELSEWHERE,  # this provider has no such model or path
    405: ELSEWHERE,
    407: FAULT,
    408: FAULT,
    409: ELSEWHERE,
    421: FAULT,
    425: ELSEWHERE,
    429: PRESSED,
    503: PRESSED,
    529: PRESSED,
}
"""All others by their hundred: 2xx is an answer, 3xx is not followed, 4xx is the client's own, the rest is a fault."""


def judge(status: int) -> ProviderVerdict:
    """What a status means."""
    found = STATUSES.get(status)
    if found is not None:
        return found
    return ANSWER if 200 <= status < 300 or 400 <= status < 500 else FAULT


def pause_seconds(headers: Mapping[str, str], now: float) -> float:
    """How long it asks to be let alone, in seconds: `retry-after-ms`, or Retry-After as seconds or as a date.

    A date is taken against the answer's own Date, where it has one, so that clocks need not agree. `now` in Unix
    seconds.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is None and text is not None and (then := _unix(text)) is not None:
        seconds = then - (_unix(headers.get("date", "")) or now)
    return PAUSE_SECONDS if seconds is None else _bounded(seconds)


def _bounded(seconds: float) -> float:
    return min(max(seconds, PAUSE_SECONDS), LONGEST_PAUSE)


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
