"""What reaches the engine is what the client sent, byte for byte, except what must change."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import uvloop

from testing.smuggling import BODY, PATH, post
from tests.router.wire import OK, OK_BODY, SECONDS, Answer, Door, door, read_answer


def test_a_body_of_a_get_does_not_reach_the_engine_as_a_request_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with door(tmp_path) as d:
            hidden = b"POST /pause HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
            for method in ("GET", "HEAD"):
                reader, writer = await d.connect("sidecar")
                head = f"{method} /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: {len(hidden)}\r\n\r\n"
                writer.write(head.encode() + hidden)
                answer = await asyncio.wait_for(read_answer(reader, method), 10)
                assert answer is not None and answer.status == 200
                writer.close()
            assert d.engine.seen == []  # the table knows the models

    uvloop.run(work())


async def exchange(d: Door, role: str, *lines: bytes, body: bytes = BODY, target: bytes = PATH) -> Answer:
    """One request, and its answer; what the engine saw is in `d.engine.seen`."""
    reader, writer = await d.connect(role)
    writer.write(post(*lines, body=body, path=target))
    answer = await asyncio.wait_for(read_answer(reader), SECONDS)
    writer.close()
    assert answer is not None
    return answer


def both(tmp_path: Path, work: Callable[[Door, str], Coroutine[Any, Any, None]]) -> None:
    async def inside() -> None:
        async with door(tmp_path) as d:
            for role in ("sidecar", "gateway"):
                del d.engine.seen[:]
                await work(d, role)

    uvloop.run(inside())


def test_headers_reach_the_engine_as_they_came_but_for_those_of_one_connection_and_forebays_own(tmp_path: Path) -> None:
    kept = (
        b"User-Agent: OpenAI/Python 1.2.3", b"Accept: text/event-stream", b"Accept: */*", b"X-Stainless-Lang: python",
        b"x-request-id: mine", b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"X-Odd: \xc3\xa9 \"q\" , ;=", b"X-Empty:", b"OpenAI-Organization: org",
        b"Content-Type: application/json; charset=utf-8",
    )  # fmt: skip
    dropped = (
        b"Connection: keep-alive, X-Named, authorization, x-forebay-priority", b"X-Named: 1", b"Keep-Alive: timeout=5",
        b"Proxy-Connection: close", b"TE: trailers", b"Trailer: X-T", b"Expect: 100-continue", b"Upgrade: h2c",
        b"Proxy-Authorization: Basic eA==", b"Authorization: Bearer sk-secret", b"Cookie: a=b",
        b"X-Api-Key: sk-secret", b"Api-Key: sk-secret", b"X-Goog-Api-Key: sk-secret", b"X-Amz-Security-Token: s",
        b"X-Forwarded-Access-Token: s", b"Cf-Access-Jwt-Assertion: s",
        b"Accept-Encoding: gzip, br",
        b"X-Forebay-Priority: Low", b"x-forebay-hop: 1", b"X-FOREBAY-CLIENT: vip", b"x-forebay-deadline-ms: 1",
        b"x-forebay-live-tokens: 99999999", b"x-forebay-offer: 1", b"x-forebay-age-ms: 99999999",
        b"x-forebay-slot: Full",
        b"x_forebay_hop: 1", b"x-forebay: 1", b"x-forebay-prefix: 1 1 1",
    )  # fmt: skip

    async def work(d: Door, role: str) -> None:
        reader, writer = await d.connect(role)
        mixed = [line for pair in zip_longest(kept, dropped) for line in pair if line]
        writer.write(post(*mixed))
        answer = await asyncio.wait_for(read_answer(reader), SECONDS)
        if answer is not None and answer.status == 100:
            answer = await asyncio.wait_for(read_answer(reader), SECONDS)
        writer.close()
        assert answer is not None and (answer.status, answer.body) == (200, OK_BODY)
        (message,) = d.engine.seen
        head, _, body = message.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        assert (first, body) == (b"POST /v1/chat/completions HTTP/1.1", BODY)
        wanted = [name.lower() + b": " + value.strip() for name, _, value in (line.partition(b":") for line in kept)]
        ours = (b"host: engine", b"accept-encoding: identity")
        assert lines == [*wanted, *ours, b"content-length: %d" % len(BODY)]

    both(tmp_path, work)


@pytest.mark.parametrize(
    "body",
    [
        BODY + b"\r\n\t ",
        b' \n{"model" : "chat-model" ,\t"messages":[ ]}',
        b'{"model":"chat-model","n":1.50,"e":1E+2,"z":-0.0,"big":12345678901234567890123,"tiny":1e-400}',
        '{"model":"chat-model","messages":[{"role":"user","content":"é\\u00e9\\ud83d\\ude00😀\\/\\u0000\u2028"}]}'.encode(),
        b'{"model":"chat-model","unknown":{"b":1,"a":[null,true,{}]},"unknown2":1,"unknown2":2}',
        b'{"model":"chat-model","":"empty key","messages":[{"role":"user","content":"x\\u0041"}],"stream":false}',
        b'{"model":"chat-model","messages":[],"pad":"' + b"x" * 300_000 + b'"}',
    ],
    ids=lambda body: repr(body[:50]),
)
def test_a_body_reaches_the_engine_byte_for_byte(tmp_path: Path, body: bytes) -> None:
    async def work(d: Door, role: str) -> None:
        assert (await exchange(d, role, body=body)).status == 200
        assert [message.partition(b"\r\n\r\n")[2] for message in d.engine.seen] == [body]

    both(tmp_path, work)


def test_only_an_open_model_changes_in_a_body(tmp_path: Path) -> None:
    async def work(d: Door, role: str) -> None:
        assert (await exchange(d, role, body=b'{"x": {"model":"auto"}, "model" :"auto","n":1.50}\n')).status == 200
        (message,) = d.engine.seen
        assert message.endswith(b'\r\n\r\n{"x": {"model":"auto"}, "model" :"chat-model","n":1.50}\n')

    both(tmp_path, work)


def test_a_query_goes_along_and_an_authority_does_not(tmp_path: Path) -> None:
    async def work(d: Door, role: str) -> None:
        for target in (PATH + b"?api-version=1&x=%2f..%2f", b"http://other:1" + PATH + b"?api-version=1&x=%2f..%2f"):
            assert (await exchange(d, role, target=target)).status == 200
        assert {message.split(b" ")[1] for message in d.engine.seen} == {PATH + b"?api-version=1&x=%2f..%2f"}

    both(tmp_path, work)


def test_the_engines_headers_come_back_but_for_those_of_one_connection_and_forebays_own(tmp_path: Path) -> None:
    passed = [
        ("content-type", "application/json; charset=utf-8"), ("openai-processing-ms", "12"),
        ("openai-version", "2020-10-01"), ("openai-organization", "org"), ("x-ratelimit-remaining-requests", "9"),
        ("retry-after", "7"), ("retry-after-ms", "700"), ("date", "Tue, 24 Nov 2026 10:00:00 GMT"), ("vary", "Origin"),
        ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("cache-control", "no-store"), ("content-encoding", "identity"),
    ]  # fmt: skip
    dropped = [
        ("connection", "keep-alive, x-named"), ("x-named", "1"), ("keep-alive", "timeout=5"), ("trailer", "x-t"),
        ("x-forebay-destination", "forged"), ("x-forebay-reason", "Forged"), ("upgrade", "h2c"), ("server", "uvicorn"),
        ("x-request-id", "req_1"),
        ("proxy-authenticate", "Basic"),
    ]  # fmt: skip

    async def work(d: Door, role: str) -> None:
        for status in (200, 400, 404, 422):
            lines = "".join(f"{name}: {value}\r\n" for name, value in passed + dropped)
            body = OK_BODY if status == 200 else b'{"error":{"message":"m","type":"t","param":null,"code":null}}'
            d.engine.answer = f"HTTP/1.1 {status} x\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body
            answer = await exchange(d, role)
            d.engine.answer = OK
            assert (answer.status, answer.body) == (status, body)
            theirs = [
                item
                for item in answer.headers
                if not item[0].startswith(("x-forebay-", "x-request-id", "content-length"))
            ]
            assert theirs == passed
            assert answer.header("x-forebay-destination") == "chat"
            assert answer.header("x-request-id") == answer.header("x-forebay-request-id")

    both(tmp_path, work)
