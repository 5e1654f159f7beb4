"""How much work it is to read a body: bounded before anything is decoded, since it holds the only loop.

Small bodies are bounded by their size. Of others the marks that make values are counted at the speed of C, outside of
strings, piece by piece; long strings of plain ASCII (images, files) cost next to nothing.
"""

from collections.abc import Generator
from typing import Final

from forebay.rules.dialect.errors import BadRequestError

SMALL_BYTES: Final = 32 * 1024
MOST_BYTES: Final = 16 * 1024 * 1024
MOST_TEXT: Final = 8 * 1024 * 1024
"""What is no long string of plain ASCII."""
MOST_TEXT_NOT_ASCII: Final = 4 * 1024 * 1024
"""The same, where a character beyond ASCII is in it, as such or as an escape: its text takes three times the time."""
LONG_STRING: Final = 64 * 1024
MOST_ESCAPES: Final = 512 * 1024
MOST_STRINGS: Final = 64 * 1024  # keys included
MOST_VALUES: Final = 256 * 1024  # token ids, above all
MOST_CONTAINERS: Final = 16 * 1024
MOST_MARKS: Final = 1024 * 1024
"""Brackets, commas and quotes, those in texts included: to tell them apart takes time, too."""
MOST_OUTSIDE: Final = 2560 * 1024
"""Bytes outside of strings: numbers and white space, above all."""
PIECE: Final = 1024 * 1024
_NOT_MARKS: Final = bytes(set(range(256)) - set(b'\\"[{,'))
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[{"))
_AFTER_STRINGS: Final = b":,]} \t\r\n"
_AFTER_VALUES: Final = (b",", b"]", b"}")
_INDENT: Final = 256
_ESCAPE: Final = ord("\\")


def size_checks(body: bytes) -> Generator[None, None, None]:
    """Refuse a body that would take long to read, in steps of a few milliseconds. Raises BadRequestError."""
    _at_most(len(body), MOST_BYTES, "bytes")
    if len(body) <= MOST_VALUES and len(body.translate(None, _NOT_BRACKETS)) <= MOST_CONTAINERS:
        return  # the usual case: no other bound can be passed by much
    escapes = quotes = commas = containers = 0
    beyond_ascii, huge = False, len(body) > MOST_TEXT_NOT_ASCII
    for start in range(0, len(body), PIECE):
        piece = body[start : start + PIECE]
        marks = piece.translate(None, _NOT_MARKS)
        slashes = marks.count(b"\\")
        escapes += slashes
        quotes += marks.count(b'"')
        commas += marks.count(b",")
        containers += marks.count(b"[") + marks.count(b"{")
        _at_most(escapes, MOST_ESCAPES, "escapes")
        _at_most(quotes + commas + containers, MOST_MARKS, "brackets, commas and quotes")
        if huge and not beyond_ascii:
            beyond_ascii = not piece.isascii() or (slashes > 0 and (b"\\u" in piece or piece.endswith(b"\\")))
        yield
    text = 0
    if len(body) > MOST_OUTSIDE:
        text = yield from _texts(body)
        bound = MOST_TEXT_NOT_ASCII if beyond_ascii else MOST_TEXT
        _at_most(text, bound, "bytes beside long strings of plain ASCII")
    few = containers <= MOST_CONTAINERS and quotes // 2 <= MOST_STRINGS and commas <= MOST_VALUES
    if not few or text > MOST_OUTSIDE:
        yield from _outside_of_strings(body)


def structure(piece: bytes, inside: bool = False) -> tuple[int, int, int, int]:
    """Quotes; values that follow another one, lists and objects, and bytes, all three outside of strings: exact for
    JSON, and of anything else as many as a decoder gets to see. `inside`: the piece begins within a string."""
    if b"\\" in piece:
        piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")  # what a look for quotes could stumble over
    parts = piece.split(b'"')
    outside = b"".join(parts[inside::2])
    return len(parts) - 1, outside.count(b","), outside.count(b"[") + outside.count(b"{"), len(outside)


def _outside_of_strings(body: bytes) -> Generator[None, None, None]:
    """Refuse by what stands outside of strings."""
    quotes = values = containers = outside = start = 0
    while start < len(body):
        end = start + PIECE // 4
        piece = body[start:end]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # an escape goes on
            end += 1
            piece = body[start:end]
        found = structure(piece, quotes % 2 == 1)
        quotes += found[0]
        values += found[1]
        containers += found[2]
        outside += found[3]
        _at_most(quotes // 2, MOST_STRINGS, "keys and strings")
        _at_most(values, MOST_VALUES, "values")
        _at_most(containers, MOST_CONTAINERS, "lists and objects")
        _at_most(outside, MOST_OUTSIDE, "bytes outside of strings")
        start = end
        yield


def _texts(body: bytes) -> Generator[None, None, int]:
    """Bytes that stand in no long string of plain ASCII."""
    texts, start, looked = len(body), 0, 0
    while start < len(body):
        quote = body.rfind(b'"', start, start + LONG_STRING)
        if quote >= 0:
            start = quote + 1
            continue
        end = body.find(b'"', start)
        end = len(body) if end < 0 else end
        is_value = body[end + 1 : end + 1 + _INDENT].lstrip()[:1] in _AFTER_VALUES  # keys are hashed
        if is_value and start and body[start - 2] != _ESCAPE and body[start] not in _AFTER_STRINGS:
            plain = yield from _is_plain(body, start, end)
            if plain:
                texts -= end - start
        start = end + 1
        if start - looked > PIECE:
            looked = start
            yield
    return texts


def _is_plain(body: bytes, start: int, end: int) -> Generator[None, None, bool]:
    for begin in range(start, end, PIECE):
        piece = body[begin : min(begin + PIECE, end)]
        if b"\\" in piece or not piece.isascii():
            return False
        yield
    return True


def _at_most(found: int, bound: int, what: str) -> None:
    if found > bound:
        raise BadRequestError(f"the body has {found} {what}: {bound} are the most that are read here")
