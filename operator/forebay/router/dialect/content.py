"""Telling an answer's content from what comes before it: roles, pings, the engine's own errors in a 200."""

import re
from typing import Final

from forebay.engines import error_starts

HELD_BYTES: Final = 64 * 1024
"""An answer that is longer counts as content whatever it says."""

_CONTENT: Final = re.compile(
    rb'"(?:content|text|delta|reasoning|reasoning_content|refusal|arguments|thinking|partial_json)"\s*:\s*"[^"]'
    rb'|"tool_calls"\s*:\s*\[\s*\{|"type"\s*:\s*"tool_use"|"stop_reason"\s*:\s*"|"finish_reason"\s*:\s*"|"response\.completed"|\[DONE\]'
)
_ERROR: Final = re.compile(rb"\s*\{\s*(?:%b)" % error_starts())
_ERROR_EVENT: Final = re.compile(rb"^data: ?\{\s*(?:%b)" % error_starts(), re.M)


def has_content(events: bytes) -> bool:
    """Whether a stream's first events carry a token, a call of a tool, or an end."""
    return _CONTENT.search(events) is not None or len(events) > HELD_BYTES


def is_error(start: bytes) -> bool:
    """Whether a 200 is an error instead of an answer."""
    return _ERROR.match(start) is not None


def error_end(events: bytes) -> int:
    """Where an event of a stream that says that it failed ends; 0 when there is none."""
    if b'"error"' not in events or (found := _ERROR_EVENT.search(events)) is None:
        return 0
    return (events + b"\n\n").index(b"\n\n", found.end()) + 2
