"""Every target by name: a function of bytes that raises when something does not hold."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from bench.fuzz import incoming, outgoing, texts

Target = Callable[[bytes], None]
TARGETS: Final[Mapping[str, Target]] = MappingProxyType({
    "server": incoming.server,
    "smuggling": incoming.smuggling,
    "client": outgoing.client,
    "relay": outgoing.relay,
    "request": texts.request,
    "form": texts.form,
    "events": texts.events,
    "lines": texts.lines,
})  # fmt: skip
