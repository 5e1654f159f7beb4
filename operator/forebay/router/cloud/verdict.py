"""What a provider's status means: whose matter it is, where the request goes next, and for how long it is let alone."""

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import IntEnum
from typing import Final, NamedTuple

from forebay.rules.breaker import CallResult

PAUSE_SECONDS: Final = 1.0
"""After back-pressure that does not say how long."""
LONGEST_PAUSE: Final = 86_400.0


class Tell(IntEnum):
    """Whether a refusal is told to the client where nobody takes the request; of several the highest, the first."""

    NEVER = 0  # what is wrong is between forebay and the provider
    IN_DOUBT = 1  # it may be about the key, the region or the content
    AS_IT_IS = 2


class ProviderVerdict(NamedTuple):
    """`outcome` as a breaker counts it. None: the request was refused, and who else is refused tells whose fault it is
    (rules/blame). Only a success is passed on; all else means another way."""

    outcome: CallResult | None
    tell: Tell = Tell.NEVER


ANSWER: Final = ProviderVerdict(CallResult.SUCCESS)
PRESSED: Final = ProviderVerdict(CallResult.BACK_PRESSURE)
FAULT: Final = ProviderVerdict(CallResult.FAULT)
REFUSED: Final = ProviderVerdict(None, Tell.AS_IT_IS)
DOUBTFUL: Final = ProviderVerdict(None, Tell.IN_DOUBT)
NOT_HERE: Final = ProviderVerdict(None)

STATUSES: Final[Mapping[int, ProviderVerdict]] = {
    401: FAULT,  # our key, not the client's
    402: FAULT,
    403: DOUBTFUL,
    404: NOT_HERE,  # this provider has no such model or path
    405: NOT_HERE,
    407: FAULT,
    408: FAULT,
    409: NOT_HERE,
    421: FAULT,
    425: NOT_HERE,
    429: PRESSED,
    503: PRESSED,
    529: PRESSED,
}
"""All others by their hundred: 2xx is an answer, 3xx is not followed, 4xx is a refusal, the rest is a fault."""


def judge(status: int) -> ProviderVerdict:
    """What a status means."""
    found = STATUSES.get(status)
    if found is not None:
        return found
    if 200 <= status < 300:
        return ANSWER
    return REFUSED if 400 <= status < 500 else FAULT


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
