"""Whether an engine that answers its probes still makes tokens. Pure.

A process whose GPU has hung is healthy by every page it has. What it cannot do is count on: while requests run, its
token counters stand still. A single very long prompt looks the same until its first token, so a stuck engine is only
left alone, never ended: it gets nothing new until its counters move again.
"""

from dataclasses import dataclass
from typing import Final

STUCK_SECONDS: Final = 30.0
MOVING_LOOKS: Final = 2.5
"""Counters that have stood still for less than so many looks count as moving."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What an engine had made when that last changed. Times in seconds of any one clock."""

    made: float | None = None  # tokens read and written since it began; None while it does not say
    since: float = 0.0

    def look(self, made: float | None, working: bool, now: float) -> "Progress":
        """The progress after one more look; an idle engine need not count on, unless it is already taken for stuck."""
        if made is None or made != self.made or not (working or self.stuck(now)):
            return Progress(made, now)
        return self

    def unread(self, now: float) -> "Progress":
        """The progress after a look that failed: nothing was learnt, so that what it made is known and not judged."""
        return Progress(self.made, now)

    def moving(self, now: float, every: float) -> bool:
        """Whether an engine that works makes tokens, as far as looks every so many seconds can tell."""
        return self.made is not None and now - self.since < MOVING_LOOKS * every

    def stuck(self, now: float) -> bool:
        """Whether it has stood still for too long."""
        return self.made is not None and now - self.since >= STUCK_SECONDS

    def standing(self, now: float) -> float:
        """For how many seconds a stuck engine has stood still; 0 for one that is not."""
        return now - self.since if self.stuck(now) else 0.0
