"""How many of a pool's requests may be tried again after a fault: a share of them, so that retries cannot be a storm.

Being refused a slot is no fault and costs nothing here: the engine has done no work.
"""

from dataclasses import dataclass
from typing import Final

SHARE: Final = 0.10
AT_ONCE: Final = 10.0
"""What a pool that has been quiet may spend."""
PER_SECOND: Final = 0.2
"""What comes back without any requests."""


@dataclass(slots=True)
class RetryBudget:
    """Retries that may still be made. Times are seconds on a clock that only rises."""

    left: float = AT_ONCE
    counted: float = 0.0

    def request(self) -> None:
        """A request came."""
        if self.left < AT_ONCE:
            self.left = min(AT_ONCE, self.left + SHARE)

    def spend(self, now: float) -> bool:
        """Take one retry; False when there is none."""
        self.left = min(AT_ONCE, self.left + max(0.0, now - self.counted) * PER_SECOND)
        self.counted = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True
