"""What Anthropic's clients send and read, at the gateway and at a pool's own Service, and at a provider."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from forebay.resources.terms import USUAL_APIS, Api
from forebay.router.dialect.content import error_end, has_content, is_error
from testing.fleet import Fleet, Pool, fleet
from tests.router.clouds import KEY, clouds
from tests.router.provider import Script, answer, stream
from tests.router.taps import lines, tap

HELLO = [{"role": "user", "content": "hello there"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"name": "weather", "description": "The weather of a city", "input_schema": SCHEMA}]
HEADERS = {
    "x-api-key": "sk-vip",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "interleaved-thinking-2025-05-14",
}


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(work(), 60))


async def post(f: Fleet, door: str, path: str = "", **fields: Any) -> httpx.Response:
    """One request, as Claude Code frames it."""
    body = {"model": "chat-model", "max_tokens": 20, "messages": HELLO, **fields}
    return await f.http.post(f"{door}/v1/messages{path}?beta=true", json=body, headers=HEADERS)


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and data of a stream's events; [DONE], which engines send behind the last one, is left out."""
    found = []
    for part in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.splitlines())
        if lines and lines["data"] != "[DONE]":
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def message_of(text: str) -> dict[str, Any]:
    """What a client puts together from a stream, as Anthropic's own does."""
    message: dict[str, Any] = {}
    for name, event in events(text):
        assert name == event["type"]
        match name:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append({**event["content_block"], "json": ""})
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                if delta["type"] == "text_delta":
                    block["text"] += delta["text"]
                else:
                    block["json"] += delta["partial_json"]
            case "content_block_stop":
                block = message["content"][event["index"]]
                if text := block.pop("json"):
                    block["input"] = json.loads(text)
            case "message_delta":
                message.update(event["delta"])
                message["usage"].update(event["usage"])
    return message


def doors(f: Fleet) -> tuple[str, str]:
    return f.url(f.gateway), f.url(f.sidecars["chat-0"])


def test_a_message_comes_whole_and_as_a_stream(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=8)}, cloud=False) as f:
            seen = tap(f.engines["chat-0"])
            for door in doors(f):
                whole = await post(f, door, system="Be brief.", metadata={"user_id": "u"})
                streamed = await post(f, door, system="Be brief.", metadata={"user_id": "u"}, stream=True)
                assert whole.status_code == streamed.status_code == 200
                assert whole.headers["x-forebay-destination"] == "chat"
                one, two = whole.json(), message_of(streamed.text)
                assert [block["text"] for block in one["content"]] == [block["text"] for block in two["content"]]
                assert (one["stop_reason"], one["usage"]) == (two["stop_reason"], two["usage"])
                for request in (seen.pop(), seen.pop()):
                    assert (request.path, request.query) == ("/v1/messages", "beta=true")
                    assert b"x-api-key" not in request.headers
                    assert request.headers[b"anthropic-version"] == b"2023-06-01"

    run(work)


def test_a_client_that_works_with_tools_comes_to_its_end(tmp_path: Path) -> None:
    """The loop of an agent: counts, asks, does what is asked for, tells the result, until the model has its say."""

    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=8)}, cloud=False) as f:
            for door in doors(f):
                turns: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "weather?"}]}]
                system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
                reasons, counts = [], []
                for _ in range(5):
                    fields = {"messages": turns, "tools": TOOLS, "system": system}
                    counted = await post(f, door, "/count_tokens", **fields)
                    counts.append(counted.json()["input_tokens"])
                    user = "user_0_account_1_session_2"
                    answered = await post(
                        f, door, **fields, stream=True, max_tokens=500, metadata={"user_id": user},
                        thinking={"type": "adaptive"}, context_management={"edits": []},
                    )  # fmt: skip
                    message = message_of(answered.text)
                    reasons.append(message["stop_reason"])
                    turns.append({"role": "assistant", "content": message["content"]})
                    if message["stop_reason"] != "tool_use":
                        break
                    (call,) = message["content"]
                    assert (call["name"], call["input"]) == ("weather", {"city": "river", "days": 7})
                    result = {"type": "tool_result", "tool_use_id": call["id"],
                              "content": [{"type": "text", "text": "rain"}]}  # fmt: skip
                    turns.append({"role": "user", "content": [result]})
                assert reasons[0] == "tool_use" and reasons[1:] in (["end_turn"], ["max_tokens"])
                assert counts == sorted(set(counts))

    run(work)


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"model": "unknown"}, 404, "not_found_error"),
        ({"max_tokens": "many"}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": "x" * 8_000_000}]}, 400, "invalid_request_error"),
    ],
)
def test_a_refusal_has_the_shape_that_these_clients_parse(
    tmp_path: Path, fields: dict[str, Any], status: int, kind: str
) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=8, context_tokens=16_384)}, cloud=False) as f:
            refused = await post(f, f.url(f.gateway), **fields)
            error = refused.json()
            assert (refused.status_code, error["type"], error["error"]["type"]) == (status, "error", kind)
            assert error["error"]["message"]
            if "messages" in fields:
                assert error["error"]["message"].startswith("prompt is too long")
            other = await f.http.post(f.url(f.gateway) + "/v1/messages/batches", json={})
            assert (other.status_code, other.json()["error"]["type"]) == (404, "not_found_error")

    run(work)


