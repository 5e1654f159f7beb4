"""Telling an answer's content from what comes before it: roles, pings, the engine's own errors in a 200."""

import re
from typing import Any, Final

import msgspec

from forebay.engines import error_starts

HELD_BYTES: Final = 64 * 1024
"""An answer that is longer counts as content whatever it says."""

_CONTENT: Final = re.compile(
    rb'"(?:content|text|delta|reasoning|reasoning_content|refusal|arguments|thinking|partial_json)"\s*:\s*"[^"]'
    rb'|"tool_calls"\s*:\s*\[\s*\{|"type"\s*:\s*"tool_use"|"stop_reason"\s*:\s*"|"finish_reason"\s*:\s*"|"response\.completed"|\[DONE\]'
)
_END: Final = re.compile(
    rb'\[DONE\]|"(?:finish|stop)_reason"\s*:\s*"'
    rb'|"(?:response\.(?:completed|incomplete|failed|cancelled)|message_stop|(?:speech\.audio|transcript\.text)\.done)"'
)
_GIVEN_UP: Final = re.compile(rb'"finish_reason"\s*:\s*"(?:abort|error)"')
says_amiss: Final = re.compile(rb'"(?:abort|error)"').search
"""What finds the words of a failure, cheap enough for every piece of a stream: as much as looking for one of them."""
_WHOLE_EVENT: Final = re.compile(rb"(?:\A|\n\r?\n)(?:data|event|id|retry|):")
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
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
    blank = _BLANK_LINE.search(events + b"\n\n", found.end())
    assert blank is not None
    return blank.end()


def given_up(text: bytes) -> int:
    """Where an answer says that the engine gave it up: the beginning of that event, if it is a stream; else -1.

    vLLM ends so what runs while it is told to end, and closes it as if it were whole.
    """
    if says_amiss(text) is None or (found := _GIVEN_UP.search(text)) is None:
        return -1
    begin = 0
    for blank in _BLANK_LINE.finditer(text, 0, found.start()):
        begin = blank.end()
    return begin


def has_ended(last: bytes) -> bool:
    """Whether a stream that is over, and whose last bytes these are, was whole.

    So is one whose last event begins before them: that is longer than any but the end of a long response.
    """
    return _END.search(last) is not None or _WHOLE_EVENT.search(last) is None


def error_status(text: bytes, stream: bool) -> int:
    """The status that an error in a 200 stands for, by its own code or type; 500 for one that says none.

    0: it is no error, or not yet complete.
    """
    if b'"error"' not in text or (found := (_ERROR_EVENT.search if stream else _ERROR.match)(text)) is None:
        return 0
    document, newline, _ = text[text.index(b"{", found.start()) :].partition(b"\n") if stream else (text, b"", b"")
    try:
        return _status_of(msgspec.json.decode(document))
    except (ValueError, RecursionError):
        return 500 if newline else 0


def _status_of(said: Any) -> int:
    error = said.get("error") if isinstance(said, dict) else None
    for each in (error, said):
        if isinstance(each, dict):
            for key in ("code", "status", "status_code"):
                digits = str(each.get(key))
                if len(digits) == 3 and digits.isdecimal() and digits >= "400":
                    return int(digits)
            if each.get("type") == "invalid_request_error":
                return 400
    return 500
