"""Where a request may say its task, in each API's own fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.dialect.task_words import task_words
from forebay.rules.endpoints import CHAT, EMBEDDINGS, ENDPOINTS, RESPONSES
from forebay.rules.learned import CHOICE, JSON, READ, SCHEMA, TOOLS, Words
from tests.rules.dialect.asked import asked

USER = {"role": "user", "content": "u"}
CLOSED = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}, "why": {"type": "string"}}}
OPEN = {"type": "object", "properties": {"name": {"type": "string"}, "total": {"type": "number"}, "c": {"enum": ["x"]},
                                         "day": {"type": "string"}}}  # fmt: skip
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": CLOSED}}


@pytest.mark.parametrize(
    ("path", "document", "system"),
    [
        (CHAT, {"messages": [USER]}, ""),
        (CHAT, {"messages": [{"role": "system", "content": "s"}, USER]}, "s"),
        (CHAT, {"messages": [{"role": "developer", "content": [{"type": "text", "text": "s"}]}, USER]}, "s"),
        (CHAT, {"messages": [{"role": "system", "content": "s"}, {"role": "system", "content": "t"}, USER]}, "s\nt"),
        (CHAT, {"messages": [USER, {"role": "system", "content": "late"}]}, ""),
        (RESPONSES, {"input": "u", "instructions": "s"}, "s"),
        (RESPONSES, {"input": [{"role": "developer", "content": "t"}, USER], "instructions": "s"}, "s\nt"),
        (CHAT, {"system": "s", "messages": [USER]}, "s"),
        (CHAT, {"system": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}], "messages": [USER]}, "s\nt"),
    ],
)
def test_the_system_prompt_of_every_api(path: str, document: dict[str, Any], system: str) -> None:
    assert task_words(ENDPOINTS[path], document) == Words("u", system)


@pytest.mark.parametrize(
    ("fields", "evidence"),
    [
        ({}, ()),
        ({"tools": [FUNCTION]}, (TOOLS,)),
        ({"functions": [{"name": "f"}]}, (TOOLS,)),
        ({"tools": [FUNCTION], "tool_choice": "none"}, ()),
        ({"tools": [], "tool_choice": "auto"}, ()),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}}, (CHOICE,)),
        ({"tools": [{"type": "function", "name": "f", "parameters": OPEN}], "tool_choice": "required"}, (SCHEMA,)),
        ({"tools": [{"name": "f", "input_schema": OPEN}], "tool_choice": {"type": "tool", "name": "f"}}, (SCHEMA,)),
        ({"tools": [{"name": "f", "input_schema": CLOSED}], "tool_choice": {"type": "any"}}, (CHOICE,)),
        ({"tools": [FUNCTION, FUNCTION], "tool_choice": "required"}, (TOOLS,)),
        ({"response_format": {"type": "text"}}, ()),
        ({"response_format": {"type": "json_object"}}, (JSON,)),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": OPEN}}}, (SCHEMA,)),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": CLOSED}}}, (CHOICE,)),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": CLOSED}}}, (CHOICE,)),
        ({"output_config": {"format": {"type": "json_schema", "schema": OPEN}}}, (SCHEMA,)),
        ({"guided_choice": ["a", "b"]}, (CHOICE,)),
        ({"guided_json": OPEN}, (SCHEMA,)),
        ({"structured_outputs": {"choice": ["a", "b"]}}, (CHOICE,)),
        ({"structured_outputs": {"json": CLOSED}}, (CHOICE,)),
        ({"structured_outputs": {"json": "{}"}}, (SCHEMA,)),
    ],
)
def test_what_a_request_says_of_its_answer(fields: dict[str, Any], evidence: tuple[str, ...]) -> None:
    assert task_words(ENDPOINTS[CHAT], {"messages": [USER], **fields}) == Words("u", "", evidence)


def test_where_words_ask_for_nothing_nothing_is_read() -> None:
    assert task_words(ENDPOINTS[EMBEDDINGS], {"input": "i", "instructions": "s", "tools": [FUNCTION]}) == Words("")


@given(st.integers(1, 40), st.integers(0, 20_000))
def test_what_is_kept_of_a_system_prompt_is_bounded(parts: int, length: int) -> None:
    blocks = [{"type": "text", "text": "s" * length}] * parts
    messages = [{"role": "system", "content": blocks}] * parts
    found = task_words(ENDPOINTS[CHAT], {"system": blocks, "messages": messages})
    assert len(found.system) <= 3 * 8 * (4 * READ + 2)


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(("role", "content", "text", "type", "name", "function", "schema", "properties", "enum")),
            inner, max_size=4,
        )
    ),
)  # fmt: skip
FIELDS = ("messages", "system", "instructions", "tools", "tool_choice", "response_format", "text", "guided_json",
          "structured_outputs", "functions", "function_call", "output_config")  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), NONSENSE))
def test_no_body_makes_it_fail(document: dict[str, Any]) -> None:
    found = task_words(ENDPOINTS[CHAT], document)
    assert isinstance(found.user + found.system, str)


def test_a_request_is_taken_for_what_its_system_prompt_asks() -> None:
    messages = [{"role": "system", "content": "Classify the message: is it spam or ham? One word."}, USER]
    assert asked({"messages": messages}).facts.capability == "classification"