def test_a_stream_that_breaks_off_ends_with_an_error_event(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            f.engines["chat-0"].faults.cut = True
            for door in doors(f):
                body = {"model": "chat-model", "max_tokens": 50, "messages": HELLO, "stream": True}
                got = b""
                with pytest.raises(httpx.RemoteProtocolError):
                    async with f.http.stream("POST", f"{door}/v1/messages", json=body) as response:
                        async for piece in response.aiter_raw():
                            got += piece
                name, event = events(got.decode())[-1]
                assert (name, event["type"], event["error"]["type"]) == ("error", "error", "api_error")
                assert "broke off" in event["error"]["message"]

    run(work)


# Providers.

USAGE = {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}
START = b'{"type":"message_start","message":{"id":"msg_1","content":[],"stop_reason":null,"usage":%b}}' % (
    json.dumps(USAGE).encode()
)
TEXT = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}'
DELTA = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}'
STOP = b'{"type":"message_stop"}'
PING = b'{"type":"ping"}'
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
SPOKEN = {"apis": (Api.MESSAGES,)}


async def asked(c: Any, **fields: Any) -> httpx.Response:
    return await post(c.fleet, c.fleet.url(c.fleet.gateway), **{"model": "auto", **fields})


@pytest.mark.parametrize("apis", [USUAL_APIS, (Api.CHAT_COMPLETIONS,), (Api.MESSAGES,)])
def test_a_request_leaves_only_to_a_model_that_speaks_its_dialect(tmp_path: Path, apis: tuple[Api, ...]) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(200, {"type": "message", "usage": USAGE}), model={"apis": apis}) as c:
            messages, chat = await asked(c), await c.ask()
            speaks = Api.MESSAGES in apis
            assert (messages.status_code == 200) is speaks
            assert messages.headers["x-forebay-destination"] == ("acme/big" if speaks else "none")
            assert chat.headers["x-forebay-destination"] == ("bravo/small" if speaks else "acme/big")
            assert len(c.bravo.asked) == speaks

    run(work)


def test_what_a_provider_is_sent(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(200, {"type": "message", "usage": USAGE}), model=SPOKEN) as c:
            await asked(c, system="s", tools=TOOLS, metadata={"user_id": "u"}, top_k=5)
            (request,) = c.acme.asked
            assert (request.path, request.query) == ("/v1/messages", "")
            assert c.acme.documents == [
                {"model": "big", "max_tokens": 20, "messages": HELLO, "system": "s", "tools": TOOLS, "top_k": 5}
            ]
            assert request.headers[b"anthropic-version"] == b"2023-06-01"
            assert request.headers[b"anthropic-beta"] == b"interleaved-thinking-2025-05-14"
            assert request.headers[b"authorization"] == f"Bearer {KEY}".encode()
            assert b"x-api-key" not in request.headers

    run(work)


@pytest.mark.parametrize(
    "block", [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"}]
)
def test_thoughts_that_another_model_signed_stay_here(tmp_path: Path, block: dict[str, Any]) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(200, {"type": "message"}), model=SPOKEN) as c:
            turns = [*HELLO, {"role": "assistant", "content": [block, {"type": "text", "text": "a"}]}, *HELLO]
            refused = await asked(c, messages=turns)
            assert refused.headers["x-forebay-reason"] == "NotPortable"
            assert c.acme.asked == []

    run(work)


