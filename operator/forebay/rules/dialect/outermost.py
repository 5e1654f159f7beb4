"""Where each outermost field of a JSON object stands: one pass at the speed of C, and a step for each field."""

import re
from typing import Any, Final

import msgspec

from forebay.rules.dialect.errors import BadRequestError

MOST_FIELDS: Final = 1024
_FIELDS: Final[Any] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY: Final = re.compile(rb'[\s,{]*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*')


def outermost(body: bytes, within: str = "") -> dict[str, tuple[int, int]]:
    """Begin and end of the value of each field of an object that msgspec can decode; `within` names the object.

    Raises BadRequestError for a field that stands there twice, however it is written, and for too many.
    """
    fields: dict[str, Any] = _FIELDS.decode(body)
    if len(fields) > MOST_FIELDS:
        raise BadRequestError(f"{within or 'the body'} has more than {MOST_FIELDS} fields: send fewer")
    found: dict[str, tuple[int, int]] = {}
    end = 0
    while (match := _KEY.match(body, end)) is not None:
        key: str = msgspec.json.decode(match[1])
        value, start = bytes(fields[key]), match.end()
        if key in found or not body.startswith(value, start):  # msgspec knows the last one
            name = f"{within}.{key}" if within else key
            raise BadRequestError(f"the body says {name[:80]!r} more than once: send it once")
        end = start + len(value)
        found[key] = start, end
    return found
