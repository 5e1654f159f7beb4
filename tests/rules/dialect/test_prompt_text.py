"""Whose words the classifier reads."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.terms import TaskSource
from forebay.rules.dialect.parse import parse
from forebay.rules.dialect.prompt_text import user_words
from forebay.rules.endpoints import CHAT, COMPLETIONS, DETOKENIZE, EMBEDDINGS, ENDPOINTS, RESPONSES, TOKENIZE


@pytest.mark.parametrize(
    ("path", "document", "words"),
    [
        (CHAT, {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}, "u"),
        (
            CHAT,
            {
                "messages": [
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "a"},
                    {"role": "tool", "content": "t"},
                ]
            },
            "u",
        ),
        (CHAT, {"messages": [{"role": "user", "content": "u"}, {"role": "user", "content": "v"}]}, "v"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "image_url"}]}]},
            "u",
        ),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": t} for t in "uvw"]}]}, "u\nw"),
        (CHAT, {"messages": [{"role": "system", "content": "s"}]}, ""),
        (CHAT, {"messages": "nonsense"}, "nonsense"),
        (COMPLETIONS, {"prompt": "p"}, "p"),
        (COMPLETIONS, {"prompt": ["p", "q"]}, "q"),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, ""),
        (RESPONSES, {"input": "i", "instructions": "s"}, "i"),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "u"}]}]}, "u"),
        (EMBEDDINGS, {"input": "i"}, ""),
        (TOKENIZE, {"prompt": "p"}, ""),
        (DETOKENIZE, {"tokens": [1]}, ""),
        (CHAT, {}, ""),
    ],
)
def test_the_last_thing_that_the_user_wrote(path: str, document: dict[str, Any], words: str) -> None:
    assert user_words(ENDPOINTS[path], document) == words


@given(st.text(), st.text(), st.text())
def test_where_the_users_words_alone_are_read_nothing_else_changes_anything(words: str, one: str, two: str) -> None:
    def capability(system: str) -> str:
        body = {
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": words}],
            "tools": [{"name": system}],
        }
        return parse(CHAT, {}, json.dumps(body).encode(), task_source=TaskSource.USER).facts.capability

    assert capability(one) == capability(two)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(("role", "content", "text", "type", "user")), inner, max_size=4)
    ),
)


@given(st.sampled_from(("messages", "input", "prompt")), JSON)
def test_no_body_makes_it_fail(key: str, value: Any) -> None:
    assert isinstance(user_words(ENDPOINTS[CHAT], {key: value}), str)
