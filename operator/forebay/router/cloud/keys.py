"""A provider's API key or secret header: read from its mounted file, sent to its provider, nowhere else to be found."""

from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 1.0
HIDDEN: Final = b"[key]"
SHORTEST_HIDDEN: Final = 6
"""Anything shorter is no key that could be told from other text."""


class Key:
    """One key file. `path` is None for a provider that wants no key; `words`: it may be several, as in `Basic abc`."""

    def __init__(self, path: Path | None, *, words: bool = False) -> None:
        self.path = path
        self._words = words
        self._value: str | None = None
        self._former: str | None = None
        self._looked = float("-inf")

    def value(self, now: float) -> str | None:
        """The key as it is mounted, at most a second old: the kubelet puts a rotated one there."""
        if self.path is not None and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            found = _read(self.path, self._words)
            if found != self._value:
                self._former, self._value = self._value, found
        return self._value

    def missing(self, now: float) -> bool:
        """Whether a key is wanted and there is none that could be sent."""
        return self.path is not None and self.value(now) is None

    def hide(self, text: bytes) -> bytes:
        """The text without this key or the one before it: providers like to repeat what they refuse."""
        for value in (self._value, self._former):
            for key in () if value is None else (value, value.rpartition(" ")[2]):
                if len(key) >= SHORTEST_HIDDEN:
                    for spelt in _spellings(key):
                        text = text.replace(spelt, HIDDEN)
        return text

    def __repr__(self) -> str:
        return f"Key({self.path})"


def _spellings(key: str) -> tuple[bytes, ...]:
    """As it is, and as JSON may hold it: with quotes and backslashes escaped, and in some writers slashes."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return key.encode(), escaped.encode(), escaped.replace("/", "\\/").encode()


def _read(path: Path, words: bool) -> str | None:
    """The file's only word (or line), or None: what no header may carry would show up in an error."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return text if text and text.isprintable() and (words or " " not in text) else None
