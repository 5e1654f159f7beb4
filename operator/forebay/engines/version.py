"""Versions of engines, as these say them, and which of them are supported."""

import re
from dataclasses import dataclass
from typing import Final

from forebay.word_enum import WordEnum

_VERSION: Final = re.compile(
    r"v?(?P<release>\d+(?:\.\d+)*)(?P<candidate>[._-]?(?:a|b|rc|alpha|beta|c|pre|preview)[._-]?\d*)?"
    r"(?P<post>[._-]?post[._-]?\d*|-\d+)?(?P<dev>[._-]?dev[._-]?\d*)?(?:\+[a-z0-9]+(?:[._-][a-z0-9]+)*)?",
    re.IGNORECASE | re.ASCII,
)


class Support(WordEnum):
    """How a version lies to those that are supported."""

    SUPPORTED = "Supported"
    OLDER = "Older"
    NEWER = "Newer"
    UNKNOWN = "Unknown"  # nothing was said, or no version


@dataclass(frozen=True, slots=True)
class Versions:
    """A range of releases, both ends included; of the newest minor version every later patch release as well."""

    oldest: str
    newest: str

    def judge(self, said: str) -> Support:
        """By the order of Python's packages (PEP 440). What is built between two releases belongs before the later one,
        and what is built after the newest release is newer."""
        found = _VERSION.fullmatch(said)
        if found is None:
            return Support.UNKNOWN
        release, oldest, newest = (_release(text) for text in (found["release"], self.oldest, self.newest))
        developed, post = found["dev"] is not None, found["post"] is not None
        unfinished = (developed or found["candidate"] is not None) and not (post and found["candidate"] is None)
        if release < oldest or (release == oldest and unfinished):
            return Support.OLDER
        if release[:2] > newest[:2] or (developed and (release > newest or (release == newest and not unfinished))):
            return Support.NEWER
        return Support.SUPPORTED

    def __str__(self) -> str:
        return f"{self.oldest} to {self.newest}"


def _release(text: str) -> tuple[int, ...]:
    """Three numbers at least, without idle zeros at the end."""
    numbers = [int(number[:9]) for number in text.split(".")]
    while len(numbers) > 3 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers + [0] * (3 - len(numbers)))
