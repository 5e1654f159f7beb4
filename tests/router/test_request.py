"""What a request says, and what is refused before anything is decided."""

import json
from typing import Any

import pytest

from forebay.resources.reasons import Capability, Priority
from forebay.resources.terms import CloudUse, Modality
from forebay.router.http.values import Request
from forebay.router.request import BadRequestError, parse, session_of, with_model

HELLO = [{"role": "user", "content": "hello"}]


def request(body: Any, **headers: str) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(
        "POST",
        "/v1/chat/completions",
        "",
        [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        raw,
    )


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_every_spelling_of_the_token_limit_counts(key: str) -> None:
    facts = parse(request({"messages": [], key: 50})).facts
    assert (facts.max_tokens, facts.capability) == (50, Capability.CLASSIFICATION)


@pytest.mark.parametrize(
    ("body", "sequences"),
    [
        ({"messages": HELLO}, 1), ({"messages": HELLO, "n": 4}, 4), ({"prompt": "a", "n": 2, "best_of": 5}, 5),
        ({"prompt": ["a", "b", "c"]}, 3), ({"prompt": ["a", "b"], "n": 3}, 6), ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": [1, 2, 3]}, 1), ({"prompt": []}, 1), ({"messages": HELLO, "n": True}, 1),
        ({"messages": HELLO, "n": -3}, 1), ({"messages": HELLO, "n": "4"}, 1),
        ({"messages": HELLO, "n": 10**15}, 2**31 - 1),
    ],
)  # fmt: skip
def test_answers_that_are_made_side_by_side_are_counted(body: dict[str, Any], sequences: int) -> None:
    facts = parse(request({**body, "max_tokens": 100})).facts
    assert facts.sequences == sequences
    assert facts.live_tokens == facts.prompt_tokens + 100 * sequences


@pytest.mark.parametrize(
    ("body", "headers", "capability"),
    [
        ({}, {"x_forebay_task_type": "extract"}, Capability.EXTRACTION),
        ({"metadata": {"task_type": "extraction"}}, {}, Capability.EXTRACTION),
        ({}, {"x_forebay_complexity_score": "0.8"}, Capability.REASONING),
        ({"metadata": {"complexity_score": "0.9"}}, {}, Capability.REASONING),
        ({"max_tokens": 50, "metadata": {"context": "given"}}, {}, Capability.GENERAL),
        ({"max_tokens": 50, "messages": [*HELLO, {"role": "assistant", "content": "x"}]}, {}, Capability.GENERAL),
        ({}, {}, Capability.GENERAL),
    ],
)
def test_hints_come_from_headers_or_metadata(
    body: dict[str, Any], headers: dict[str, str], capability: Capability
) -> None:
    assert parse(request({"messages": HELLO, **body}, **headers)).facts.capability is capability


@pytest.mark.parametrize(
    ("body", "headers", "priority"),
    [
        ({}, {"x_forebay_priority": "high"}, Priority.HIGH),
        ({"service_tier": "priority"}, {}, Priority.HIGH),
        ({"service_tier": "flex"}, {}, Priority.LOW),
        ({"service_tier": "auto"}, {}, Priority.NORMAL),
        ({"service_tier": "priority"}, {"x_forebay_priority": "Low"}, Priority.LOW),
    ],
)
def test_priority(body: dict[str, Any], headers: dict[str, str], priority: Priority) -> None:
    assert parse(request({"messages": HELLO, **body}, **headers)).asked is priority


def test_modality_state_and_cloud() -> None:
    image = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "y"}]}
    ]
    ask = parse(request({"messages": image, "previous_response_id": "r"}, x_forebay_cloud="never"))
    assert ask.facts.inputs == {Modality.TEXT, Modality.IMAGE}
    assert ask.facts.stored_state and ask.facts.cloud is CloudUse.NEVER


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no body"),
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"model":"a","model":"b"}', "'model' more than once"),
        (b'{"model":"a","mod\\u0065l":"b"}', "'model' more than once"),
        (b'{"max_tokens":-1}', "max_tokens"),
        (b'{"max_tokens":true}', "max_tokens"),
        (b'{"max_tokens":2147483648}', "max_tokens"),
        (b'{"metadata":{"complexity_score":1' + b"0" * 400 + b"}}", "complexity_score"),
        (b'{"messages":[],"messages":[1]}', "'messages' more than once"),
        (b'{"input":"a","\\u0069nput":"b"}', "'input' more than once"),
        (b'{"metadata":{"task_type":"a","task_type":"b"}}', "'metadata.task_type' more than once"),
        (b'{"metadata":{"context":1,"conte\\u0078t":0}}', "'metadata.context' more than once"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b'{"a":"\xed\xa0\x80"}', "not valid JSON"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
        (b'{"a":' * 5000, "nested too deeply"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(BadRequestError, match=says):
        parse(request(body))


def test_a_guarded_word_inside_a_text_is_no_duplicate() -> None:
    body = {
        "model": "a",
        "messages": [{"role": "user", "content": 'say "model" and "model"'}],
        "metadata": {"model": "b", "context": "x"},
        "tools": [{"context": {"task_type": 1}}],
    }
    assert parse(request(body)).facts.model == "a"


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model": "auto", "x": 1}', b'{"model": "tiny", "x": 1}'),
        (b'{ "x": 1}', b'{"model":"tiny", "x": 1}'),
        (b'{"model":null}', b'{"model":"tiny"}'),
        (b'{"model":"mine","x":1.50}', b'{"model":"mine","x":1.50}'),
        (b'{"x":{"model":"a"},"model" : "auto"}', b'{"x":{"model":"a"},"model" : "tiny"}'),
        (b'{"x":{"model":"a"},"n":1.50}', b'{"model":"tiny","x":{"model":"a"},"n":1.50}'),
        (b'{"a\\"model":"b","model":"\\u0061uto"}', b'{"a\\"model":"b","model":"tiny"}'),
        (b'{"x":{"model":"a"},"mod\\u0065l":"auto"}', b'{"x":{"model":"a"},"mod\\u0065l":"tiny"}'),
        (b'{"x":{"model":"a"},"model":0}', b'{"x":{"model":"a"},"model":"tiny"}'),
        (b'{"model":[ ],"x":"model"}', b'{"model":"tiny","x":"model"}'),
        (b'{"model":{\n},"x":1E3}', b'{"model":"tiny","x":1E3}'),
        (b'{"model":false}', b'{"model":"tiny"}'),
        (b'{"x":"}]\\\\","model":""}', b'{"x":"}]\\\\","model":"tiny"}'),
        (b"\n{}", b'\n{"model":"tiny"}'),
    ],
)
def test_only_an_open_model_is_filled_in_and_nothing_else_changes(body: bytes, sent: bytes) -> None:
    assert with_model(body, parse(request(body)), "tiny") == sent


