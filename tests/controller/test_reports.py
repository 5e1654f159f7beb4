"""Reports of routers, through httpx's own transport seam: who answers, who does not, and what is told to whom."""

import asyncio

import httpx
import pytest

from forebay.controller.reports import Reports
from forebay.resources import names
from forebay.resources.report import Report, encode
from tests.controller.fleets import gateway_report

REPORT = gateway_report().report


def fetched(answer: httpx.Response | Exception, *, token: str = "t") -> tuple[dict[str, Report], list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def router(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.host == "10.0.0.9":
            return httpx.Response(200, content=encode(REPORT))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scene() -> dict[str, Report]:
        reports = Reports(httpx.AsyncClient(transport=httpx.MockTransport(router)))
        found = await reports.fetch(token, {"good": "10.0.0.9", "other": "10.0.0.1", "six": "fd00::1"})
        await reports.close()
        return found

    return asyncio.run(scene()), asked


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401),
        httpx.Response(200, content=b"{"),
        httpx.Response(200, content=b'{"role":"gateway"}'),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
    ],
)
def test_one_router_that_does_not_report_keeps_nobody_waiting(answer: httpx.Response | Exception) -> None:
    found, asked = fetched(answer)
    assert found == {"good": REPORT}
    assert len(asked) == 3


def test_the_token_goes_to_the_control_port_and_nowhere_else() -> None:
    _, asked = fetched(httpx.Response(401))
    assert {request.headers["authorization"] for request in asked} == {"Bearer t"}
    assert {request.url.port for request in asked} == {names.PORT_CONTROL}
    assert {request.url.host for request in asked} == {"10.0.0.9", "10.0.0.1", "fd00::1"}


def test_nobody_is_asked_without_a_token() -> None:
    assert fetched(httpx.Response(200), token="") == ({}, [])
