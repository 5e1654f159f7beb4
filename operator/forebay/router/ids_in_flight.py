"""Ids of requests as an engine sees them: no two at a time. vLLM before 0.13 refuses a second request of an id that
runs, or breaks it off, and proxies give one id to all calls that belong together."""

import asyncio
import itertools
import secrets
from typing import Final

LINGERS_SECONDS: Final = 30.0
"""For so long an engine may still know a request whose answer was not heard to its end."""


class IdsInFlight:
    """The ids that one engine knows."""

    def __init__(self) -> None:
        self._ids: set[bytes] = set()
        self._own = secrets.token_hex(6).encode()
        self._count = itertools.count(1)

    @property
    def open(self) -> frozenset[bytes]:
        """All that it knows now."""
        return frozenset(self._ids)

    def take(self, wanted: bytes) -> bytes:
        """This id, or a new one while a request has it."""
        found = b"req-%b-%d" % (self._own, next(self._count)) if wanted in self._ids else wanted
        self._ids.add(found)
        return found

    def over(self, taken: bytes, whole: bool) -> None:
        """Its request has ended. `whole`: by the engine's own answer."""
        if whole:
            self._ids.discard(taken)
        else:
            asyncio.get_running_loop().call_later(LINGERS_SECONDS, self._ids.discard, taken)
