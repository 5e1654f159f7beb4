"""How much work it is to read a body: bounded before anything is decoded, since it holds the only loop.

Small bodies are bounded by their size. Of others the marks that make values are counted at the speed of C, outside of
strings; texts, however long, cost next to nothing.
"""

from typing import Final

from forebay.rules.dialect.errors import BadRequestError

SMALL_BYTES: Final = 64 * 1024
MOST_BYTES: Final = 16 * 1024 * 1024
MOST_BYTES_NOT_ASCII: Final = 8 * 1024 * 1024
"""A body with characters beyond ASCII takes twice the time."""
MOST_ESCAPES: Final = 512 * 1024
MOST_STRINGS: Final = 64 * 1024  # keys included
MOST_VALUES: Final = 256 * 1024  # token ids, above all
MOST_CONTAINERS: Final = 16 * 1024
MOST_MARKS: Final = 1024 * 1024
"""Brackets, commas and quotes, those in texts included: to tell them apart takes time, too."""
MOST_SPACES: Final = 1024 * 1024
"""White space outside of strings."""
_MARKS: Final = b'\\"[{,'
_NOT_MARKS: Final = bytes(set(range(256)) - set(_MARKS))
_SPACES: Final = b" \t\r\n"
_NOT_SPACES: Final = bytes(set(range(256)) - set(_SPACES + b'"'))


def check_size(body: bytes) -> None:
    """Refuse a body that would take more than some milliseconds to read. Raises BadRequestError."""
    if len(body) <= SMALL_BYTES:
        return
    _at_most(len(body), MOST_BYTES, "bytes")
    if len(body) > MOST_BYTES_NOT_ASCII and not body.isascii():
        _at_most(len(body), MOST_BYTES_NOT_ASCII, "bytes, some of them beyond ASCII")
    marks = body.translate(None, _NOT_MARKS)
    escapes = len(marks.translate(None, _MARKS[1:]))
    _at_most(escapes, MOST_ESCAPES, "escapes")
    if len(body) > MOST_SPACES and len(body.translate(None, _NOT_SPACES)) > MOST_SPACES:
        _check_spaces(body)
    if _few(marks):
        return
    _at_most(len(marks) - escapes, MOST_MARKS, "brackets, commas and quotes")
    _, values, containers = structure(body)
    _at_most(values, MOST_VALUES, "values")
    _at_most(containers, MOST_CONTAINERS, "lists and objects")


def structure(body: bytes) -> tuple[int, int, int]:
    """Keys and strings, values that follow another one, lists and objects: exact for JSON, and of anything else as many
    as a decoder gets to see."""
    marks = _unescaped(body).translate(None, _NOT_MARKS)
    strings = len(marks.translate(None, b"\\[{,")) // 2
    _at_most(strings, MOST_STRINGS, "keys and strings")
    outside = b"".join(marks.split(b'"')[::2])
    values = len(outside.translate(None, b"\\[{"))
    return strings, values, len(outside.translate(None, b"\\,"))


def _few(marks: bytes) -> bool:
    """Whether all marks together, those in texts too, are within the bounds: nearly always."""
    if len(marks) <= MOST_CONTAINERS:
        return True
    brackets = len(marks.translate(None, b'\\",'))
    quotes = len(marks.translate(None, b"\\[{,"))
    return brackets <= MOST_CONTAINERS and quotes // 2 <= MOST_STRINGS and len(marks) - quotes <= MOST_VALUES


def _check_spaces(body: bytes) -> None:
    quotes_and_spaces = _unescaped(body).translate(None, _NOT_SPACES)
    _at_most(len(quotes_and_spaces.translate(None, _SPACES)) // 2, MOST_STRINGS, "keys and strings")
    _at_most(len(b"".join(quotes_and_spaces.split(b'"')[::2])), MOST_SPACES, "bytes of white space around its values")


def _unescaped(body: bytes) -> bytes:
    """Without escapes that a look for quotes could stumble over."""
    return body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body


def _at_most(found: int, bound: int, what: str) -> None:
    if found > bound:
        raise BadRequestError(f"the body has {found} {what}: {bound} are the most that are read here")
