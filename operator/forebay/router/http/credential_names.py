"""What lets somebody in, as requests carry it: keys, tokens, cookies. One rule says which; nothing of it goes on."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

from forebay.resources.headers import KEY_HEADERS

_BEARER: Final = b"bearer "
_NAMES: Final = re.compile(
    r"(^|[-_.])(authori[sz]ation|authentication|auth|bearer|cookies?2?|jwt|oidc|credentials?|passwords?|passwd|secret)($|[-_.])"
    r"|(^|[-_.])sig(nature)?$|(token|secret|assertion|password|api[-_.]?keys?)$|((^|[-_.])|access|secret|private)key$",
    re.I,
)
_HARMLESS: Final = frozenset({"idempotency-key"})
REMEMBERED: Final = 64
"""Characters of a name whose verdict is kept: longer ones would fill the memory."""
_KEYS: Final = tuple(name.encode() for name in KEY_HEADERS)


def is_credential(name: str) -> bool:
    """Whether a header or a parameter of this name is there to let somebody in, whoever invented it."""
    return _judged(name) if len(name) <= REMEMBERED else _judge(name)


def _judge(name: str) -> bool:
    return name.lower() not in _HARMLESS and _NAMES.search(name) is not None


_judged = lru_cache(4096)(_judge)


def is_credential_header(name: bytes) -> bool:
    """The same of a header's name as it came."""
    return is_credential(name.decode("latin-1"))


def without_credentials(query: str) -> str:
    """A query without such parameters; the rest stays as it is written."""
    if not query:
        return ""
    return "&".join(part for part in query.split("&") if not is_credential(unquote_plus(part.partition("=")[0])))


def keys_of(fields: Mapping[bytes, bytes]) -> list[bytes]:
    """Every key that a request shows where clients' libraries put theirs, in the order of KEY_HEADERS."""
    found = []
    for name in _KEYS:
        value = fields.get(name)
        if value is None:
            continue
        if name != b"authorization":
            found.append(value.strip())
        elif value[: len(_BEARER)].lower() == _BEARER:
            found.append(value[len(_BEARER) :].strip())
    return found
