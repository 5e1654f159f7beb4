"""What a sidecar knows of its engine's prompts: how much waits for its first token, and whose prefix is cached now."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from forebay.rules.affinity import PREFILL_TOKENS_PER_SECOND

TOLD_AT_ONCE: Final = 256
"""Sessions in one report; where more came since the last one the first ones are left out."""


class Prefill:
    """Prompts of one engine. `on_change` is called when one was computed."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.on_change = on_change
        self.ahead = 0  # prompt tokens that wait for their first token
        self._placed: deque[tuple[int, int]] = deque(maxlen=TOLD_AT_ONCE)
        self._hidden: list[tuple[float, int, Prompt]] = []  # by when they are taken to be computed
        self._count = itertools.count()

    def begin(self, session: int, tokens: int, *, streams: bool) -> "Prompt":
        """A prompt goes to the engine. An answer that does not stream shows no first token: its time is estimated."""
        prompt = Prompt(self, session, tokens)
        self.ahead += tokens
        if not streams:
            due = asyncio.get_running_loop().time() + tokens / PREFILL_TOKENS_PER_SECOND
            heappush(self._hidden, (due, next(self._count), prompt))
        return prompt

    def take(self) -> tuple[tuple[int, int], ...]:
        """Sessions and the tokens of their prompts, computed since the last call. To be asked for a few times a second:
        no timer runs for a prompt that shows no first token."""
        now = asyncio.get_running_loop().time()
        while self._hidden and self._hidden[0][0] <= now:
            heappop(self._hidden)[2].computed()
        if not self._placed:
            return ()
        placed = tuple(self._placed)
        self._placed.clear()
        return placed

    def over(self, prompt: "Prompt", computed: bool) -> None:
        """A prompt waits no more."""
        self.ahead -= prompt.tokens
        if computed:
            self._placed.append((prompt.session, prompt.tokens))
            self.on_change()


class Prompt:
    """One prompt that waits for its first token."""

    __slots__ = ("prefill", "session", "tokens", "waits")

    def __init__(self, prefill: Prefill, session: int, tokens: int) -> None:
        self.prefill = prefill
        self.session = session
        self.tokens = tokens
        self.waits = True

    def computed(self) -> None:
        """Its first token is there."""
        self._end(computed=True)

    def given_up(self) -> None:
        """It is over, with a first token or without one."""
        self._end(computed=False)

    def _end(self, *, computed: bool) -> None:
        if self.waits:
            self.waits = False
            self.prefill.over(self, computed)


def read(words: bytes) -> tuple[int, int, bool]:
    """Session, tokens, whether it streams, from a gateway's header; zeros where it is not understood."""
    try:
        session, tokens, streams = map(int, words.split())
    except ValueError:
        return 0, 0, True
    return session, max(0, tokens), bool(streams)
