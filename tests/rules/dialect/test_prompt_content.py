"""How much an engine will read, and what kinds of input, in every dialect."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.terms import Modality
from forebay.rules.dialect.prompt_content import DEEPEST, LONGEST_TOKEN
from forebay.rules.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from forebay.rules.facts import RequestFacts
from tests.rules.dialect.asked import asked

LONG = "word " * 2000
MARK = "@"


def facts(body: dict[str, Any], path: str = CHAT) -> RequestFacts:
    return asked(body, path).facts


PLACES: dict[str, tuple[str, dict[str, Any]]] = {
    "message": (CHAT, {"messages": [{"role": "user", "content": MARK}]}),
    "part": (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": MARK}]}]}),
    "refusal": (CHAT, {"messages": [{"role": "assistant", "refusal": MARK}]}),
    "reasoning": (CHAT, {"messages": [{"role": "assistant", "reasoning_content": MARK}]}),
    "arguments": (CHAT, {"messages": [{"role": "assistant", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": MARK}}]}]}),
    "function_call": (CHAT, {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": MARK}}]}),
    "tool result": (CHAT, {"messages": [{"role": "tool", "tool_call_id": "c", "content": MARK}]}),
    "tool's description": (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "description": MARK}}]}),
    "tool's schema": (CHAT, {"tools": [{"type": "function", "function": {"parameters": {"properties": {MARK: {}}}}}]}),
    "functions": (CHAT, {"functions": [{"name": "f", "description": MARK}]}),
    "schema": (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": [MARK]}}}}),
    "structured outputs": (CHAT, {"structured_outputs": {"json": {"enum": [MARK]}}}),
    "guided": (CHAT, {"guided_json": {"enum": [MARK]}}),
    "guided regex": (CHAT, {"guided_regex": MARK}),
    "guided choice": (CHAT, {"guided_choice": [MARK]}),
    "documents": (CHAT, {"documents": [{"title": "t", "text": MARK}]}),
    "prompt": (COMPLETIONS, {"prompt": MARK}),
    "prompts": (COMPLETIONS, {"prompt": ["a", MARK]}),
    "suffix": (COMPLETIONS, {"prompt": "a", "suffix": MARK}),
    "input": (RESPONSES, {"input": MARK}),
    "instructions": (RESPONSES, {"instructions": MARK}),
    "item": (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": MARK}]}]}),
    "call": (RESPONSES, {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": MARK}]}),
    "output": (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": MARK}]}),
    "output part": (RESPONSES, {"input": [{"type": "function_call_output", "output": [
        {"type": "input_text", "text": MARK}]}]}),
    "custom call": (RESPONSES, {"input": [{"type": "custom_tool_call", "input": MARK}]}),
    "custom output": (RESPONSES, {"input": [{"type": "custom_tool_call_output", "output": MARK}]}),
    "summary": (RESPONSES, {"input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": MARK}]}]}),
    "mcp": (RESPONSES, {"input": [{"type": "mcp_call", "arguments": "{}", "output": MARK}]}),
    "mcp tools": (RESPONSES, {"input": [{"type": "mcp_list_tools", "tools": [{"description": MARK}]}]}),
    "format": (RESPONSES, {"text": {"format": {"type": "json_schema", "schema": {"enum": [MARK]}}}}),
    "tool of Responses": (RESPONSES, {"tools": [{"type": "function", "name": "f", "description": MARK}]}),
    "embeddings": (EMBEDDINGS, {"input": [MARK, "a"]}),
    "system": (CHAT, {"system": MARK}),
    "system block": (CHAT, {"system": [{"type": "text", "text": MARK}]}),
    "thinking": (CHAT, {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": MARK}]}]}),
    "tool use": (CHAT, {"messages": [{"role": "assistant", "content": [
        {"type": "tool_use", "name": "f", "input": {"a": {"type": "x", "b": [MARK]}}}]}]}),
    "result": (CHAT, {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": MARK}]}]}),
    "result block": (CHAT, {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [
        {"type": "text", "text": MARK}]}]}]}),
    "document": (CHAT, {"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "text", "data": MARK}}]}]}),
    "input schema": (CHAT, {"tools": [{"name": "f", "input_schema": {"properties": {"a": {"description": MARK}}}}]}),
}  # fmt: skip


def put(place: str, text: str) -> tuple[dict[str, Any], str]:
    path, body = PLACES[place]
    return json.loads(json.dumps(body).replace(json.dumps(MARK), json.dumps(text))), path


@pytest.mark.parametrize("place", PLACES)
def test_text_counts_wherever_an_engine_reads_it(place: str) -> None:
    long, short = facts(*put(place, LONG)), facts(*put(place, "a"))
    assert 0.9 * len(LONG) / 4 < long.prompt_tokens - short.prompt_tokens < 1.1 * len(LONG) / 4
    assert not long.unknown_input
    assert long.inputs == {Modality.TEXT}
    assert long.least_tokens <= len(LONG) // LONGEST_TOKEN


@pytest.mark.parametrize("place", ["message", "part", "tool result", "prompt", "prompts", "input", "instructions",
                                   "item", "output", "system", "system block", "result"])  # fmt: skip
def test_what_every_template_keeps_bounds_the_prompt_from_below(place: str) -> None:
    assert facts(*put(place, LONG)).least_tokens == len(LONG.strip()) // LONGEST_TOKEN


@given(
    st.lists(st.text(st.sampled_from("a =\n\té世"), max_size=400), max_size=6),
    st.sampled_from(("user", "assistant", "tool")),
)
def test_no_tokenizer_goes_below_the_bound(texts: list[str], role: str) -> None:
    """A crude one: each text trimmed, and cut into the longest tokens that there are."""
    body = {"messages": [{"role": role, "content": text} for text in texts]}
    true = sum(-(-len(text.strip()) // LONGEST_TOKEN) for text in texts)
    assert facts(body).least_tokens <= true


@pytest.mark.parametrize(
    ("path", "body", "tokens", "longest", "least", "field"),
    [
        (COMPLETIONS, {"prompt": [15339, 1917]}, 2, 2, 2, {"prompt.token_ids"}),
        (COMPLETIONS, {"prompt": [[1] * 5, [2] * 9]}, 14, 9, 9, {"prompt.token_ids"}),
        (COMPLETIONS, {"prompt": ["a" * 400, "b" * 800]}, 300, 200, 6, set()),
        (COMPLETIONS, {"prompt": [[1] * 500, "b" * 800]}, 700, 500, 500, {"prompt.token_ids"}),
        (EMBEDDINGS, {"input": [1] * 7}, 7, 7, 7, {"input.token_ids"}),
        (EMBEDDINGS, {"input": [[1] * 7, [1] * 8]}, 15, 8, 8, {"input.token_ids"}),
        (EMBEDDINGS, {"input": ["a" * 4000] * 3}, 3000, 1000, 0, set()),
        (COMPLETIONS, {"prompt": [1] * 50, "truncate_prompt_tokens": 10}, 50, 50, 0, {"prompt.token_ids"}),
    ],
)
def test_token_ids_are_exact_and_each_prompt_has_a_context_for_itself(
    path: str, body: dict[str, Any], tokens: int, longest: int, least: int, field: set[str]
) -> None:
    found = facts(body, path)
    assert (found.prompt_tokens, found.longest_tokens, found.least_tokens) == (tokens, longest, least)
    assert found.fields & {"prompt.token_ids", "input.token_ids"} == field


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
KINDS: tuple[tuple[dict[str, Any], Modality | None], ...] = (
    (IMAGE, Modality.IMAGE),
    ({"image_url": "https://a.example/b.png"}, Modality.IMAGE),
    ({"image_url": {"url": "https://a.example/b.png"}}, Modality.IMAGE),
    ({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}, Modality.IMAGE),
    ({"type": "image", "source": {"type": "base64", "data": "A" * 4000}}, Modality.IMAGE),
    ({"type": "computer_screenshot", "image_url": "data:image/png;base64,AAAA"}, Modality.IMAGE),
    ({"type": "image_embeds", "image_embeds": "A" * 4000}, Modality.IMAGE),
    ({"type": "input_audio", "input_audio": {"data": "A" * 4000}}, Modality.AUDIO),
    ({"type": "audio_url", "audio_url": {"url": "https://a.example"}}, Modality.AUDIO),
    ({"audio_url": {"url": "https://a.example"}}, Modality.AUDIO),
    ({"type": "video_url", "video_url": {"url": "https://a.example"}}, None),
    ({"video_url": {"url": "https://a.example"}}, None),
    ({"type": "file", "file": {"file_data": "A" * 4000}}, None),
    ({"type": "input_file", "file_data": "A" * 4000}, None),
    ({"type": "document", "source": {"type": "base64", "data": "A" * 4000}}, None),
    ({"type": "hologram"}, None),
    ({"type": 7}, None),
    ({"type": ["text"]}, None),
)
NESTS: tuple[tuple[str, Any], ...] = (
    (CHAT, lambda part: {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, part]}]}),
    (CHAT, lambda part: {"messages": [{"role": "user", "content": part}]}),
    (CHAT, lambda part: {"messages": [{"role": "tool", "tool_call_id": "c", "content": [part]}]}),
    (CHAT, lambda part: {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [part]}]}]}),
    (CHAT, lambda part: {"system": [part]}),
    (RESPONSES, lambda part: {"input": [part]}),
    (RESPONSES, lambda part: {"input": [{"role": "user", "content": [part]}]}),
    (RESPONSES, lambda part: {"input": [{"type": "function_call_output", "output": [part]}]}),
    (RESPONSES, lambda part: {"input": [{"type": "custom_tool_call_output", "output": [part]}]}),
    (RESPONSES, lambda part: {"input": [{"type": "computer_call_output", "output": part}]}),
)


@pytest.mark.parametrize(("nest", "kind"), list(product(range(len(NESTS)), range(len(KINDS)))))
def test_what_is_no_text_is_seen_at_any_depth(nest: int, kind: int) -> None:
    (path, wrap), (part, modality) = NESTS[nest], KINDS[kind]
    found = facts(wrap(part), path)
    assert found.inputs == {Modality.TEXT} | ({modality} if modality else set())
    assert found.unknown_input is (modality is None)
    assert found.prompt_tokens < 50


@given(st.lists(st.sampled_from(("content", "output", "parts", "anything")), max_size=DEEPEST + 8), st.booleans())
def test_no_depth_and_no_key_hides_a_part_of_unknown_kind(keys: list[str], listed: bool) -> None:
    part: Any = {"type": "hologram"}
    for key in keys:
        part = {key: [part] if listed else part}
    assert facts({"messages": [part]}).unknown_input


def test_data_of_a_program_is_no_kind_of_input() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"type": "hologram"}'}}
    used = {"type": "tool_use", "name": "f", "input": {"type": "hologram", "image_url": "x"}}
    body = {
        "messages": [{"role": "assistant", "tool_calls": [call]}, {"role": "assistant", "content": [used]}],
        "tools": [{"type": "hologram", "input_schema": {"type": "object", "properties": {"image": {"type": "video"}}}}],
    }
    found = facts(body)
    assert not found.unknown_input
    assert found.inputs == {Modality.TEXT}


@pytest.mark.parametrize(("value", "said"), [({"50256": -100}, True), ({}, False), (None, False)])
def test_a_bias_of_token_ids_is_valid_only_here(value: Any, said: bool) -> None:
    assert ("logit_bias" in facts({"logit_bias": value, "messages": []}).fields) is said
