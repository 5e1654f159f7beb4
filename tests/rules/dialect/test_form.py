"""A form is read in one way only, or refused with a sentence; and never for long at a time."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.form import BOUNDARY, MOST_PARTS, STEP_BYTES, VALUE_BYTES, FormReader, write
from forebay.rules.dialect.model_name import with_model
from forebay.rules.dialect.parse import parse
from forebay.rules.endpoints import TRANSCRIPTIONS
from testing.examples import examples

KIND = b"multipart/form-data; boundary=xx"
NAME = b'Content-Disposition: form-data; name="%b"'


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b"--xx\r\n" + NAME % name + more + b"\r\n\r\n" + value + b"\r\n"


FILE = part(b"file", b"RIFF\r\n--x\r\n--x-\r\n\r\n--", b'; filename="a \\"b\\".wav"\r\nContent-Type: audio/wav')
MODEL = part(b"model", b"whisper")
END = b"--xx--\r\n"


def read(body: bytes, kind: bytes = KIND) -> dict[str, Any]:
    form = FormReader(kind, body)
    form.read()
    return form.fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (MODEL + FILE + END, {"model": "whisper"}),
        (FILE + MODEL + END, {"model": "whisper"}),
        (FILE + END[:-2], {}),
        (MODEL + part(b"stream", b"True") + FILE + END, {"model": "whisper", "stream": True}),
        (part(b"stream", b"false") + FILE + END, {"stream": False}),
        (part(b"max_completion_tokens", b"17") + END, {"max_completion_tokens": 17}),
        (part(b"max_completion_tokens", b"-1") + END, {"max_completion_tokens": "-1"}),
        (part(b"prompt", b"") + END, {"prompt": ""}),
        (part(b"prompt", "né\r\n".encode()) + END, {"prompt": "né\r\n"}),
        (part(b"include[]", b"a") + part(b"include[]", b"b") + END, {"include[]": "b"}),
        (part(b"temperature", b"0", b"\r\nContent-Type: text/plain; charset=utf-8") + END, {"temperature": "0"}),
    ],
)
def test_what_a_form_says(body: bytes, fields: dict[str, Any]) -> None:
    assert read(body) == fields


@pytest.mark.parametrize("kind", [
    b"multipart/form-data; boundary=xx", b"Multipart/Form-Data;boundary=xx", b'multipart/form-data; boundary="xx"',
    b"multipart/form-data; charset=utf-8; boundary=xx", b"multipart/form-data; BOUNDARY=xx ",
])  # fmt: skip
def test_the_boundary_is_found(kind: bytes) -> None:
    assert read(MODEL + END, kind) == {"model": "whisper"}


REFUSED = {
    "no body": b"",
    "JSON": b'{"model":"a"}',
    "a preamble": b"hello\r\n" + MODEL + END,
    "no end": MODEL + FILE,
    "half an end": MODEL + END[:-3],
    "an epilogue": MODEL + END + b"more",
    "a part behind the end": MODEL + END + MODEL + END,
    "the model twice": MODEL + FILE + part(b"model", b"other") + END,
    "two files": FILE + FILE + END,
    "the model as a file": part(b"model", b"a", b'; filename="m"') + END,
    "the file as a text": part(b"file", b"a") + END,
    "another file": part(b"audio", b"a", b'; filename="m"') + END,
    "two names": b'--xx\r\nContent-Disposition: form-data; name="a"; name="model"\r\n\r\nx\r\n' + END,
    "no name": b'--xx\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n' + END,
    "no disposition": b"--xx\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
    "two dispositions": b"--xx\r\n" + NAME % b"a" + b"\r\n" + NAME % b"b" + b"\r\n\r\nx\r\n" + END,
    "an encoding": part(b"model", b"YQ==", b"\r\nContent-Transfer-Encoding: base64") + END,
    "a folded head": b'--xx\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\nx\r\n' + END,
    "a name with a quote": part(b'mo\\"del', b"a") + END,
    "no head at all": b"--xx\r\nhello\r\n" + END,
    "a longer boundary": b"--xxx\r\n" + NAME % b"a" + b"\r\n\r\nx\r\n" + END,
    "a boundary within": part(b"model", b"a\r\n--xxy") + END,
    "padding behind a boundary": b"--xx \r\n" + MODEL[6:] + END,
    "bare line feeds": (MODEL + END).replace(b"\r\n", b"\n"),
    "no UTF-8": part(b"model", b"\xff") + END,
    "a long text": part(b"prompt", b"a" * (VALUE_BYTES + 1)) + END,
    "a long head": part(b"model", b"a", b"\r\nContent-Type: " + b"a" * 5000) + END,
    "many parts": b"".join(part(b"a%d" % i, b"") for i in range(MOST_PARTS + 1)) + END,
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_could_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError, match=r"\w+ \w+"):
        read(body)


@pytest.mark.parametrize("kind", [
    b"", b"application/json", b"multipart/form-data", b"multipart/form-data; boundary=",
    b"multipart/form-data; boundary=xx; boundary=yy", b"multipart/mixed; boundary=xx",
    b"multipart/form-data; boundary=" + b"x" * 71, b'multipart/form-data; boundary="x\\"x"',
    b"multipart/form-data; boundary=x x", b"multipart/form-data, boundary=xx",
])  # fmt: skip
def test_a_type_without_one_plain_boundary_is_refused(kind: bytes) -> None:
    with pytest.raises(BadRequestError):
        read(MODEL + END, kind)


@pytest.mark.parametrize("unit", [b"a", b"\r", b"\r\n--", b"\r\n-", b"-", b"\r\n--" + b"a" * 69, b"ab"])
def test_a_step_is_short_whatever_the_form_holds(unit: bytes) -> None:
    boundary = b"a" * 69 + b"b"
    kind = b"multipart/form-data; boundary=" + boundary
    head = b"--" + boundary + b"\r\n" + NAME % b"file" + b'; filename="a"\r\n\r\n'
    form = FormReader(kind, head + unit * (2 * 1024 * 1024 // len(unit)) + b"\r\n--" + boundary + b"--")
    steps = []
    while not form.done:
        began = time.thread_time()
        form.step()
        steps.append(time.thread_time() - began)
    assert len(steps) >= 2 * 1024 * 1024 // STEP_BYTES
    assert sorted(steps)[len(steps) // 2] < 0.02


@examples(1.0)
@given(
    st.lists(st.tuples(st.sampled_from(["model", "prompt", "language"]), st.text(max_size=20)), max_size=3,
             unique_by=lambda item: item[0]),
    st.binary(max_size=200),
    st.integers(0, 3),
)  # fmt: skip
def test_what_was_written_is_read(texts: list[tuple[str, str]], file: bytes, place: int) -> None:
    fields: dict[str, str | bytes] = dict(texts[:place])
    fields["file"] = file
    fields.update(dict(texts[place:]))
    kind, body = write(fields)
    assert BOUNDARY.encode() in kind
    assert read(body, kind) == dict(texts)


@pytest.mark.parametrize(("model", "named"), [("auto", False), ("", False), ("whisper", True), (None, False)])
def test_the_name_of_the_model_is_put_in_where_it_was_left_open(model: str | None, named: bool) -> None:
    fields: dict[str, str | bytes] = {"file": b"abc", "language": "de"}
    if model is not None:
        fields["model"] = model
    kind, body = write(fields)
    parsed = parse(TRANSCRIPTIONS, {b"content-type": kind}, body)
    assert parsed.facts.names_a_model is named
    changed = with_model(body, parsed, "large-v3")
    wanted = fields if model is None or named else {**fields, "model": "large-v3"}
    assert changed == write(wanted)[1]