@pytest.mark.parametrize(
    ("part", "foreign", "modality"),
    [
        ({"type": "text", "text": "hi"}, set(), None),
        ({"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}, set(), Modality.IMAGE),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, set(), Modality.IMAGE),
        ({"type": "image_url", "image_url": {"url": "http://files.internal/a"}}, {"content.image_url"}, Modality.IMAGE),
        ({"type": "image_url", "image_url": {"url": "file:///data/a.png"}}, {"content.image_url"}, Modality.IMAGE),
        ({"type": "input_image", "image_url": "https://pictures.example/a.png"}, set(), Modality.IMAGE),
        ({"type": "input_image", "file_id": "file-1"}, {"content.image_url"}, Modality.IMAGE),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, set(), Modality.AUDIO),
        ({"type": "audio_url", "audio_url": {"url": "https://a.example"}}, {"content.audio_url"}, Modality.AUDIO),
        ({"type": "video_url", "video_url": {"url": "https://a.example"}}, {"content.video_url"}, None),
        ({"type": "file", "file": {"file_id": "file-1"}}, {"content.file"}, None),
    ],
)
def test_parts_that_a_provider_cannot_take_are_seen(
    part: dict[str, Any], foreign: set[str], modality: Modality | None
) -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, part]}], "temperature": None}
    facts = parse(request(body)).facts
    assert facts.fields == {"messages"} | foreign
    assert facts.inputs == {Modality.TEXT} | ({modality} if modality else set())


SYSTEM = {"role": "system", "content": "be brief"}
ANSWER = {"role": "assistant", "content": "hi"}
MORE = {"role": "user", "content": "go on"}


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"messages": HELLO}, {"messages": [*HELLO, ANSWER, MORE]}),
        ({"messages": [SYSTEM, *HELLO]}, {"messages": [SYSTEM, *HELLO, ANSWER, MORE]}),
        ({"messages": [SYSTEM, SYSTEM, *HELLO]}, {"messages": [SYSTEM, SYSTEM, *HELLO, ANSWER, MORE]}),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
            {"messages": [{"role": "user", "content": "ab"}, ANSWER, MORE]},
        ),
        ({"instructions": "be brief", "input": "hello"}, {"messages": [SYSTEM, *HELLO, ANSWER]}),
        ({"input": HELLO, "instructions": "x"}, {"input": [*HELLO, ANSWER, MORE], "instructions": "x"}),
    ],
)
def test_a_conversation_is_the_same_session_at_every_turn(first: dict[str, Any], later: dict[str, Any]) -> None:
    assert session_of(parse(request(first))) == session_of(parse(request(later)))


@pytest.mark.parametrize(
    "other", [{"messages": [SYSTEM, MORE]}, {"messages": [{"role": "system", "content": "be long"}, *HELLO]}]
)
def test_another_opening_is_another_session(other: dict[str, Any]) -> None:
    assert session_of(parse(request(other))) != session_of(parse(request({"messages": [SYSTEM, *HELLO]})))


@pytest.mark.parametrize(
    "odd", [{}, {"messages": []}, {"messages": ["x", 3]}, {"prompt": [1, 2, 3]}, {"input": [["x"]]}]
)
def test_an_odd_conversation_has_a_session_too(odd: dict[str, Any]) -> None:
    assert session_of(parse(request(odd)))
