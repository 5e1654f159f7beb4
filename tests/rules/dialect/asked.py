"""A request as a test writes it."""

import json
from typing import Any

from forebay.rules.dialect.parse import parse
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.endpoints import CHAT

HELLO = [{"role": "user", "content": "hello"}]


def asked(body: Any, path: str = CHAT, **headers: str) -> ParsedRequest:
    """It, read; headers by name, with underscores."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(path, {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()}, raw)
