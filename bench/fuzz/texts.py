"""Targets: bodies, events and lines."""

import json
from typing import Any

from bench.fuzz.stage import Transport, pieces, playing
from forebay.router.dialect.content import error_end, has_content, is_error
from forebay.router.dialect.request import parse
from forebay.router.http.message_channel import DialledChannel, MessageChannel
from forebay.router.http.server import Headers, Request
from forebay.rules.dialect.body import GUARDED, GUARDED_METADATA
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.model_name import with_model
from forebay.rules.dialect.parse import parse_steps
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.dialect.session import session_of
from forebay.rules.endpoints import ENDPOINTS

PATHS = tuple(path for path, row in ENDPOINTS.items() if not row.form)
FORM_NAME = "a-model"
NAME = 'a "name" \u00e9\\'
HINTS = (b"x-forebay-priority", b"x-forebay-complexity-score", b"x-forebay-timeout-seconds", b"x-forebay-task-type",
         b"x-forebay-cloud", b"x-forebay-session", b"content-encoding")  # fmt: skip


def request(data: bytes) -> None:
    """Bodies: refused with a sentence, or read in one way only; a model's name changes nothing else."""
    if not data:
        return
    path, headers, body = PATHS[data[0] % len(PATHS)], _hints(data[0]), data[1:]
    if headers:
        value, _, body = body.partition(b"\n")
        headers = [(headers[0][0], value)]
    try:
        ask = parse(Request("POST", path, "", headers, body))
    except BadRequestError as problem:
        assert str(problem)
        return
    assert isinstance(session_of(ask), bytes)
    pairs = json.loads(body, object_pairs_hook=tuple)
    _once(pairs, GUARDED)
    for key, value in pairs:
        if key == "metadata" and isinstance(value, tuple):
            _once(value, GUARDED_METADATA)
    before, changed = json.loads(body), with_model(body, ask, NAME)
    if ask.facts.names_a_model:
        assert changed == body
    else:
        assert json.loads(changed) == {**before, "model": NAME}, f"{body!r} became {changed!r}"
    _in_steps(ask, headers, body, changed)


def _in_steps(ask: ParsedRequest, headers: Headers, body: bytes, changed: bytes) -> None:
    """Read as a large body is, it says the same, or is refused for a field that decides nothing."""
    steps = parse_steps(ask.path, dict(headers), body, ask.client)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        assert end.value.facts == ask.facts
        assert with_model(body, end.value, NAME) == changed
    except BadRequestError as problem:
        assert any(words in str(problem) for words in ("more than once", "more than 256", "longer than 256"))


def _hints(choice: int) -> Headers:
    index = choice // len(PATHS)
    return [(HINTS[index], b"")] if index < len(HINTS) else []


def _once(pairs: Any, guarded: tuple[str, ...]) -> None:
    keys = [key for key, _ in pairs]
    for key in guarded:
        assert keys.count(key) < 2, f"{key!r} twice"


def events(data: bytes) -> None:
    """Streams: what was seen in a beginning is seen in the whole."""
    if len(data) < 2:
        return
    cut, data = int.from_bytes(data[:2], "big"), data[2:]
    start = data[: cut % (len(data) + 1)]
    assert not has_content(start) or has_content(data)
    assert not is_error(start) or is_error(data)
    end = error_end(data)
    assert end == 0 or b'"error"' in data[:end]
    assert end <= len(data) + 2
    if 0 < (early := error_end(start)) <= len(start):
        assert early == end, f"the event's end moved from {early} to {end}"


def lines(data: bytes) -> None:
    """Lines: the same in one piece and in many, after an upgrade too."""
    if not data:
        return
    split, data = data[0], data[1:]
    assert _lines(data, 0, dialled=False) == _lines(data, split, dialled=False)
    whole, parts = _lines(data, 0, dialled=True), _lines(data, split, dialled=True)
    assert whole == parts, f"{whole} became {parts}"


def _lines(data: bytes, split: int, *, dialled: bool) -> tuple[list[bytes], int]:
    got: list[bytes] = []
    lost: list[None] = []
    with playing() as loop:
        end: MessageChannel
        if dialled:
            end = DialledChannel("/x", [], got.append, lambda: lost.append(None))
        else:
            end = MessageChannel(got.append, lambda: lost.append(None))
        transport = Transport()
        end.connection_made(transport)  # type: ignore[arg-type]
        for piece in pieces(data, split):
            if transport.open:
                end.data_received(piece)
        end.connection_lost(None)
        end.connection_lost(None)
        loop.run()
    assert all(got) and not any(b"\n" in line for line in got)
    return got, len(lost)


FORM_PATHS = tuple(path for path, row in ENDPOINTS.items() if row.form)
FORM_KIND = b"multipart/form-data; boundary=xx"


def form(data: bytes) -> None:
    """Forms: refused with a sentence, or read in one way only; a model's name changes nothing else.

    Before a line feed may stand another Content-Type.
    """
    if not data:
        return
    kind, body = FORM_KIND, data[1:]
    if data[0] & 1:
        kind, _, body = body.partition(b"\n")
    path, headers = FORM_PATHS[data[0] // 2 % len(FORM_PATHS)], [(b"content-type", kind)]
    try:
        ask = parse(Request("POST", path, "", headers, body))
    except BadRequestError as problem:
        assert str(problem)
        return
    assert isinstance(session_of(ask), bytes)
    changed = with_model(body, ask, FORM_NAME)
    if ask.facts.names_a_model or "model" not in ask.document:
        assert changed == body, "an engine takes the one model that it has"
    else:
        again = parse(Request("POST", path, "", headers, changed))
        assert again.facts.model == FORM_NAME
        assert {**ask.document, "model": FORM_NAME} == again.document, f"{body!r} became {changed!r}"
    _in_steps(ask, headers, body, with_model(body, ask, NAME))
