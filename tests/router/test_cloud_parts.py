"""Statuses, Retry-After, streams and keys: the parts of the way to providers, alone."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.router.cloud.keys import Key
from forebay.router.cloud.stream_events import EventReader, MalformedEventError, StreamEventKind
from forebay.router.cloud.verdict import Tell, judge, pause_seconds
from forebay.rules.breaker import CallResult
from forebay.rules.spending import TokenUsage
from tests.router.provider import DONE, ERROR, LAST, ROLE, USAGE_CHUNK, chunk

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("statuses", "outcome", "tell"),
    [
        ((200, 201, 204), CallResult.SUCCESS, Tell.NEVER),
        ((400, 411, 413, 415, 418, 422, 431, 451), None, Tell.AS_IT_IS),
        ((403,), None, Tell.IN_DOUBT),
        ((404, 405, 409, 425), None, Tell.NEVER),
        ((429, 503, 529), CallResult.BACK_PRESSURE, Tell.NEVER),
        ((401, 402, 408), CallResult.FAULT, Tell.NEVER),
        ((300, 301, 302, 303, 304, 307, 308), CallResult.FAULT, Tell.NEVER),
        ((500, 501, 502, 504, 520, 524, 599, 999), CallResult.FAULT, Tell.NEVER),
    ],
)
def test_statuses(statuses: tuple[int, ...], outcome: CallResult | None, tell: Tell) -> None:
    assert {judge(status) for status in statuses} == {(outcome, tell)}


@given(st.integers(400, 499))
def test_what_a_client_can_cause_is_never_a_fault_by_itself(status: int) -> None:
    ours = status in (401, 402, 407, 408, 421)  # key, account, proxy, slowness, connection
    assert (judge(status).outcome is CallResult.FAULT) is ours


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 1.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 1.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-3"}, 1.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "1e9"}, 86_400.0),
        ({"retry-after": "inf"}, 1.0),
        ({"retry-after": "nan"}, 1.0),
        ({"retry-after": "soon"}, 1.0),
        ({"retry-after": ""}, 1.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:02:00 GMT"}, 120.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 1.0),
        ({"retry-after": "Friday, 15-Jan-27 08:02:00 GMT"}, 120.0),
        ({"retry-after": "Fri, 15 Jan 2027 09:02:00 +0100"}, 120.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:02:00 GMT", "date": "Fri, 15 Jan 2027 08:01:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:02:00 GMT", "date": "yesterday"}, 120.0),
        ({"retry-after": "Fri, 99 Jan 2027 08:02:00 GMT"}, 1.0),
    ],
)
def test_retry_after_in_every_form(headers: dict[str, str], seconds: float) -> None:
    assert pause_seconds(headers, NOW) == seconds


@given(st.text(max_size=60), st.text(max_size=40))
def test_no_retry_after_does_harm(text: str, date: str) -> None:
    assert 1.0 <= pause_seconds({"retry-after": text, "date": date, "retry-after-ms": date}, NOW) <= 86_400.0


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


ANSWER = b"".join(event(data) for data in (ROLE, chunk("Hi"), chunk(" you"), LAST, USAGE_CHUNK, DONE))
KINDS = [
    StreamEventKind.SILENT,
    StreamEventKind.CONTENT,
    StreamEventKind.CONTENT,
    StreamEventKind.CONTENT,
    StreamEventKind.USAGE,
    StreamEventKind.END,
]


@given(st.lists(st.integers(0, len(ANSWER)), max_size=8), st.booleans())
def test_a_stream_reads_the_same_however_it_is_cut_into_pieces(cuts: list[int], crlf: bool) -> None:
    text = ANSWER.replace(b"\n", b"\r\n") if crlf else ANSWER
    reader, found = EventReader(), []
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in itertools.pairwise(edges):
        found += list(reader.feed(text[start:end]))
    assert [item.kind for item in found] == KINDS
    assert b"".join(item.raw for item in found) == ANSWER
    assert reader.usage == TokenUsage(100, 7, 60)
    assert reader.complete
    assert list(reader.close()) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b": ping", StreamEventKind.SILENT),
        (b"event: ping\ndata: {}", StreamEventKind.SILENT),
        (b'data:{"choices":[{"delta":{"content":"x"}}]}', StreamEventKind.CONTENT),
        (b'data: {"choices": [{"delta": {"tool_calls": [{"id": "a"}]}}]}', StreamEventKind.CONTENT),
        (
            b'event: response.created\ndata: {"type": "response.created", "response": {"error": null}}',
            StreamEventKind.SILENT,
        ),
        (b'data: {"type": "response.output_text.delta", "delta": "x"}', StreamEventKind.CONTENT),
        (b'data: {"type": "response.completed", "response": {"usage": {"input_tokens": 4}}}', StreamEventKind.END),
        (b'data: {"type": "response.failed", "response": {"error": {"code": "server_error"}}}', StreamEventKind.ERROR),
        (b'event: error\ndata: {"type": "error", "message": "overloaded"}', StreamEventKind.ERROR),
        (b"data: " + ERROR, StreamEventKind.ERROR),
        (b'data: {"object": "error", "message": "x"}', StreamEventKind.ERROR),
        (b'data: {"choices": [],\ndata:  "usage": {"prompt_tokens": 1}}', StreamEventKind.USAGE),
        (b'data: {"choices": [], "prompt_filter_results": []}', StreamEventKind.SILENT),
    ],
)
def test_events(text: bytes, kind: StreamEventKind) -> None:
    assert [item.kind for item in EventReader().feed(text + b"\n\n")] == [kind]


@pytest.mark.parametrize(
    "text", [b"data: {", b"data: 7", b'data: ["a"]', b"data: \xff\xfe", b"data: done", b"data: " + b"[" * 200_000]
)
def test_what_is_no_event_of_this_api_is_malformed_after_what_was_good(text: bytes) -> None:
    reader, good = EventReader(), []
    with pytest.raises(MalformedEventError):
        for item in reader.feed(event(chunk("Hi")) + text + b"\n\n"):
            good.append(item)
    assert [item.kind for item in good] == [StreamEventKind.CONTENT]


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"data: ", b"\n\n", b"\r\n\r\n", ANSWER]), max_size=20))
def test_whatever_a_provider_sends_is_events_or_malformed(pieces: list[bytes]) -> None:
    reader, passed = EventReader(), b""
    try:
        for piece in pieces:
            for item in reader.feed(piece):
                passed += item.raw
        passed += b"".join(item.raw for item in reader.close())
    except MalformedEventError:
        pass
    assert b"".join(passed.split()) in b"".join(b"".join(pieces).split())  # nothing added, nothing in another order


def test_an_event_without_end_has_a_bound() -> None:
    reader = EventReader()
    with pytest.raises(MalformedEventError, match="longer"):
        for _ in range(20):
            list(reader.feed(b"x" * 1_000_000))


@pytest.mark.parametrize(
    ("events", "complete"),
    [([chunk("a"), LAST, DONE], True), ([chunk("a"), LAST], True), ([chunk("a")], False), ([], False)],
)
def test_a_stream_is_whole_with_its_last_event_or_its_choices_finished(events: list[bytes], complete: bool) -> None:
    reader = EventReader()
    list(reader.feed(b"".join(map(event, events))))
    assert reader.complete is complete


def test_a_rotated_key_is_picked_up_within_a_second_and_both_are_hidden(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = Key(path)
    assert key.missing(0.0)
    path.write_text("sk-first-key\n")
    assert key.value(0.5) is None
    assert key.value(1.0) == "sk-first-key"
    path.unlink()  # the kubelet swaps a link: between two looks everything changes
    path.write_text("sk-second-key")
    assert [key.value(now) for now in (1.9, 2.0)] == ["sk-first-key", "sk-second-key"]
    assert key.hide(b"no sk-first-key, no sk-second-key, but sk-other") == b"no [key], no [key], but sk-other"
    path.unlink()
    assert key.missing(3.0)
    assert "sk-" not in repr(key)


@pytest.mark.parametrize("text", ["", " \n", "sk-a\nsk-b", "sk a", "sk-\x00", "schlüssel", "sk-\r\nx-evil: 1"])
def test_what_no_header_may_carry_is_no_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    assert Key(path).missing(0.0)


def test_a_provider_without_a_key_lacks_none() -> None:
    assert not Key(None).missing(0.0)
    assert Key(None).value(0.0) is None


def test_a_router_without_providers_does_not_carry_their_library() -> None:
    code = "import sys, forebay.router.ports; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _usage(*events: dict[str, Any]) -> TokenUsage | None:
    reader = EventReader()
    for document in events:
        list(reader.feed(event(json.dumps(document).encode())))
    return reader.usage


def _said(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}], **more}


STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([_said("a"), STOP, {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}], TokenUsage(9, 1)),
        (  # Gemini: so far, in every chunk
            [_said("a", usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 30}),
             _said("b", usage={"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 40})], TokenUsage(9, 31),
        ),
        ([_said("a"), {"choices": [{"finish_reason": "stop", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}]}],
         TokenUsage(9, 1)),
        (  # Anthropic: what comes in first, what goes out last
            [{"type": "message_start", "message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 5,
                                                            "output_tokens": 1}}},
             {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 30}}],
            TokenUsage(14, 30, 5),
        ),
        (  # broken off: what was seen is more than what had been counted
            [_said("a", usage={"prompt_tokens": 9, "completion_tokens": 1}), *[_said("b")] * 4], TokenUsage(9, 5),
        ),
        ([_said("a", service_tier="flex"), {**STOP, "usage": {"prompt_tokens": 9, "completion_tokens": 1}}],
         TokenUsage(9, 1, tier="flex")),
        ([{"type": "response.completed", "response": {"service_tier": "priority", "usage": {
            "input_tokens": 9, "output_tokens": 3}}}], TokenUsage(9, 3, tier="priority")),
        ([_said("a"), STOP, {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}], None),
        ([_said("a"), STOP, {"choices": [], "usage": {"prompt_tokens": "9", "completion_tokens": "1"}}], None),
        ([_said("a", usage=None), STOP], None),
    ],
)  # fmt: skip
def test_what_a_stream_says_was_used(events: list[dict[str, Any]], found: TokenUsage | None) -> None:
    assert _usage(*events) == found
