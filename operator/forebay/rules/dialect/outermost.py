"""Where each outermost field of a JSON object stands: one pass at the speed of C, and a step for each field."""

import re
from collections.abc import Generator
from typing import Any, Final

import msgspec

from forebay.rules.dialect.errors import BadRequestError

Spans = dict[str, tuple[int, int]]
"""Begin and end of the value of each field."""
MOST_FIELDS: Final = 256
LONGEST_KEY: Final = 256
_PIECE: Final = 128 * 1024
_STEP: Final = 4 * 1024 * 1024
_FIELDS: Final[Any] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY: Final = re.compile(rb'[\s,{]*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*')


def outermost(body: bytes, within: str = "") -> Spans:
    """Where the fields of an object stand that msgspec can decode; `within` names the object.

    Raises BadRequestError for a field that stands there twice, however it is written, and for too many.
    """
    steps = outermost_steps(body, within)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Spans = end.value
            return found


def outermost_steps(body: bytes, within: str = "") -> Generator[None, None, Spans]:
    """The same in steps of a few milliseconds."""
    fields: dict[str, Any] = _FIELDS.decode(body)
    if len(fields) > MOST_FIELDS:
        raise BadRequestError(f"{within or 'the body'} has more than {MOST_FIELDS} fields: send fewer")
    if any(len(key) > LONGEST_KEY for key in fields):
        raise BadRequestError(f"{within or 'the body'} has a field whose name is longer than {LONGEST_KEY} characters")
    yield
    found: Spans = {}
    end = compared = 0
    while (match := _KEY.match(body, end)) is not None:
        key: str = msgspec.json.decode(match[1])
        value, start = memoryview(fields[key]), match.end()
        end = start + len(value)
        twice = key in found
        for begin in range(0, len(value), _PIECE):  # msgspec knows the last one: is it this one?
            twice = twice or not body.startswith(bytes(value[begin : begin + _PIECE]), start + begin)
            if begin + start > compared + _STEP:
                compared = begin + start
                yield
        if twice:
            name = f"{within}.{key}" if within else key
            raise BadRequestError(f"the body says {name[:80]!r} more than once: send it once")
        found[key] = start, end
    return found
