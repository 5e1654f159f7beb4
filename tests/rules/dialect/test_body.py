"""What is refused before anything is decided."""

import pytest

from forebay.rules.dialect.errors import BadRequestError, ForeignCodingError
from forebay.rules.dialect.parse import parse
from forebay.rules.endpoints import ENDPOINTS
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


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("coding", [b"gzip", b"zstd", b"br", b"deflate", b"GZIP", b"identity, gzip", b"x" * 9000])
def test_a_coding_that_nobody_reads_here_is_named(path: str, coding: bytes) -> None:
    with pytest.raises(ForeignCodingError, match="content-encoding: " + coding[:20].decode()) as refusal:
        parse(path, {b"content-encoding": coding}, b"\x28\xb5\x2f\xfd")
    assert refusal.value.status == 415


@pytest.mark.parametrize("coding", [b"identity", b" Identity ", b""])
def test_a_coding_that_changes_nothing_is_none(coding: bytes) -> None:
    assert parse("/v1/completions", {b"content-encoding": coding}, b'{"model":"m"}').facts.model == "m"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"\x1f\x8b\x08\x00", "gzip"), (b"\x28\xb5\x2f\xfd\x04", "zstd"), (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"model":"m"}'.encode("utf-16"), "UTF-16"),
        (b'--x\r\nContent-Disposition: form-data; name="model"', "multipart"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_called_what_it_looks_like(body: bytes, what: str) -> None:
    with pytest.raises(BadRequestError, match=what) as refusal:
        asked(body)
    assert refusal.value.status == 400
