"""A provider's stream, read event by event: what is content, what is usage, what is an error, where it ends. No I/O."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from forebay.router.dialect.content import has_content
from forebay.rules.spending import TokenUsage, find_tier, find_usage, read_usage
from forebay.word_enum import WordEnum

LONGEST_EVENT: Final = 4 * 1024 * 1024
DONE: Final = b"[DONE]"
LAST_TYPES: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled",
                               "message_stop"})  # fmt: skip
ERROR_TYPES: Final = frozenset({"error", "response.failed"})


class MalformedEventError(Exception):
    """The stream says something that is no event of this API."""


class StreamEventKind(WordEnum):
    """What an event carries."""

    CONTENT = "Content"
    SILENT = "Silent"  # pings, roles, comments
    USAGE = "Usage"  # nothing but the usage that forebay or the client asked for
    ERROR = "Error"
    END = "End"  # the last word of the stream


class Event(NamedTuple):
    """One event as it came, blank line included."""

    raw: bytes
    kind: StreamEventKind


class EventReader:
    """Takes pieces in, gives events out; remembers usage, of which later events know more, and whether the stream came
    to its end."""

    def __init__(self) -> None:
        self.content_events = 0
        self.ended = False
        self._rest = b""
        self._finished = False
        self._usage: dict[str, Any] = {}
        self._tier = ""

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that are complete now. Raises MalformedError after those that were good."""
        *texts, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._rest) > LONGEST_EVENT:
            raise MalformedEventError("an event is longer than 4 MiB")
        for text in texts:
            if text.strip():
                yield self._event(text)

    def close(self) -> Iterator[Event]:
        """The stream is over: what is left of it. Raises MalformedError for half an event."""
        rest, self._rest = self._rest, b""
        if rest.strip():
            yield self._event(rest)

    @property
    def usage(self) -> TokenUsage | None:
        """What it says was used. A stream that broke off may have made more since."""
        usage = read_usage(self._usage, self._tier)
        if usage is None or self.complete or usage.output >= self.content_events:
            return usage
        return replace(usage, output=self.content_events)

    @property
    def complete(self) -> bool:
        """Whether a stream that is over was whole: by its last event, or by every choice's finish."""
        return self.ended or self._finished

    def _event(self, text: bytes) -> Event:
        raw = text + b"\n\n"
        data = b"\n".join(line[5:].strip() for line in text.split(b"\n") if line.startswith(b"data:"))
        if not data:
            return Event(raw, StreamEventKind.SILENT)
        if data == DONE:
            self.ended = True
            return Event(raw, StreamEventKind.END)
        try:
            document = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            raise MalformedEventError("an event is no JSON") from None
        if not isinstance(document, dict):
            raise MalformedEventError("an event is no JSON object")
        return Event(raw, self._kind(document, raw))

    def _kind(self, document: dict[str, Any], raw: bytes) -> StreamEventKind:
        kind, usage = document.get("type"), find_usage(document)
        if usage is not None:
            self._usage |= usage
        self._tier = find_tier(document) or self._tier
        if kind in LAST_TYPES:
            self.ended = True
        if kind in ERROR_TYPES or document.get("error") or document.get("object") == "error":
            return StreamEventKind.ERROR
        if kind in LAST_TYPES:
            return StreamEventKind.END
        choices = document.get("choices")
        if usage is not None and choices == []:
            return StreamEventKind.USAGE
        if isinstance(choices, list) and any(isinstance(c, dict) and c.get("finish_reason") for c in choices):
            self._finished = True
        if not has_content(raw):
            return StreamEventKind.SILENT
        self.content_events += 1
        return StreamEventKind.CONTENT
