"""W3C trace context: passed on unchanged when it is valid, dropped when it is not; none is made up here.

A router adds no span, so it is a pass-through in the recommendation's words: the engine's parent is the client's span.
A `traceparent` that does not parse, or is there twice, is dropped together with `tracestate`, because nobody behind it
could tell what they mean; whoever comes next begins a trace. `baggage` goes on to the engine like any other header, and
never to a provider: it is the client's own, and may say more than a stranger should know.

https://www.w3.org/TR/trace-context-2/#processing-model
"""

import re
from typing import Final

from forebay.router.http.values import Headers, Request

PARENT: Final = b"traceparent"
STATE: Final = b"tracestate"
_PARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.DOTALL
)


def adopt(request: Request) -> str:
    """The id of the request's trace, empty without one. What is malformed is taken out of the request."""
    fields = request.fields
    if PARENT not in fields and STATE not in fields:
        return ""
    found = _PARENT.fullmatch(fields.get(PARENT, b""))
    twice = len(fields) < len(request.headers) and [name for name, _ in request.headers].count(PARENT) > 1
    if found is None or twice or (found[1] == b"00" and found[3] is not None):
        request.headers = [item for item in request.headers if item[0] not in (PARENT, STATE)]
        request.fields = {name: value for name, value in fields.items() if name not in (PARENT, STATE)}
        return ""
    return found[2].decode()


def context(request: Request) -> Headers:
    """The trace headers of a request that `adopt` has seen, for a provider. Several states are one list, in order."""
    parent = request.fields.get(PARENT)
    if parent is None:
        return []
    states = [value for name, value in request.headers if name == STATE]
    return [(PARENT, parent), *([(STATE, b",".join(states))] if states else [])]
