"""What a provider's status means: whose matter it is, where the request goes next, and for how long it is let alone."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from forebay.rules.breaker import CallResult
from forebay.rules.retry_after import asked_seconds

PAUSE_SECONDS: Final = 1.0
"""After back-pressure that does not say how long."""


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
    """How long it asks to be let alone, in seconds; `now` in Unix seconds."""
    return max(asked_seconds(headers, now) or 0.0, PAUSE_SECONDS)
