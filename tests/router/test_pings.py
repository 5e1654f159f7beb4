"""A stream that waits for its first token is kept open by pings, where that is asked for."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
import uvloop

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.options import RouterTimeouts
from forebay.resources.table import TimeoutsEntry
from forebay.router.dialect.error_shapes import event_of
from forebay.router.http import server
from testing.fleet import Fleet, Pool, fleet
from tests.router.faulty import Fault, Faulty
from tests.router.sdk import sdk
from tests.router.test_failover import at_home_in
from tests.router.test_messages import HEADERS, message_of

PINGS = RouterTimeouts(ping=0.1)
HELLO = [{"role": "user", "content": "hello there"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 3},
    "/v1/completions": {"prompt": "hello", "max_tokens": 3},
    "/v1/responses": {"input": "hello", "max_output_tokens": 16},
    "/v1/messages": {"messages": HELLO, "max_tokens": 3},
}
PING = {
    path: b'event: ping\ndata: {"type": "ping"}\n\n' if path == "/v1/messages" else b": ping\n\n" for path in BODIES
}
DOORS = ("gateway", "service")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the compiled build a second is a constant: the tests take longer there."""
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.05)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(work(), 60))


def door_of(f: Fleet, door: str) -> str:
    return f.url(f.gateway if door == "gateway" else f.sidecars["chat-0"])


@contextlib.asynccontextmanager
async def asked(f: Fleet, door: str, path: str, session: str = "", **more: Any) -> AsyncIterator[httpx.Response]:
    """A streamed request, as soon as its head is there."""
    body = {"model": "chat-model", "stream": True, **BODIES[path], **more}
    headers = HEADERS if path == "/v1/messages" else {"authorization": "Bearer sk-vip"}
    headers = {**headers, **({"x-forebay-session": session} if session else {})}
    async with f.http.stream("POST", door_of(f, door) + path, json=body, headers=headers) as answer:
        yield answer


@contextlib.asynccontextmanager
async def full(f: Fleet) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """The pool's only slot is taken until the task is cancelled."""
    long = asyncio.create_task(f.ask(100_000, model="chat-model"))
    await f.until(lambda: f.side("chat-0").admission.running == 1)
    try:
        yield long
    finally:
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)


def written(f: Fleet) -> list[AccessLogEntry]:
    """The lines that the gateway's log gets from now on."""
    lines: list[AccessLogEntry] = []
    f.gate.context.log.write = lines.append  # type: ignore[method-assign]
    return lines


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", BODIES)
def test_a_stream_that_waits_for_a_slot_gets_pings_and_then_its_answer(tmp_path: Path, path: str, door: str) -> None:
    async def work() -> None:
        async with (
            fleet(tmp_path, {"chat": Pool(slots=1, engine_context=200_000)}, cloud=False, timeouts=PINGS) as f,
            full(f) as long,
            asked(f, door, path) as answer,
        ):
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
            assert "x-forebay-request-id" in answer.headers and "x-forebay-destination" not in answer.headers
            pieces = answer.aiter_bytes()
            begun = b""
            while begun.count(PING[path]) < 2:
                begun += await anext(pieces)
            assert begun.replace(PING[path], b"") == b"", "nothing but pings comes before the answer"
            long.cancel()
            text = begun + b"".join([piece async for piece in pieces])
            rest = text.replace(PING[path], b"").decode()
            if path == "/v1/messages":
                assert len(message_of(rest)["content"]) == 1
            else:
                assert rest.startswith(("data: ", "event: response.created"))
                assert "[DONE]" in rest or "response.completed" in rest

    run(work)


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_silent_engine_is_left_for_another_while_its_client_is_kept(tmp_path: Path, door: str) -> None:
    async def work() -> None:
        peers: list[Faulty] = []

        async def front(name: str, port: int) -> int:
            if name != "engine chat-0":
                return port
            peers.append(Faulty(("127.0.0.1", port), Fault.STALL))
            await peers[0].start()
            return peers[0].port

        times = RouterTimeouts(ping=0.1, first_token=2.5)
        session = at_home_in("chat-0", ("chat-0", "chat-1"))
        async with fleet(tmp_path, {"chat": Pool(replicas=2)}, cloud=False, timeouts=times, front=front) as f:
            try:
                async with asked(f, door, "/v1/chat/completions", session=session) as answer:
                    text = (await answer.aread()).decode()
                assert peers[0].posts
                assert ": ping" in text and text.rstrip().endswith("data: [DONE]")
                assert "error" not in text
            finally:
                await peers[0].stop()

    run(work)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("door", DOORS)
def test_a_refusal_after_pings_is_an_error_event_of_the_dialect_and_an_end(
    tmp_path: Path, path: str, door: str
) -> None:
    async def work() -> None:
        async with (
            fleet(tmp_path, {"chat": Pool(slots=1, max_wait_seconds=1, engine_context=200_000)}, cloud=False,
                  timeouts=PINGS) as f,
            full(f),
            asked(f, door, path) as answer,
        ):  # fmt: skip
            lines = written(f)
            text = (await answer.aread()).decode()
            assert answer.status_code == 200
            assert "[DONE]" not in text
            frames = [part for part in text.split("\n\n") if part and "ping" not in part]
            assert len(frames) == 1, "one error, no content"
            name, data = frames[0].split("data: ", 1)
            error = json.loads(data)["error"]
            if path == "/v1/messages":
                assert (name, json.loads(data)["type"], error["type"]) == (
                    "event: error\n",
                    "error",
                    "rate_limit_error",
                )
            else:
                assert (name, error["type"], error["status"]) == ("", "rate_limit_error", 429)
                assert error["code"] == "QueueExpired" or error["code"] == "NoPolicy"
            await f.until(lambda: any(line.path == path for line in lines))
            assert next(line for line in lines if line.path == path).status == 429, "the log has the refusal's status"

    run(work)


