"""The work that a body may be."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.dialect.body import document_of, document_steps
from forebay.rules.dialect.body_size import structure
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.outermost import outermost
from forebay.rules.dialect.parse import parse_steps
from forebay.rules.dialect.prompt_content import EVERYTHING, PromptContent
from forebay.rules.endpoints import CHAT, EMBEDDINGS, ENDPOINTS
from tests.rules.dialect.asked import asked

MEBI = 1024 * 1024


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"x":"' + b"a" * 16 * MEBI + b'"}', "16777216 are the most"),
        (b'{"x":"' + "é".encode() * 5 * MEBI + b'"}', "bytes beside long strings"),
        (b'{"x":"' + b"a" * 5 * MEBI + "é".encode() + b'"}', "bytes beside long strings"),
        (b'{"x":"\\ud83d\\ude00\\"' + b"a" * 5 * MEBI + b'"}', "bytes beside long strings"),
        (b'{"x":"' + b"a" * 5 * MEBI + b'\\ud83d\\ude00"}', "bytes beside long strings"),
        (b'{"x":"' + b"a\\n" * 90_000 + b"a" * 9 * MEBI + b'"}', "bytes beside long strings"),
        (b'{"x":{"' + b"a" * 9 * MEBI + b'" :1}}', "bytes beside long strings"),
        (b'{"x":0.' + b"1" * 5 * MEBI + b"}", "bytes outside of strings"),
        (b'{"' + b"x" * 5000 + b'":"' + b"a" * 65_536 + b'"}', "longer than 256"),
        (b'{"x":"' + b"\\u00e9" * MEBI + b'"}', "escapes"),
        (b'{"x":"' + b'\\"' * MEBI + b'"}', "escapes"),
        (b'{"x":[' + b"[]," * 20_000 + b"1]}" + b" " * 65_536, "lists and objects"),
        (b'{"x":[' + b"{}," * 20_000 + b"1]}" + b" " * 65_536, "lists and objects"),
        (b'{"x":[' + b"1," * 300_000 + b"1]}", "values"),
        (b'{"x":[' + b'"",' * 100_000 + b"1]}", "keys and strings"),
        (b'{"x":"' + b"[{," * MEBI + b'"}', "brackets, commas and quotes"),
        (b'{"x":' + b" " * 4 * MEBI + b"1}", "bytes outside of strings"),
        (b'{"x":[""' + (b",0." + b"1" * 60_000 + b',""') * 60 + b"]}", "bytes outside of strings"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(70_000)) + b"}", "keys and strings"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(20_000)) + b"}", "more than 256 fields"),
        (b'{"metadata":{' + b",".join(b'"%d":1' % i for i in range(20_000)) + b"}}", "metadata has more than 256"),
    ],
)
def test_a_body_that_takes_long_to_read_is_refused_with_its_bound(body: bytes, says: str) -> None:
    with pytest.raises(BadRequestError, match=says):
        asked(body)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 8 * MEBI,
        "," * (MEBI // 2),
        "[{" * (MEBI // 4),
        " " * 4 * MEBI + "a",
        '{"a": [1, 2]}, ' * 8_000,
        "世" * 80_000,
        "\\" * 200_000,
    ],
)
def test_what_stands_in_a_text_is_no_structure(text: str) -> None:
    assert asked({"messages": [{"role": "user", "content": text}]}).facts.prompt_tokens == len(text) // 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(st.sampled_from('ab"\\[{,:é\n'), max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(st.sampled_from('a"\\{'), max_size=3), inner),
    max_leaves=40,
)


def counted(value: Any) -> tuple[int, int, int]:
    """Strings with keys, values after the first ones, containers."""
    if isinstance(value, str):
        return 1, 0, 0
    if not isinstance(value, dict | list):
        return 0, 0, 0
    inner = [*map(counted, value.values() if isinstance(value, dict) else value)]
    keys = len(value) if isinstance(value, dict) else 0
    strings, values, containers = (sum(column) for column in zip(*inner, strict=True)) if inner else (0, 0, 0)
    return strings + keys, values + max(0, len(inner) - 1), containers + 1


@given(JSON, st.booleans())
def test_the_count_is_exact_whatever_stands_in_strings(value: Any, ascii_only: bool) -> None:
    body = json.dumps({"x": value}, ensure_ascii=ascii_only).encode()
    quotes, values, containers, _ = structure(body)
    assert (quotes // 2, values, containers) == counted({"x": value})


@given(st.dictionaries(st.text(), JSON, max_size=8), st.booleans(), st.sampled_from((None, 0, 3)))
def test_each_outermost_field_is_found_where_it_stands(document: Any, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    found = outermost(body)
    assert {key: json.loads(body[start:end]) for key, (start, end) in found.items()} == document


@given(st.dictionaries(st.text(max_size=3), JSON, min_size=1, max_size=5), st.data())
def test_a_field_that_stands_twice_is_never_missed(document: Any, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(document)))
    pairs = [*document.items()]
    pairs.insert(data.draw(st.integers(0, len(pairs))), (key, data.draw(JSON)))
    body = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}"
    with pytest.raises(BadRequestError, match="more than once"):
        outermost(body.encode())


@pytest.mark.parametrize("words", ["look", "看" * 200_000, "caf\u00e9 " * 50_000])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_images_of_the_whole_size_are_taken_beside_words_of_any_language(words: str, ascii_only: bool) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 7 * MEBI}}
    parts = [{"type": "text", "text": words}, image, image]
    body = json.dumps({"messages": [{"role": "user", "content": parts}]}, ensure_ascii=ascii_only).encode()
    assert asked(body).facts.prompt_tokens == len(words) // 4


@pytest.mark.parametrize("size", [40_000, MEBI, 15 * MEBI])
def test_a_large_body_is_read_in_steps(size: int) -> None:
    body = b'{"model":"auto","messages":[{"role":"user","content":"' + b"a" * size + b'"}]}'
    steps = list(parse_steps(CHAT, {}, body, "anonymous"))
    assert len(steps) >= 3 + size // MEBI


@given(st.dictionaries(st.sampled_from(("messages", "prompt", "input", "tools", "text", "x")), JSON), st.integers(1, 9))
def test_what_is_read_in_steps_is_what_is_read_at_once(document: Any, most: int) -> None:
    for path in (CHAT, EMBEDDINGS):
        whole, parts = (PromptContent(ENDPOINTS[path], document) for _ in range(2))
        assert whole.read(EVERYTHING)
        while not parts.read(most):
            pass
        for name in ("tokens", "longest", "least", "inputs", "unknown", "fields"):
            assert getattr(whole, name) == getattr(parts, name)


@given(st.dictionaries(st.sampled_from(("model", "messages", "metadata", "n")), JSON), st.integers(0, 40))
def test_a_large_body_says_what_a_small_one_says(document: Any, spaces: int) -> None:
    body = b" " * spaces + json.dumps(document).encode()
    try:
        small: Any = document_of(body)
    except BadRequestError as problem:
        small = str(problem)
    steps = document_steps(body)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        found, spans = end.value
        assert found == small
        assert {key: json.loads(body[start:stop]) for key, (start, stop) in spans.items()} == document
    except BadRequestError as problem:
        assert str(problem) == small
