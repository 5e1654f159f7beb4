"""Time in which a router listened. Pure.

A loop that was held up, or a process that was stopped, has heard nobody meanwhile: what was said lies unread in its
sockets. Whoever is judged by its silence is judged by this time, which such a pause takes no further than one look.
"""

from typing import Final

LOOK_SECONDS: Final = 0.25
"""How often somebody has to look, so that time goes on. Between two looks it goes on by twice as much at most."""


class ListeningTime:
    """Seconds of listening since it began, by the seconds of any one clock."""

    __slots__ = ("_listened", "_longest", "_looked")

    def __init__(self, every: float = LOOK_SECONDS) -> None:
        self._longest = 2 * every
        self._listened = 0.0
        self._looked = 0.0

    def at(self, now: float) -> float:
        """The time at this moment of the clock."""
        return self._listened + min(now - self._looked, self._longest)

    def look(self, now: float) -> float:
        """Go on; the loop has polled its sockets since the last look. Returns the seconds that were slept through."""
        before, self._listened = self._listened, self.at(now)
        slept = now - self._looked - (self._listened - before)
        self._looked = now
        return slept
