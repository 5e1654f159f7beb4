"""The work that a body may be."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.dialect.body_size import structure
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.outermost import outermost
from tests.rules.dialect.asked import asked

MEBI = 1024 * 1024


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"x":"' + b"a" * 16 * MEBI + b'"}', "16777216 are the most"),
        (b'{"x":"' + "é".encode() * 5 * MEBI + b'"}', "beyond ASCII"),
        (b'{"x":"' + b"\\u00e9" * MEBI + b'"}', "escapes"),
        (b'{"x":"' + b'\\"' * MEBI + b'"}', "escapes"),
        (b'{"x":[' + b"[]," * 20_000 + b"1]}" + b" " * 65_536, "lists and objects"),
        (b'{"x":[' + b"{}," * 20_000 + b"1]}" + b" " * 65_536, "lists and objects"),
        (b'{"x":[' + b"1," * 300_000 + b"1]}", "values"),
        (b'{"x":[' + b'"",' * 70_000 + b"1]}", "keys and strings"),
        (b'{"x":"' + b"[{," * MEBI + b'"}', "brackets, commas and quotes"),
        (b'{"x":' + b" " * 2 * MEBI + b"1}", "white space"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(70_000)) + b"}", "keys and strings"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(20_000)) + b"}", "more than 1024 fields"),
        (b'{"metadata":{' + b",".join(b'"%d":1' % i for i in range(20_000)) + b"}}", "metadata has more than 1024"),
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
    assert structure(body) == counted({"x": value})


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
