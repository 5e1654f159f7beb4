"""Words of the closed lists, and what they mean, as plain text. The meanings themselves stand in `resources`."""

from typing import TypeVar

from forebay.resources.documented_enum import DocumentedEnum

W = TypeVar("W", bound=DocumentedEnum)


def word(kind: type[W], text: str) -> W | None:
    """The word of this list; None for one that only a newer operator knows."""
    try:
        return kind(text)
    except ValueError:
        return None


def meaning(kind: type[DocumentedEnum], text: str) -> str:
    """What the word means; the word itself where only a newer operator knows it."""
    known = word(kind, text)
    return known.meaning.replace("`", "") if known is not None else text
