"""Trying again: how long to be patient, and how many of a pool's requests may be sent a second time.

After a fault a share of the pool's requests may be tried elsewhere, so that retries cannot be a storm. Being refused a
slot is no fault and costs nothing here: the engine has done no work.
"""

from dataclasses import dataclass
from typing import Final

from forebay.rules.endpoints import ENDPOINTS
from forebay.rules.facts import RequestFacts

RETRY_SHARE: Final = 0.10
RETRY_BURST: Final = 10.0
"""What a pool that has been quiet may spend."""
RETRIES_PER_SECOND: Final = 0.2
"""What comes back without any requests."""
TOKEN_SECONDS: Final = 0.25
"""An engine that takes longer for a token is as good as dead."""


@dataclass(slots=True)
class RetryBudget:
    """Retries that may still be made. Times are seconds on a clock that only rises."""

    left: float = RETRY_BURST
    counted: float = 0.0
    burst: float = RETRY_BURST

    def request(self) -> None:
        """A request came."""
        if self.left < self.burst:
            self.left = min(self.burst, self.left + RETRY_SHARE)

    def spend(self, now: float) -> bool:
        """Take one retry; False when there is none."""
        self.left = min(self.burst, self.left + max(0.0, now - self.counted) * RETRIES_PER_SECOND)
        self.counted = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


def patience(first_token: float, facts: RequestFacts, stream: bool, left: float) -> float:
    """Seconds to wait for the first content byte before the replica counts as dead; at most the time `left`.

    An answer that is not streamed comes only when all of it is there: its tokens, if it has any, are waited for too,
    and without a limit on them everything that is left.
    """
    if stream or not ENDPOINTS[facts.path].output_tokens:
        return min(first_token, left)
    return left if facts.max_tokens is None else min(first_token + facts.max_tokens * TOKEN_SECONDS, left)