def test_openais_client_raises_the_error_that_comes_after_pings(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            fleet(tmp_path, {"chat": Pool(slots=1, max_wait_seconds=1, engine_context=200_000)}, cloud=False,
                  timeouts=PINGS) as f,
            full(f),
            sdk(f) as client,
        ):  # fmt: skip
            with pytest.raises(openai.APIError, match="try again"):
                await client("chat.completions.create", model="chat-model", messages=HELLO, stream=True)

    run(work)


def test_what_is_refused_or_answered_soon_keeps_its_status_and_headers(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False, timeouts=RouterTimeouts(ping=20)) as f:
            for door in DOORS:
                async with asked(f, door, "/v1/chat/completions") as answer:
                    assert answer.headers["x-forebay-destination"] == "chat"
                    assert b"ping" not in await answer.aread()
                async with asked(f, door, "/v1/chat/completions", model="unknown") as answer:
                    assert answer.status_code == 404
                async with asked(f, door, "/v1/chat/completions", max_tokens="many") as answer:
                    assert answer.status_code == 400

    run(work)


def test_what_does_not_stream_waits_in_silence(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            fleet(tmp_path, {"chat": Pool(slots=1, max_wait_seconds=1, engine_context=200_000)}, cloud=False,
                  timeouts=PINGS) as f,
            full(f),
        ):  # fmt: skip
            refused = await f.ask(3, model="chat-model", key="sk-vip")
            assert refused.status_code == 429 and "retry-after" in refused.headers

    run(work)


def test_without_the_option_a_stream_waits_in_silence(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            fleet(tmp_path, {"chat": Pool(slots=1, max_wait_seconds=1, engine_context=200_000)}, cloud=False) as f,
            full(f),
            asked(f, "gateway", "/v1/chat/completions") as answer,
        ):
            assert answer.status_code == 429 and "retry-after" in answer.headers

    run(work)


def test_a_client_that_leaves_among_pings_is_written_down_as_gone(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            fleet(tmp_path, {"chat": Pool(slots=1, engine_context=200_000)}, cloud=False, timeouts=PINGS) as f,
            full(f),
        ):
            lines = written(f)
            async with asked(f, "gateway", "/v1/chat/completions") as answer:
                await anext(answer.aiter_bytes())
            await f.until(lambda: len(lines) == 1)
            assert lines[0].status == 499
            assert f.gate.in_flight == 1 and not f.gate.waiting.length("chat")

    run(work)


def test_a_connection_serves_the_next_request_after_a_stream_with_pings(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            fleet(tmp_path, {"chat": Pool(slots=1, engine_context=200_000)}, cloud=False, timeouts=PINGS) as f,
            full(f) as long,
        ):
            async with asked(f, "gateway", "/v1/chat/completions") as answer:
                await anext(answer.aiter_bytes())
                long.cancel()
            await f.ask(3, model="chat-model")
            [connection] = f.gateway.request.connections
            assert connection.due > asyncio.get_running_loop().time() + 10, "idle as any other"

    run(work)


def test_a_pool_says_whether_its_streams_are_kept_open(tmp_path: Path) -> None:
    """A name gets the shortest time of the pools that serve it; a pool may say 0 where the fleet says more."""

    async def work() -> None:
        async with fleet(tmp_path, {"one": Pool(), "two": Pool(), "three": Pool()}, cloud=False) as f:
            table = f.gate.context.table.table
            said = (TimeoutsEntry(ping=5.0), TimeoutsEntry(ping=9.0), msgspec.UNSET)
            pools = [
                msgspec.structs.replace(pool, timeouts=ping, served_names=(f"{pool.name}-model", "shared"))
                for pool, ping in zip(table.pools, said, strict=True)
            ]
            f.gate._follow(msgspec.structs.replace(table, pools=tuple(pools)))
            assert f.gate._pings == {"one-model": 5.0, "two-model": 9.0, "three-model": 0.0, "shared": 5.0}
            assert f.gate._ping == 5.0

    run(work)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no\\nway",\n "type": "x", "code": null}}', "no\nway"),
        (b'{"object": "error", "message": "old words", "code": 400}', "old words"),
        (b'{"error": "a word"}', '{"error": "a word"}'),
        (b"<html>\n\nBad Gateway</html>", "<html>\n\nBad Gateway</html>"),
        (b"", "the answer is 502"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, "[" * 1000),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_any_body_becomes_one_event_that_clients_can_parse(path: str, body: bytes, message: str) -> None:
    event = event_of(path, 502, body)
    assert event.endswith(b"\n\n") and event.count(b"\n\n") == 1
    lines = event.rstrip().splitlines()
    assert lines[:-1] == ([b"event: error"] if path == "/v1/messages" else [])
    error = json.loads(lines[-1].removeprefix(b"data: "))["error"]
    assert error["message"] == message
    assert path == "/v1/messages" or error["status"] == 502
