"""W3C trace context: through to the engine and the provider as it came, or not at all."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop

from forebay.router.dialect import trace_context
from forebay.router.http.values import Request
from testing.fleet import Pool, fleet
from tests.router.taps import lines, tap

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("parent", "valid"),
    [
        (PARENT, True),
        (f"00-{TRACE}-00f067aa0ba902b7-ff", True),
        (f"cc-{TRACE}-00f067aa0ba902b7-01", True),  # a version to come
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-it-says", True),
        (f"cc-{TRACE}-00f067aa0ba902b7-01.what", False),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (PARENT.upper(), False),
        (PARENT[:-1], False),
        (f" {PARENT}", False),
        ("", False),
        ("00-x-y-z", False),
    ],
)
def test_what_does_not_parse_is_dropped_with_its_state(parent: str, valid: bool) -> None:
    headers = [(b"host", b"x"), (b"traceparent", parent.encode()), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    request = Request("POST", "/v1/completions", "", list(headers))
    assert trace_context.adopt(request) == (TRACE if valid else "")
    assert request.headers == (headers if valid else [(b"host", b"x")])
    passed = [(b"traceparent", parent.encode()), (b"tracestate", b"a=1,b=2")]
    assert trace_context.context(request) == (passed if valid else [])


def test_two_parents_are_none_and_a_state_alone_is_nothing() -> None:
    twice = [(b"traceparent", PARENT.encode())] * 2
    for headers in (twice, [(b"tracestate", b"a=1")]):
        request = Request("POST", "/v1/completions", "", list(headers))
        assert (trace_context.adopt(request), request.headers) == ("", [])


@pytest.mark.slow
def test_engine_provider_and_log_have_the_same_trace(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            sent: dict[str, Any] = {"traceparent": PARENT, "tracestate": "a=1,b=2", "baggage": "user=alice"}
            bodies = {"model": "auto", "messages": [], "max_tokens": 300}
            engine, provider = tap(f.engines["chat-0"]), tap(f.providers["bravo"])
            written = lines(f.gateway)
            for base in (f.url(f.gateway), f.url(f.sidecars["chat-0"])):
                await f.http.post(f"{base}/v1/chat/completions", json=bodies, headers=sent)
                got = engine.pop().headers
                assert {name: got[name.encode()].decode() for name in sent} == sent
                await f.http.post(f"{base}/v1/chat/completions", json=bodies)
                assert not {b"traceparent", b"tracestate", b"baggage"} & set(engine.pop().headers)
            held = [asyncio.create_task(f.ask(12_000)) for _ in range(2)]
            await f.until(lambda: sum(r.free_high for r in f.gate.replicas.of("chat")) == 0)
            answer = await f.http.post(f.url(f.gateway) + "/v1/chat/completions", json=bodies, headers=sent)
            assert answer.headers["x-forebay-destination"] == "bravo/bravo-model"
            got = provider.pop().headers
            assert (got[b"traceparent"].decode(), got[b"tracestate"]) == (PARENT, b"a=1,b=2")
            assert b"baggage" not in got
            assert [line.get("trace_id") for line in written()] == [TRACE, None, TRACE]
            for task in held:
                task.cancel()

    uvloop.run(work())
