"""Lines that are no JSON: of nginx and its like, or of vLLM, with the counts of tokens by name; and which format it is.

Names are understood however they are joined to their value: `prompt_tokens=12`, `"input_tokens": 12`,
`prompt tokens: 12`. A line without a count of the prompt's tokens is no request.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from forebay.cli.problem import Problem
from forebay.cli.profile.entry import Entry, MalformedLineError, path_of
from forebay.cli.profile.formats import JSON_FORMATS, LogFormat, capability_of, fits, priority_of, seconds

_JOIN = rb'["\']?\s{0,4}[=:]\s{0,4}["\']?'
_PROMPT = re.compile(rb"(?:prompt|input|context)_?[ ]?(?:num_)?tokens" + _JOIN + rb"(\d{1,9})\b", re.I)
_OUTPUT = re.compile(rb"(?:completion|output|generat(?:ed|ion))_?[ ]?tokens" + _JOIN + rb"(\d{1,9})\b", re.I)
_CACHED = re.compile(rb"cached_?[ ]?tokens" + _JOIN + rb"(\d{1,9})\b", re.I)
_WORD = re.compile(rb'\b(capability|task_type|priority|model)["\']?\s{0,4}[=:]\s{0,4}["\']?([\w./:-]{1,64})', re.I)
_REQUEST = re.compile(rb'"(?:POST|GET|PUT) (/[^ ?"]{1,200})[^"]{0,200}" ([1-5]\d\d)\b')
_NGINX = re.compile(rb"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]")
_ISO = re.compile(rb"\b(20\d\d-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:[.,]\d{1,6})?)(Z|[+-]\d\d:?\d\d)?")
_SHORT = re.compile(rb"\b(\d\d)-(\d\d) (\d\d:\d\d:\d\d)\b")  # vLLM: no year
_TOOK = re.compile(rb"(?:request_time|duration|latency)" + _JOIN + rb"(\d{1,6}(?:\.\d{1,9})?)(ms)?", re.I)
SOME_YEAR: Final = 2000
"""Of times that name none: only differences count."""


def read_text(line: bytes) -> Entry:
    """A line with named counts. A time at the line's end of an access log is less what the request took."""
    prompt = _PROMPT.search(line)
    if prompt is None:
        raise MalformedLineError("no count of prompt tokens")
    output, cached, request = _OUTPUT.search(line), _CACHED.search(line), _REQUEST.search(line)
    words = {name.lower().decode(): value.decode() for name, value in _WORD.findall(line)}
    at = _time(line)
    if at is not None and request and (took := _TOOK.search(line)):
        at -= float(took[1]) / (1000 if took[2] else 1)
    count = int(prompt[1])
    return Entry(
        at=at,
        prompt=count,
        output=int(output[1]) if output else None,
        cached=min(count, int(cached[1])) if cached else 0,
        model=words.get("model", ""),
        path=path_of(request[1].decode("latin-1") if request else None),
        capability=capability_of(words.get("capability")),
        priority=priority_of(words.get("priority")),
        task_type=words.get("task_type", ""),
        failed=request is not None and int(request[2]) >= 400,
    )


TEXT: Final = LogFormat("text", "lines with named token counts", read_text)
FORMATS: Final = (*JSON_FORMATS, TEXT)


def detect(lines: Sequence[bytes], name: str) -> LogFormat:
    """The first format that half of a log's first requests are in: the last ones take almost anything.

    Raises Problem where none is.
    """
    counts = [(fits(form, lines), form) for form in FORMATS]
    most = max(count for count, _ in counts)
    if most:
        return next(form for count, form in counts if count * 2 >= most)
    if lines and lines[0].lstrip()[:1] == b"[":
        raise Problem(
            f"{name} is one JSON array, not an object a line: say jq -c '.[]' LOG | kubectl forebay profile -", 2
        )
    known = ", ".join(form.name for form in FORMATS)
    raise Problem(f"none of the first {len(lines)} lines of {name} is a request in a format known here: {known}", 2)


@lru_cache(1024)
def _nginx(stamp: bytes) -> float:
    return datetime.strptime(stamp.decode(), "%d/%b/%Y:%H:%M:%S %z").timestamp()


def _time(line: bytes) -> float | None:
    try:
        if (found := _NGINX.search(line)) is not None:
            return _nginx(found[1])
        if (found := _ISO.search(line)) is not None:
            zone = (found[3] or b"").decode()
            return seconds(f"{found[1].decode()}T{found[2].decode().replace(',', '.')}{zone}")
        if (found := _SHORT.search(line)) is not None:
            return seconds(f"{SOME_YEAR}-{found[1].decode()}-{found[2].decode()}T{found[3].decode()}")
    except ValueError:
        raise MalformedLineError("its time is no time") from None
    return None
