"""What is refused before anything is decided."""

import pytest

from forebay.rules.dialect.errors import BadRequestError
from tests.rules.dialect.asked import asked


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
        asked(body)


def test_a_guarded_word_inside_a_text_is_no_duplicate() -> None:
    body = {
        "model": "a",
        "messages": [{"role": "user", "content": 'say "model" and "model"'}],
        "metadata": {"model": "b", "context": "x"},
        "tools": [{"context": {"task_type": 1}}],
    }
    assert asked(body).facts.model == "a"
