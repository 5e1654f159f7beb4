"""Closed lists whose words carry their meaning, so that code and reference cannot say different things."""

from typing import Self

from forebay.word_enum import WordEnum


class DocumentedEnum(WordEnum):
    """One word of a closed list. `meaning` is half a sentence for users, in Markdown."""

    meaning: str

    def __new__(cls, word: str, meaning: str = "") -> Self:
        """As in `FULL = "Full", "every slot is taken"`."""
        made = str.__new__(cls, word)
        made._value_ = word
        made.meaning = meaning
        return made
