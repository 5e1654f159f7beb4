"""An engine's own list decides which names it has."""

import pytest

from forebay.router.engine_monitor import NAMES_CHARACTERS, listed
from forebay.rules.listed_names import missing

SERVED = ("base", "poet", "clerk")


@pytest.mark.parametrize(
    ("listed", "without"),
    [
        ((), ()),
        (SERVED, ()),
        (("clerk", "base", "poet"), ()),
        ((*SERVED, "loaded-by-hand"), ()),
        (("base",), ("poet", "clerk")),
        (("base", "clerk"), ("poet",)),
        (("something", "else"), ()),  # it knows itself by another name altogether
    ],
)
def test_what_an_engine_lacks(listed: tuple[str, ...], without: tuple[str, ...]) -> None:
    assert missing(SERVED, listed) == without


def test_without_names_in_the_table_nothing_is_missing() -> None:
    assert missing((), ("base",)) == ()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object":"list","data":[{"id":"a","created":1},{"id":"b","parent":"a"}]}', ("a", "b")),
        (b'{"data":[]}', ()),
        (b"{}", ()),
        (b"", ()),
        (b"[]", ()),
        (b"no json", ()),
        (b'{"data":[{"name":"a"}]}', ()),
        (b'{"data":[{"id":"a"},"b"]}', ()),
        (b'{"data":' + b"[" * 10_000, ()),
        (b"\xff\xfe", ()),
        (b'{"data":[{"id":"%b"}]}' % (b"a" * (NAMES_CHARACTERS + 1)), ()),
    ],
)
def test_a_list_that_cannot_be_read_says_nothing(body: bytes, names: tuple[str, ...]) -> None:
    assert listed(body)[0] == names


@pytest.mark.parametrize(
    ("body", "context"),
    [
        (b'{"data":[{"id":"a","max_model_len":1024}]}', 1024),
        (b'{"data":[{"id":"a","max_model_len":1024},{"id":"lora","max_model_len":null}]}', 1024),
        (b'{"data":[{"id":"lora"},{"id":"a","max_model_len":1024}]}', 1024),
        (b'{"data":[{"id":"a"}]}', None),
        (b'{"data":[{"id":"a","max_model_len":"1024"}]}', None),
        (b'{"data":[{"id":"a","max_model_len":true}]}', None),
        (b'{"data":[{"id":"a","max_model_len":1024.5}]}', None),
        (b'{"data":[{"id":"a","max_model_len":0}]}', None),
        (b'{"data":[{"id":"a","max_model_len":-1}]}', None),
        (b'{"data":[{"id":"a","max_model_len":1e30}]}', None),
        (b"no json", None),
    ],
)
def test_an_engine_says_its_longest_context_beside_its_names(body: bytes, context: int | None) -> None:
    assert listed(body)[1] == context
