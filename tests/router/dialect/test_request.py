"""A request over HTTP is read as the rules read it."""

from forebay.resources import headers
from forebay.resources.reasons import Priority
from forebay.router.dialect.request import parse
from forebay.router.http.values import Request
from forebay.rules.dialect.parse import parse as parse_request
from forebay.rules.endpoints import RESPONSES


def test_path_headers_body_and_client_are_what_is_read() -> None:
    body, header = b'{"input": "hello"}', (headers.PRIORITY.encode(), b"high")
    ask = parse(Request("POST", RESPONSES, "a=b", [header], body), "interactive")
    assert ask == parse_request(RESPONSES, dict([header]), body, "interactive")
    assert (ask.path, ask.client, ask.asked) == (RESPONSES, "interactive", Priority.HIGH)