def test_a_providers_stream_is_passed_on_and_counted(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, stream(START, PING, TEXT, DELTA, STOP), model=SPOKEN) as c:
            written = lines(c.fleet.gateway)
            streamed = await asked(c, stream=True)
            for part in (START, PING, TEXT, DELTA, STOP):
                assert part in streamed.content
            (line,) = written()
            assert (line["input_tokens"], line["output_tokens"], line["usage"]) == (30, 15, "counted")

    run(work)


@pytest.mark.parametrize("fails", [stream(START, OVERLOADED), stream(START, PING, then="cut")])
def test_a_provider_that_fails_before_its_first_token_is_not_heard_of(tmp_path: Path, fails: Script) -> None:
    async def work() -> None:
        async with clouds(tmp_path, fails, model=SPOKEN) as c:
            refused = await asked(c, stream=True)
            assert (refused.status_code, refused.json()["error"]["type"]) == (503, "overloaded_error")

    run(work)


@pytest.mark.parametrize("fails", [stream(START, TEXT, OVERLOADED), stream(START, TEXT, then="cut")])
def test_a_provider_that_fails_later_ends_with_an_error_event(tmp_path: Path, fails: Script) -> None:
    async def work() -> None:
        async with clouds(tmp_path, fails, model=SPOKEN) as c:
            got = b""
            body = {"model": "auto", "max_tokens": 9, "messages": HELLO, "stream": True}
            with contextlib.suppress(httpx.RemoteProtocolError):
                async with c.fleet.http.stream("POST", c.fleet.url(c.fleet.gateway) + "/v1/messages", json=body) as r:
                    async for piece in r.aiter_raw():
                        got += piece
            assert b"message_stop" not in got
            assert b'{"type":"error","error":{"type":' in got

    run(work)


# Bytes of a stream.


@pytest.mark.parametrize(
    ("event", "content"),
    [
        (START, False),
        (PING, False),
        (b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}', False),
        (b'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}', False),
        (b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f"}}', True),
        (TEXT, True),
        (b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}', True),
        (b'{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}', True),
        (b'{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}', False),
        (DELTA, True),
    ],
)
def test_what_counts_as_content(event: bytes, content: bool) -> None:
    assert has_content(b"event: x\ndata: " + event + b"\n\n") is content
    assert not error_end(b"event: x\ndata: " + event + b"\n\n")


@pytest.mark.parametrize("event", [OVERLOADED, b'{"type": "error", "error": {"type": "api_error", "message": "x"}}'])
def test_an_engines_error_is_known_in_a_stream_and_in_a_200(event: bytes) -> None:
    told = b"event: error\ndata: " + event + b"\n\n"
    assert error_end(told + b"data: [DONE]\n\n") == len(told)
    assert is_error(event)


POST = b"POST /v1/messages?beta=true HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("raw", "status", "kind"),
    [
        (POST + b"content-length: 99999999\r\n\r\n", 413, "request_too_large"),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400, "invalid_request_error"),
        (POST + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd", 400, "invalid_request_error"),
        (POST + b"x: " + b"y" * 70_000 + b"\r\n\r\n", 431, "invalid_request_error"),
        (POST.replace(b"?beta=true", b"?" + b"y" * 9_000) + b"\r\n", 414, "invalid_request_error"),
        (POST.replace(b"/v1", b"http://x/v1") + b"content-length: 99999999\r\n\r\n", 413, "request_too_large"),
        (POST.replace(b"messages", b"messages/count_tokens") + b"bad header: y\r\n\r\n", 400, "invalid_request_error"),
        (b"GET /v1/messages HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found_error"),
    ],
)
@pytest.mark.parametrize("door", [0, 1])
def test_what_cannot_be_framed_is_refused_in_the_words_of_the_path(
    tmp_path: Path, door: int, raw: bytes, status: int, kind: str
) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            router = (f.gateway, f.sidecars["chat-0"])[door]
            for path, anthropic in ((b"", True), (b"/v1/chat/completions", False)):
                reader, writer = await asyncio.open_connection("127.0.0.1", router.request.port)
                words = raw if anthropic else raw.replace(b"/v1/messages", path, 1)
                writer.write(words)
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
                said = json.loads(await reader.readexactly(length))
                writer.close()
                assert int(head.split()[1]) == status
                if anthropic:
                    assert (said["type"], said["error"]["type"]) == ("error", kind)
                else:
                    assert set(said) == {"error"} and "code" in said["error"]

    run(work)
