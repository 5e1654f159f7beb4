"""Reports of routers, over real connections: who answers, who does not, and what is told to whom."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from aiohttp import web

from forebay.controller.cluster import report_client
from forebay.controller.cluster.report_client import ReportClient
from forebay.resources import names
from forebay.resources.report import Report, encode
from tests.controller.fleets import gateway_report

REPORT = gateway_report().report
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GOOD, OTHER = "127.0.0.1", "127.0.0.2"


async def good(_: web.Request) -> web.Response:
    return web.Response(body=encode(REPORT))


def answers(response: Callable[[], web.Response]) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return response()

    return handler


async def hangs_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def is_slow(_: web.Request) -> web.Response:
    await asyncio.sleep(5)
    return web.Response()


def fetched(other: Handler, *, token: str = "t") -> tuple[dict[str, Report], list[web.Request]]:
    """What comes of asking a good router and another one, and what they were asked."""
    asked: list[web.Request] = []

    async def router(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return await (good if request.url.host == GOOD else other)(request)

    async def scene() -> dict[str, Report]:
        app = web.Application()
        app.router.add_get(names.PATH_REPORT, router)
        runner = web.AppRunner(app, shutdown_timeout=0.1)  # it would wait for the slow answer
        await runner.setup()
        site = web.TCPSite(runner, GOOD, 0)
        await site.start()
        port = runner.addresses[0][1]
        await web.TCPSite(runner, OTHER, port).start()
        asking = ReportClient(port)
        try:
            return await asking.fetch(token, {"good": GOOD, "other": OTHER, "nobody": "127.0.0.3"})
        finally:
            await asking.close()
            await runner.cleanup()

    return uvloop.run(scene()), asked


@pytest.mark.parametrize(
    "other",
    [
        answers(lambda: web.Response(status=401)),
        answers(lambda: web.Response(body=b"{")),
        answers(lambda: web.Response(body=b'{"role":"gateway"}')),
        answers(lambda: web.Response(body=b"x" * (report_client.LONGEST_BYTES + 1))),
        hangs_up,
        is_slow,
    ],
    ids=["unauthorized", "broken", "incomplete", "endless", "hangs up", "slow"],
)
def test_one_router_that_does_not_report_keeps_nobody_waiting(other: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_client, "TIMEOUT_SECONDS", 0.5)
    found, asked = fetched(other)
    assert found == {"good": REPORT}
    assert {request.url.host for request in asked} == {GOOD, OTHER}


def test_the_token_goes_to_the_routers() -> None:
    _, asked = fetched(good)
    assert {request.headers["authorization"] for request in asked} == {"Bearer t"}


def test_a_router_cannot_send_the_token_elsewhere() -> None:
    found, asked = fetched(answers(lambda: web.Response(status=307, headers={"location": names.PATH_REPORT})))
    assert set(found) == {"good"}
    assert len(asked) == 2


def test_nobody_is_asked_without_a_token() -> None:
    assert fetched(good, token="") == ({}, [])


@pytest.mark.parametrize("keep", [True, False])
def test_connections_stay_open_for_gateways_alone(keep: bool) -> None:
    """Ten thousand sidecars would be as many open files; a router need not close what it was asked to close."""

    async def scene() -> int:
        app = web.Application()
        app.router.add_get(names.PATH_REPORT, good)
        runner = web.AppRunner(app, shutdown_timeout=0.1)  # it would wait for the slow answer
        await runner.setup()
        await web.TCPSite(runner, GOOD, 0).start()
        asking = ReportClient(runner.addresses[0][1])
        try:
            assert await asking.fetch("t", {"good": GOOD}, keep=keep) == {"good": REPORT}
            await asyncio.sleep(0.05)
            assert runner.server is not None
            return len(runner.server.connections)
        finally:
            await asking.close()
            await runner.cleanup()

    assert uvloop.run(scene()) == keep
