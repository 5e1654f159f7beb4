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
            or self._inside[name] < max(1, self.slots() // SHARE)
            or not any(now - when < KNOWN_SECONDS for other, when in self._seen.items() if other != name)
        ):
            self._inside[name] += 1
            return True
        return False

    async def wait(self, name: str, seconds: float) -> bool:
        """Wait at the door; False when the time is over."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._door[name].append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.left(name)
            raise
        else:
            return True
        finally:
            place.cancel()

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
            del self._door[name]
