"""What a request says."""

from typing import Any

import pytest

from forebay.resources.reasons import Capability, Priority
from forebay.resources.terms import CloudUse, Modality
from forebay.rules.dialect.form import write
from forebay.rules.dialect.parse import parse
from forebay.rules.dialect.session import session_of
from forebay.rules.endpoints import ENDPOINTS, MESSAGES
from tests.rules.dialect.asked import HELLO, asked


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_path_says_its_task(path: str) -> None:
    endpoint = ENDPOINTS[path]
    kind, form = write({"model": "m"})
    facts = (parse(path, {b"content-type": kind}, form) if endpoint.form else asked({"model": "m"}, path)).facts
    assert (facts.path, facts.task, facts.also) == (path, endpoint.task, endpoint.also)


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_every_spelling_of_the_token_limit_counts(key: str) -> None:
    facts = asked({"messages": [], key: 50}).facts
    assert (facts.max_tokens, facts.capability) == (50, Capability.CLASSIFICATION)


@pytest.mark.parametrize(
    ("path", "body", "sequences"),
    [
        ("/v1/embeddings", {"input": ["a"] * 100}, 100),
        ("/v1/embeddings", {"input": "a"}, 1),
        ("/v1/embeddings", {"input": [1, 2, 3]}, 1),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}, 2),
        ("/v1/rerank", {"query": "a", "documents": ["b", "c", "d"]}, 3),
        ("/v1/rerank", {"query": "a", "documents": [{"text": "b"}, {"text": "c"}]}, 2),
        ("/v1/score", {"text_1": "a", "text_2": ["b", "c"]}, 2),
        ("/v1/responses", {"input": [{"role": "user", "content": "a"}] * 5}, 1),
        ("/v1/responses", {"input": "a"}, 1),
    ],
)  # fmt: skip
def test_texts_that_are_read_side_by_side_are_counted(path: str, body: dict[str, Any], sequences: int) -> None:
    facts = asked(body, path).facts
    assert facts.sequences == sequences
    if path != "/v1/responses":
        assert facts.live_tokens == facts.prompt_tokens, "nothing is made"


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
    facts = asked({**body, "max_tokens": 100}).facts
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
    assert asked({"messages": HELLO, **body}, **headers).facts.capability is capability


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
    assert asked({"messages": HELLO, **body}, **headers).asked is priority


def test_modality_state_and_cloud() -> None:
    image = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "y"}]}
    ]
    ask = asked({"messages": image, "previous_response_id": "r"}, x_forebay_cloud="never")
    assert ask.facts.inputs == {Modality.TEXT, Modality.IMAGE}
    assert ask.facts.stored_state and ask.facts.cloud is CloudUse.NEVER


USER_ID = {"user": "user_0123", "a session": "user_0_account__session_5ef1", "as JSON": '{"session_id":"5ef1"}'}


@pytest.mark.parametrize("user", USER_ID.values(), ids=USER_ID.keys())
def test_a_user_id_that_names_a_session_is_one(user: str) -> None:
    def session(text: str) -> bytes:
        turns = [{"role": "user", "content": text}]
        return session_of(asked({"messages": turns, "metadata": {"user_id": user}}, MESSAGES))

    assert (session("a") == session("b")) is ("session" in user)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/score", "/v1/embeddings"])
def test_requests_without_a_conversation_are_no_one_session(path: str) -> None:
    key = {"/v1/rerank": "query", "/v1/score": "text_1"}.get(path, "input")
    assert session_of(asked({key: "a"}, path)) != session_of(asked({key: "b"}, path))


def test_anthropics_system_prompt_is_part_of_the_opening() -> None:
    def session(system: str) -> bytes:
        return session_of(asked({"messages": HELLO, "system": system}, MESSAGES))

    assert session("be brief") != session("be long")
