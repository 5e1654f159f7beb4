"""When a refused client is told to come back: the one place that `Retry-After` comes from."""

import random
from typing import Final

SHORTEST_SECONDS: Final = 1
"""Also for what has nothing to do with a queue: a fault, a limit of the client's own, memory for bodies."""
LONGEST_SECONDS: Final = 60


def retry_after(ahead: int, drained_per_second: float, rng: random.Random) -> int:
    """Seconds to tell a refused client: drawn from [t, 2t], t = queue ahead / drain rate, within bounds."""
    low, high = SHORTEST_SECONDS, LONGEST_SECONDS
    t = min(high, max(low, (ahead + 1) / drained_per_second)) if drained_per_second > 0 else low
    return round(min(high, rng.uniform(t, 2 * t)))
