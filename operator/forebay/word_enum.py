"""The base of every closed list of words here."""

from enum import StrEnum


class WordEnum(StrEnum):
    """Words that hash as their text does. Enum computes a hash in Python, and it is not that of the equal text."""

    __hash__ = str.__hash__
