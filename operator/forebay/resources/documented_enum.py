"""Closed lists whose words carry their meaning, so that code and reference cannot say different things."""

from enum import StrEnum
from typing import Self


class DocumentedEnum(StrEnum):
    """One word of a closed list. `meaning` is half a sentence for users, in Markdown."""

    meaning: str

    __hash__ = str.__hash__  # as its word has; Enum's own is computed in Python, for each label of each metric

    def __new__(cls, word: str, meaning: str = "") -> Self:
        """As in `FULL = "Full", "every slot is taken"`."""
        made = str.__new__(cls, word)
        made._value_ = word
        made.meaning = meaning
        return made
