"""One line of a log, as every format's reader says it."""

from typing import Final

from msgspec import Struct

from forebay.resources.reasons import Capability, Priority
from forebay.rules.endpoints import CHAT, ENDPOINTS, ROOT

_ENDINGS: Final = {path.removeprefix(ROOT): path for path in ENDPOINTS if path.startswith(ROOT)}


class MalformedLineError(ValueError):
    """This line is not a request in this format. The message never repeats what stands in it."""


class Entry(Struct, gc=False):
    """A request of a log. What the log does not say is None.

    `at` is its arrival in Unix seconds; `cached` tokens are part of `prompt`; `spent` is what the log says it cost in
    US dollars. `body` is the request itself, as JSON, where the log has it: its words are classified, then forgotten.
    """

    at: float | None = None
    prompt: int | None = None
    output: int | None = None
    cached: int = 0
    model: str = ""
    path: str = CHAT
    capability: Capability | None = None
    guessed: bool = False  # the given capability was guessed from words
    by_time: bool = False  # `output` was told by how long the answer took
    priority: Priority = Priority.NORMAL
    task_type: str = ""
    failed: bool = False
    spent: float | None = None
    body: bytes | None = None


def path_of(written: str | None) -> str:
    """The router's path for one as a log writes it: with a host, without /v1, or not at all."""
    path = "/" + (written or "").partition("?")[0].rstrip("/")
    return next((found for ending, found in _ENDINGS.items() if path.endswith(ending)), CHAT)
