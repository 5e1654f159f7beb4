"""The access log: one line per request, off the request path, bounded, without bodies and keys."""

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from forebay.resources.access_log import AccessLogEntry
from forebay.router import access_log_writer
from forebay.router.access_log_writer import AccessLog
from testing.fleet import Pool, fleet

SECRET = "the-secret-of-the-body"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def documents(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_line_for_each_request_from_the_router_that_answered_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": Pool()}) as f:
            logs = {}
            for router in (f.gateway, f.sidecars["chat-0"]):
                out = tmp_path / f"{router.context.settings.replica}.log"
                logs[out] = router.context.log = AccessLog(out=os.open(out, os.O_WRONLY | os.O_CREAT))
            at_pool = f.url(f.sidecars["chat-0"])
            said = {"messages": [{"role": "user", "content": SECRET}], "user": SECRET, "x_forebay_request_id": "mine"}
            await f.ask(3, key="sk-vip", model="chat-model", x_forebay_priority="High", **said)
            await f.ask(3, key="sk-vip", stream=True, model="chat-model", **said, base=at_pool)
            await f.ask(3, key="sk-vip", model="sort-model", **said, base=at_pool)  # handed on
            await f.ask(3, key="sk-vip", model="nope", **said)
            await f.ask(-3, key="sk-vip", **said)
            await f.ask(-3, key="sk-vip", **said, base=at_pool)
            await f.http.get(f.url(f.gateway) + "/v1/models/nope?key=" + SECRET)
            await f.http.post(f.url(f.gateway) + "/v1/" + "x" * 5000, content=SECRET)
            for log in logs.values():
                log.close()
                os.close(log._out or 0)
            gateway, side = (out.read_bytes() for out in logs)
            assert SECRET.encode() not in gateway + side
            assert b"sk-" not in gateway + side
            columns = ("path", "model", "destination", "reason", "status")
            assert [tuple(line.get(c) for c in columns) for line in documents(gateway)[:6]] == [
                ("/v1/chat/completions", "chat-model", "chat", "LocalCapacity", 200),
                ("/v1/chat/completions", "sort-model", "sort", "LocalCapacity", 200),
                ("/v1/chat/completions", "nope", "none", "ModelNotFound", 404),
                ("/v1/chat/completions", None, "none", "InvalidRequest", 400),
                ("/v1/models/nope", None, "none", "ModelNotFound", 404),
                ("/v1/" + "x" * 196, None, "none", "InvalidRequest", 404),
            ]
            first, streamed = documents(gateway)[0], documents(side)[0]
            assert (first["client"], first["priority"], first["request_id"]) == ("vip", "High", "mine")
            assert abs(first["time"] - time.time()) < 600
            assert (streamed["stream"], streamed["status"], streamed["destination"]) == (True, 200, "chat")
            assert [line["reason"] for line in documents(side)] == ["LocalCapacity", "InvalidRequest"]

    uvloop.run(work())


def test_a_sidecar_whose_engine_fails_and_whom_no_gateway_helps_says_so_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            kept: list[dict[str, Any]] = []
            side = f.side("chat-0")
            side.context.log.write = lambda line: kept.append(msgspec.to_builtins(line))  # type: ignore[method-assign]
            alone = msgspec.structs.replace(side.context.table.table, generation=3, gateway_addresses=("127.0.0.1:1",))
            side.context.table.take(alone)
            f.engines["chat-0"].faults.error_5xx = True
            assert (await f.ask(base=f.url(f.sidecars["chat-0"]))).status_code == 503
            assert [(line["status"], line["reason"], line["destination"]) for line in kept] == [
                (503, "ReplicaFailed", "none")
            ]

    uvloop.run(work())


def test_a_pipe_that_nobody_reads_holds_up_nothing_and_drops_are_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log_writer, "MAX_LINES", 100)
    monkeypatch.setattr(access_log_writer, "LAST_SECONDS", 5.0)
    reader, writer = pipe
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    log = AccessLog(out=writer)
    for number in range(1000):
        log.write(AccessLogEntry(request_id=f"{number:04}" + "x" * 100))
        if number == 90:
            log.flush()  # more than the pipe holds: the thread gets stuck
    log.flush()
    assert log.dropped == 1000 - 91 - 100
    received = bytearray()

    async def read() -> None:
        loop = asyncio.get_running_loop()
        closing = loop.run_in_executor(None, log.close)
        os.set_blocking(reader, False)
        while not closing.done() or received.count(b"\n") < 191:
            try:
                received.extend(os.read(reader, 65536))
            except BlockingIOError:
                await asyncio.sleep(0.005)

    uvloop.run(asyncio.wait_for(read(), 20))
    written = [line["request_id"][:4] for line in documents(bytes(received))]
    assert written == [f"{number:04}" for number in range(191)]  # in order, none cut


def test_without_a_reader_requests_go_on(pipe: tuple[int, int]) -> None:
    log = AccessLog(out=os.open("/dev/full", os.O_WRONLY))
    log.write(AccessLogEntry(request_id="a"))
    log.close()
    log.write(AccessLogEntry(request_id="b"))
    log.close()
    assert log.dropped == 0


def test_it_can_be_switched_off() -> None:
    log = AccessLog(enabled=False)
    log.write(AccessLogEntry(request_id="a"))
    assert log._lines == []
