"""Which conversation a request belongs to."""

from typing import Any

import pytest

from forebay.rules.dialect.session import session_of
from tests.rules.dialect.asked import HELLO, asked

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
    assert session_of(asked(first)) == session_of(asked(later))


@pytest.mark.parametrize(
    "other", [{"messages": [SYSTEM, MORE]}, {"messages": [{"role": "system", "content": "be long"}, *HELLO]}]
)
def test_another_opening_is_another_session(other: dict[str, Any]) -> None:
    assert session_of(asked(other)) != session_of(asked({"messages": [SYSTEM, *HELLO]}))


@pytest.mark.parametrize(
    "odd", [{}, {"messages": []}, {"messages": ["x", 3]}, {"prompt": [1, 2, 3]}, {"input": [["x"]]}]
)
def test_an_odd_conversation_has_a_session_too(odd: dict[str, Any]) -> None:
    assert session_of(asked(odd))
