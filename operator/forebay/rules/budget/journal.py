"""A book's notes as records of 64 bytes, each with its checksum: what is torn at the end is as if it had not been.

The first record names the journal: a journal that is lost is another account. Names of budgets take a record for each
24 bytes, once; the others refer to them by number.
"""

import zlib
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct as Layout
from typing import Final, NamedTuple

from forebay.rules.budget.book import AccountKey, Begun, BookNote, Closed, Ended, Kept, Returned

RECORD: Final = 64
_BODY: Final = Layout("<BBHQQQ4H24s")
"""Kind, how many of something, which one; three numbers; accounts; text."""
_CHECK: Final = Layout("<I")
_TEXT: Final = 24


class _Kind(IntEnum):
    HEAD = 1
    NAME = 2
    BEGUN = 3
    ENDED = 4
    RETURNED = 5
    CLOSED = 6
    KEPT = 7


class JournalContent(NamedTuple):
    """What a journal holds: its own name (empty: it holds nothing), its notes, the bytes that are whole."""

    name: str
    notes: list[BookNote]
    size: int
    keys: list[AccountKey]


class JournalWriter:
    """Turns notes into records; knows which accounts it has named."""

    def __init__(self, keys: list[AccountKey] | None = None) -> None:
        self._numbers = {key: number for number, key in enumerate(keys or ())}

    @property
    def keys(self) -> list[AccountKey]:
        """The accounts that have been named, in order."""
        return list(self._numbers)

    def head(self, name: bytes) -> bytes:
        """The first record of a new journal; `name` is random, 16 bytes."""
        return _record(_Kind.HEAD, text=name)

    def records(self, note: BookNote) -> bytes:
        """A note, after the names that it needs."""
        match note:
            case Begun(id=number, worst=worst, keys=keys):
                named, numbers = self._named(*keys)
                return named + _record(_Kind.BEGUN, len(keys), 0, number, worst, accounts=numbers)
            case Ended(id=number, cost=cost):
                return _record(_Kind.ENDED, 0, 0, number, cost)
            case Returned(key=key, returned=returned):
                named, numbers = self._named(key)
                return named + _record(_Kind.RETURNED, 0, 0, returned, accounts=numbers)
            case Closed(key=key):
                named, numbers = self._named(key)
                return named + _record(_Kind.CLOSED, accounts=numbers)
            case Kept(key=key, spent=spent, returned=returned, closed=closed):
                named, numbers = self._named(key)
                return named + _record(_Kind.KEPT, int(closed), 0, spent, returned, accounts=numbers)

    def _named(self, *keys: AccountKey) -> tuple[bytes, tuple[int, ...]]:
        found = b""
        for key in keys:
            if key not in self._numbers:
                self._numbers[key] = len(self._numbers)
                text = key.budget.encode()
                parts = [text[at : at + _TEXT] for at in range(0, len(text), _TEXT)]
                for number, part in enumerate(parts):
                    found += _record(_Kind.NAME, len(parts), number, len(text), key.start, text=part)
        return found, tuple(self._numbers[key] for key in keys)


def read_journal(data: bytes) -> JournalContent:
    """All that is whole, up to the first record that is not."""
    keys: list[AccountKey] = []
    notes: list[BookNote] = []
    name, size, text = "", 0, b""
    for kind, count, which, numbers, accounts, part in _records(data):
        if (kind == _Kind.HEAD) != (size == 0):
            break
        if kind == _Kind.HEAD:
            name = part[:16].hex()
        elif kind == _Kind.NAME:
            text = part if which == 0 else text + part
            if which + 1 == count:
                keys.append(AccountKey(text[: numbers[0]].decode(), numbers[1]))
        elif (note := _note(kind, count, numbers, accounts, keys)) is not None:
            notes.append(note)
        size += RECORD
    return JournalContent(name, notes, size, keys)


Row = tuple[int, int, int, tuple[int, int, int], tuple[int, ...], bytes]


def _records(data: bytes) -> Iterator[Row]:
    for at in range(0, len(data) - RECORD + 1, RECORD):
        body, check = data[at : at + _BODY.size], _CHECK.unpack_from(data, at + RECORD - _CHECK.size)[0]
        if zlib.crc32(body) != check:
            return
        kind, count, which, first, second, third, *rest = _BODY.unpack(body)
        yield kind, count, which, (first, second, third), tuple(rest[:4]), rest[4]


def _note(
    kind: int, count: int, numbers: tuple[int, int, int], accounts: tuple[int, ...], keys: list[AccountKey]
) -> BookNote | None:
    match kind:
        case _Kind.BEGUN:
            return Begun(numbers[0], numbers[1], tuple(keys[number] for number in accounts[:count]))
        case _Kind.ENDED:
            return Ended(numbers[0], numbers[1])
        case _Kind.RETURNED:
            return Returned(keys[accounts[0]], numbers[0])
        case _Kind.CLOSED:
            return Closed(keys[accounts[0]])
        case _Kind.KEPT:
            return Kept(keys[accounts[0]], numbers[0], numbers[1], bool(count))
    return None


def _record(
    kind: int, count: int = 0, which: int = 0, *numbers: int, accounts: tuple[int, ...] = (), text: bytes = b""
) -> bytes:
    three, four = (*numbers, 0, 0, 0)[:3], (*accounts, 0, 0, 0, 0)[:4]
    body = _BODY.pack(kind, count, which, *three, *four, text)
    return body.ljust(RECORD - _CHECK.size, b"\0") + _CHECK.pack(zlib.crc32(body))
