"""What an engine keeps of prompts it has seen: whole blocks, known by the hash of everything up to their end.

As vLLM's automatic prefix caching does: blocks of running requests are held; the others stay as long as there is room,
the least recently used ones go first, and of one request its last blocks before its first ones.
"""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from itertools import takewhile
from typing import Final

PREFIX_TOKENS: Final = 512
"""Tokens of a block."""


def chain(text: str, characters: int) -> tuple[int, ...]:
    """Hashes of a text's whole blocks of so many characters, each over all before it too."""
    state, found = blake2b(digest_size=8), []
    for end in range(characters, len(text) + 1, characters):
        state.update(text[end - characters : end].encode())
        found.append(int.from_bytes(state.copy().digest(), "little"))
    return tuple(found)


class PrefixCache:
    """The blocks of one engine. How many may stay idle is said with every `trim`."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}  # requests that hold a block
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def held(self) -> int:
        """Blocks that running requests hold."""
        return len(self._held)

    @property
    def idle(self) -> int:
        """Blocks that nobody holds and that may go."""
        return len(self._idle)

    def known(self, blocks: Iterable[int]) -> int:
        """How many of these blocks, from the first one on, are here."""
        return sum(1 for _ in takewhile(lambda block: block in self._held or block in self._idle, blocks))

    def missing(self, blocks: Iterable[int]) -> int:
        """How many of these blocks would be held anew."""
        return sum(block not in self._held for block in blocks)

    def hold(self, blocks: Iterable[int]) -> None:
        """A request begins."""
        for block in blocks:
            self._idle.pop(block, None)
            self._held[block] = self._held.get(block, 0) + 1

    def release(self, blocks: tuple[int, ...]) -> None:
        """It is over; its last block is the first to go."""
        for block in reversed(blocks):
            count = self._held[block] - 1
            if count:
                self._held[block] = count
            else:
                del self._held[block]
                self._idle[block] = None

    def trim(self, blocks: int) -> None:
        """Let the least recently used idle blocks go until so many are left."""
        while len(self._idle) > max(0, blocks):
            self._idle.popitem(last=False)
