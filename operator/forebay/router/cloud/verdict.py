"""What a provider's status means: whose matter it is, where the request goes next, and for how long it is let alone."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from forebay.rules.breaker import CallResult
from forebay.rules.retry_after import asked_seconds

PAUSE_SECONDS: Final = 1.0
"""After back-pressure that does not say how long."""


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
    """How long it asks to be let alone, in seconds; `now` in Unix seconds."""
    return max(asked_seconds(headers, now) or 0.0, PAUSE_SECONDS)
