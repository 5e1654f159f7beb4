"""What must not leave in a body: credentials, by their usual names, and addresses that only this network knows."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from forebay.rules.addresses import refusal

LONGEST_KEY: Final = 64
LONGEST_PATH: Final = 200
_CREDENTIAL: Final = re.compile(
    r"(?:authorization|api_?key|(?:access|secret|private|signing|encryption|account|subscription|master)_?key"
    r"|(?:^|access|auth|bearer|refresh|session|id|api|secret|security|personal|user|bot|oauth|service|pat)_?token"
    r"|secret|password|passwd|passphrase|credentials?|cookie|jwt|connection_?string|private_?key_?id)$"
)
_HEADER: Final = re.compile(r"(?:Bearer|Basic|Token) [A-Za-z0-9._~+/=-]{16,512}")
"""The value of a header of any name."""
_VALUES: Final = ("default", "const", "example")
"""Keys of a JSON schema that hold a value of what it describes."""
_IN_QUERY: Final = re.compile(r"(?:^|[&;])([^=&;]+)=[^&;]")
_SIGNED: Final = ("x-amz-", "x-goog-")
"""Of addresses that are signed: they open the one thing that they name, for a while."""
_NAMES: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keys of a JSON schema whose members are named by the client: `password` is the name of an argument there."""
_HERE: Final = frozenset({
    "local", "localhost", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "svc", "cluster",
    "test", "invalid", "arpa",
})  # fmt: skip
"""Last labels of names that mean something in one network only."""


@lru_cache(maxsize=4096)
def _is_credential(key: str) -> bool:
    return _CREDENTIAL.search(key.lower().replace("-", "_").replace(" ", "_").replace(".", "_")) is not None


def is_credential(key: str) -> bool:
    """Whether a key names something that gives access, in any spelling."""
    return _is_credential(key[-LONGEST_KEY:])


class TooLargeError(Exception):
    """There is more to look at than is looked at."""


def credentials(where: str, value: Any, steps: Callable[[int], None]) -> Iterator[str]:
    """The paths of credentials in a document. `steps` is told how many members are looked at next."""
    left: list[tuple[str, Any, bool]] = [(where, value, False)]
    while left:
        path, inner, named = left.pop()
        if isinstance(inner, dict):
            steps(len(inner))
            for key, member in inner.items():
                holds = isinstance(member, dict | list)
                if not holds and not isinstance(member, str):
                    continue
                name = f"{path}.{key[:LONGEST_KEY]}" if len(path) < LONGEST_PATH else path
                if member and _gives_access(key, member, named):
                    yield name
                elif holds:
                    left.append((name, member, not named and key in _NAMES))
        elif isinstance(inner, list):
            steps(len(inner))
            for member in inner:
                if isinstance(member, dict | list):
                    left.append((path, member, False))


def _gives_access(key: str, member: Any, named: bool) -> bool:
    """Whether a member holds a credential; where a schema has `named` it, only if it has a value for it."""
    if isinstance(member, str):
        return is_credential(key) or _HEADER.fullmatch(member) is not None
    if not is_credential(key):
        return False
    return not named or (isinstance(member, dict) and any(isinstance(member.get(value), str) for value in _VALUES))


def without(where: str, value: Any, dropped: frozenset[str]) -> Any:
    """A document less the members at these paths; itself where none is."""
    if not any(name.startswith(where + ".") for name in dropped):
        return value
    if isinstance(value, Mapping):
        return {
            key: without(f"{where}.{key}", member, dropped)
            for key, member in value.items()
            if f"{where}.{key}" not in dropped
        }
    return [without(where, member, dropped) for member in value] if isinstance(value, list) else value


def is_public(url: Any) -> bool:
    """Whether anybody on the internet may read this URL, as far as it says so itself: https, no credentials in it, and
    a host that is not only known here."""
    if not isinstance(url, str) or not url.startswith("https://"):
        return False
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return False
    keys = (key for key in _IN_QUERY.findall(parts.query) if not key.lower().startswith(_SIGNED))
    if "@" in parts.netloc or not host or any(is_credential(key) for key in keys):
        return False
    try:
        return refusal(str(ip_address(host)), "https") is None
    except ValueError:
        labels = host.lower().split(".")
        return len(labels) > 1 and labels[-1] not in _HERE and not labels[-1].isdigit() and "svc" not in labels
