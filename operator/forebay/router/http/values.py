"""Requests and small answers as values. Never compiled: mypyc does not understand msgspec.Struct."""

from dataclasses import dataclass, field

from msgspec import Struct

Headers = list[tuple[bytes, bytes]]
"""Lower-case names, values as they came, in order."""


class Request(Struct, gc=False):
    """One request with its whole body. `target` is the path without the query."""

    method: str
    target: str
    query: str
    headers: Headers
    body: bytes = b""
    peer: str = ""
    seen: float = 0.0  # loop time of its first byte
    fields: dict[bytes, bytes] = {}  # the headers by name

    def __post_init__(self) -> None:
        if not self.fields:
            self.fields = dict(self.headers)

    @property
    def whole_target(self) -> str:
        """The path with its query, as it came."""
        return f"{self.target}?{self.query}" if self.query else self.target

    def header(self, name: bytes) -> str | None:
        """A header's value."""
        value = self.fields.get(name)
        return None if value is None else value.decode("latin-1")


@dataclass(slots=True)
class Reply:
    """A small answer made here."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
