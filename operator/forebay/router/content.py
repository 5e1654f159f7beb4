"""Telling an answer's content from what comes before it: roles, pings, the engine's own errors in a 200."""

import re
from typing import Final

HELD_BYTES: Final = 64 * 1024
"""An answer that is longer counts as content whatever it says."""

_CONTENT: Final = re.compile(
    rb'"(?:content|text|delta|reasoning|reasoning_content|refusal|arguments)"\s*:\s*"[^"]'
    rb'|"tool_calls"\s*:\s*\[\s*\{|"finish_reason"\s*:\s*"|"response\.completed"|\[DONE\]'
)
_ERROR: Final = re.compile(rb'^\s*(?:event: error\s+)?(?:data:\s*)?\{\s*"(?:error"\s*:\s*[{"]|object"\s*:\s*"error")')


def has_content(events: bytes) -> bool:
    """Whether a stream's first events carry a token, a call of a tool, or an end."""
    return _CONTENT.search(events) is not None or len(events) > HELD_BYTES


def is_error(start: bytes) -> bool:
    """Whether a 200 begins with an error instead of an answer."""
    return _ERROR.match(start) is not None
