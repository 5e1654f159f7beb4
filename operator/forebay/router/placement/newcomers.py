"""Clients that engines have not answered lately take half of the slots at most, while others send requests too.

A request that an engine never answers looks like one that takes long, so a client whose requests all are like that
would hold every slot before anybody could tell. A newcomer's further requests wait at the door; its first answer opens
it. Only streams are judged so, for they show their first token. Clients without a key are
one crowd that never waits, and a client that is alone takes what there is.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

KNOWN_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 1.0
AT_THE_DOOR: Final = 256
"""Requests of one client that wait there, at most."""
SHARE: Final = 2
"""The part of the slots, as a divisor."""


class Newcomers:
    """Who was answered lately, and whose requests wait at the door. `slots`: how many serve in all."""

    def __init__(self, slots: Callable[[], int]) -> None:
        self.slots = slots
        self._answered: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._inside: dict[str, int] = defaultdict(int)
        self._door: dict[str, deque[asyncio.Future[None]]] = defaultdict(deque)

    def saw(self, name: str, now: float) -> None:
        """A request of its came."""
        self._seen[name] = now

    def answered(self, name: str, now: float) -> None:
        """An engine has answered it."""
        self._answered[name] = now
        while self._door and (waiting := self._door.get(name)):
            self._let_in(name, waiting)

    def admits(self, name: str, now: float) -> bool:
        """Whether a request of its goes in at once; then `left` has to be called when it is over."""
        self.saw(name, now)
        if (
            now - self._answered.get(name, float("-inf")) < KNOWN_SECONDS
            or self._inside[name] < self._most()
            or not any(now - when < KNOWN_SECONDS for other, when in self._seen.items() if other != name)
        ):
            self._inside[name] += 1
            return True
        return False

    def _most(self) -> float:
        """Of a newcomer's streams; where there are no slots there is nothing to hold."""
        slots = self.slots()
        return max(1, slots // SHARE) if slots else float("inf")

    async def wait(self, name: str, seconds: float) -> bool:
        """Wait at the door; False when the time is over, or too many wait there."""
        waiting = self._door[name]
        if len(waiting) >= AT_THE_DOOR:
            return False
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        waiting.append(place)
        end = loop.time() + seconds
        try:
            while not place.done():
                left = end - loop.time()
                if left <= 0:
                    return False
                await asyncio.wait((place,), timeout=min(left, LOOK_SECONDS))
                if not place.done() and self._inside[name] < self._most():  # there are more slots now
                    self._let_in(name, self._door[name])
        except asyncio.CancelledError:
            if place.done():
                self.left(name)
            raise
        finally:
            place.cancel()
        return True

    def left(self, name: str) -> None:
        """A request of its that was inside is over."""
        self._inside[name] -= 1
        if not self._inside[name]:
            del self._inside[name]
        if waiting := self._door.get(name):
            self._let_in(name, waiting)

    def _let_in(self, name: str, waiting: deque[asyncio.Future[None]]) -> None:
        while waiting:
            place = waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._inside[name] += 1
                break
        if not waiting:
            self._door.pop(name, None)
