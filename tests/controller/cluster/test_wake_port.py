"""The operator's own port: who may ask, and what for."""

import asyncio
from http import HTTPStatus

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from forebay.controller.cluster import wake_port

GOOD = "POST /forebay/v1/wake/team/chat HTTP/1.1\r\nHost: operator\r\nAuthorization: Bearer secret\r\n\r\n"


def admits(fleet: str, token: str) -> bool:
    return (fleet, token) == ("team", "secret")


def taken(head: str) -> tuple[HTTPStatus, list[tuple[str, str]]]:
    asked: list[tuple[str, str]] = []
    status = wake_port.take(head.encode(), admits, lambda fleet, pool: asked.append((fleet, pool)))
    return status, asked


def test_a_gateway_with_its_fleets_token_is_taken_at_its_word() -> None:
    assert taken(GOOD) == (HTTPStatus.ACCEPTED, [("team", "chat")])
    assert taken(GOOD.replace("Authorization: Bearer", "authorization:bearer"))[0] == HTTPStatus.ACCEPTED


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("secret", "wrong", HTTPStatus.UNAUTHORIZED),
        ("Bearer ", "Basic ", HTTPStatus.UNAUTHORIZED),
        ("Authorization: Bearer secret\r\n", "", HTTPStatus.UNAUTHORIZED),
        ("/team/", "/other/", HTTPStatus.UNAUTHORIZED),
        ("POST", "GET", HTTPStatus.METHOD_NOT_ALLOWED),
        ("/forebay/v1/wake/", "/forebay/v1/report/", HTTPStatus.NOT_FOUND),
    ],
)
def test_nobody_else_causes_anything(old: str, new: str, status: HTTPStatus) -> None:
    assert taken(GOOD.replace(old, new)) == (status, [])


@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_it(head: bytes) -> None:
    asked: list[str] = []
    wake_port.take(head, admits, lambda fleet, _: asked.append(fleet))
    assert asked == []


def test_over_a_socket_and_one_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake_port, "READ_SECONDS", 0.1)

    async def story() -> None:
        asked: list[str] = []
        server = await wake_port.serve("127.0.0.1", 0, admits, lambda fleet, _: asked.append(fleet))
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD.encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 202 Accepted\r\n")
        silent, other = await asyncio.open_connection("127.0.0.1", port)
        assert await silent.read() == b""
        for one in (writer, other):
            one.close()
        server.close()
        assert asked == ["team"]

    uvloop.run(story())
