"""A client's request as the router understands it. Never compiled: mypyc does not understand msgspec.Struct."""

from typing import Any

from msgspec import Struct

from forebay.resources.reasons import Priority
from forebay.rules.facts import RequestFacts


class ParsedRequest(Struct, frozen=True, gc=False):
    """A parsed request: its facts, and what relaying needs. `document` is the decoded body, for the cloud path."""

    path: str
    facts: RequestFacts
    asked: Priority
    client: str = "anonymous"
    session: bytes = b""  # as its header names it
    stream: bool = False
    timeout_seconds: float | None = None
    document: dict[str, Any] = {}
    previous: str = ""  # the stored response that this one goes on from
    model_at: tuple[int, int] | None = None  # where the value of `model` stands in the body, where that is known
