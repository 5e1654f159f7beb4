"""An engine's refusal for length, in whatever words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.too_long import is_too_long

PHRASE = b"maximum context length"
BEGINS = "This model's maximum context length is 1024 tokens. However, "
VLLM_31 = f"{BEGINS}you requested 1030 tokens (1020 in the messages, 10 in the completion)."
VLLM = f"{BEGINS}your prompt contains at least 1025 input tokens."


def told(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


REFUSALS: tuple[tuple[int, Any], ...] = (
    (400, told(VLLM_31, type="BadRequestError", param=None, code=400)),
    (400, told(VLLM, type="BadRequestError", param="input_tokens", code=400)),
    (400, told("max_tokens=5000 cannot be greater than max_model_len=1024.", param="max_tokens", code=400)),
    (400, told("max_tokens must be at least 1, got 0.", param="max_tokens", code=400)),
    (400, told("The decoder prompt (length 1100) is longer than the maximum model length of 1024.", code=400)),
    (400, told("The engine prompt length 1100 exceeds the max_model_len 1024", code=400)),
    (400, {"object": "error", "message": "(1100 tokens) is longer than the context length (1024 tokens)."}),
    (400, told("too large", type="exceed_context_size_error", n_prompt_tokens=1100, n_ctx=1024)),
    (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1100"}),
    (413, told("Payload too large")),
    (400, told("zu lang", code="context_length_exceeded")),
    (400, {"detail": "Eingabe zu lang: höchstens 1.024"}),
)  # fmt: skip


@pytest.mark.parametrize(("status", "body"), REFUSALS)
def test_a_long_request_is_too_long_in_any_words(status: int, body: Any) -> None:
    assert is_too_long(status, json.dumps(body).encode(), 1000, 1024, PHRASE)


@pytest.mark.parametrize(
    ("status", "body", "likely"),
    [
        (400, told("maximum context length is 1024 tokens"), 20),
        (400, told("max_tokens must be at least 1, got -5.", param="max_tokens"), 20),
        (400, told("temperature must be non-negative", param="temperature"), 1000),
        (400, told("bad tools", param="tools"), 2000),
        (413, told("Payload too large"), 20),
        (404, told("context", code="context_length_exceeded"), 2000),
        (500, told(VLLM), 2000),
    ],
)
def test_another_mistake_is_none(status: int, body: Any, likely: int) -> None:
    assert not is_too_long(status, json.dumps(body).encode(), likely, 1024, PHRASE)


@pytest.mark.parametrize(
    ("code", "said"), [("context_length_exceeded", True), ("invalid_request_error", False), (None, False)]
)
def test_without_a_context_only_a_word_for_machines_counts(code: str | None, said: bool) -> None:
    assert is_too_long(400, json.dumps(told("no", code=code)).encode(), 10**6, None, PHRASE) is said


@pytest.mark.parametrize(("likely", "said"), [(1000, True), (450, True), (20, False)])
@pytest.mark.parametrize("context", [None, 1024])
def test_the_usual_phrase_counts_with_the_request_s_own_size(context: int | None, likely: int, said: bool) -> None:
    assert is_too_long(400, json.dumps(told(VLLM_31)).encode(), likely, context, PHRASE) is said


@given(st.binary(), st.integers(0, 9999), st.none() | st.integers(1, 9999))
def test_no_body_makes_it_fail(body: bytes, likely: int, context: int | None) -> None:
    assert isinstance(is_too_long(400, body, likely, context, PHRASE), bool)
