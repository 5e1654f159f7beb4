"""A model that the client left open is filled in."""

import pytest

from forebay.rules.dialect.model_name import with_model
from tests.rules.dialect.asked import asked


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model": "auto", "x": 1}', b'{"model": "tiny", "x": 1}'),
        (b'{ "x": 1}', b'{"model":"tiny", "x": 1}'),
        (b'{"model":null}', b'{"model":"tiny"}'),
        (b'{"model":"mine","x":1.50}', b'{"model":"mine","x":1.50}'),
        (b'{"x":{"model":"a"},"model" : "auto"}', b'{"x":{"model":"a"},"model" : "tiny"}'),
        (b'{"x":{"model":"a"},"n":1.50}', b'{"model":"tiny","x":{"model":"a"},"n":1.50}'),
        (b'{"a\\"model":"b","model":"\\u0061uto"}', b'{"a\\"model":"b","model":"tiny"}'),
        (b'{"x":{"model":"a"},"mod\\u0065l":"auto"}', b'{"x":{"model":"a"},"mod\\u0065l":"tiny"}'),
        (b'{"x":{"model":"a"},"model":0}', b'{"x":{"model":"a"},"model":"tiny"}'),
        (b'{"model":[ ],"x":"model"}', b'{"model":"tiny","x":"model"}'),
        (b'{"model":{\n},"x":1E3}', b'{"model":"tiny","x":1E3}'),
        (b'{"model":false}', b'{"model":"tiny"}'),
        (b'{"x":"}]\\\\","model":""}', b'{"x":"}]\\\\","model":"tiny"}'),
        (b"\n{}", b'\n{"model":"tiny"}'),
    ],
)
def test_only_an_open_model_is_filled_in_and_nothing_else_changes(body: bytes, sent: bytes) -> None:
    assert with_model(body, asked(body), "tiny") == sent
