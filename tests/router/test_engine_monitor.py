"""What a sidecar knows of its engine, and when it knows it no more: over real sockets, a small engine by pages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from forebay.engines.vllm import VLLM
from forebay.router import engine_monitor
from forebay.router.engine_monitor import EngineMonitor, version_in
from forebay.router.http.client import ConnectionPool as Connections
from forebay.rules import progress
from forebay.simulator.http import Connection, Request
from testing.fleet import Pool, fleet

Page = tuple[int, bytes]
MODELS = b'{"object":"list","data":[{"id":"m","max_model_len":1024}]}'
METRICS = b"vllm:num_requests_running{} 4.0\nvllm:generation_tokens_total{} 7.0\n"
PAGES: dict[str, Page] = {
    "/v1/models": (200, MODELS), "/metrics": (200, METRICS), "/version": (200, b'{"version":"0.32.0"}'),
}  # fmt: skip
GONE: Page = (503, b"")
STILL = 0.2
"""Seconds after which counters that stand still count as stuck here."""


class Pages:
    """An engine that has these pages, and counts who asks."""

    def __init__(self) -> None:
        self.pages = dict(PAGES)
        self.asked: list[str] = []

    async def answer(self, request: Request, connection: Connection) -> None:
        self.asked.append(request.path)
        connection.reply(*self.pages.get(request.path, (404, b'{"detail":"Not Found"}')))


@asynccontextmanager
async def watched(working: bool = False) -> AsyncIterator[tuple[Pages, EngineMonitor]]:
    pages = Pages()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(pages.answer), "127.0.0.1", 0)
    address = ("127.0.0.1", server.sockets[0].getsockname()[1])
    upstream = Connections()
    upstream.watch()
    monitor = EngineMonitor(address, upstream, lambda: None, lambda: working)
    task = asyncio.create_task(monitor.watch())
    try:
        async with asyncio.timeout(20):
            yield pages, monitor
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        upstream.close()
        server.close()


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_SECONDS", "STARTING_PROBE_SECONDS", "METRICS_SECONDS"):
        monkeypatch.setattr(engine_monitor, name, 0.02)


def run(story: Callable[[], Awaitable[None]]) -> None:
    uvloop.run(story())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b'{"version":"0.32.0"}', "0.32.0"),
        (b'{"version":"0.33.0.dev12+gabc","more":1}', "0.33.0.dev12+gabc"),
        (b'{"version":"dev"}', "dev"),
        (b'{"version":""}', ""),
        (b'{"version":32}', ""),
        (b'{"version":null}', ""),
        (b'{"version":"a, b"}', ""),
        (b'{"version":"%b"}' % (b"1" * 65), ""),
        (b'{"detail":"x"}', ""),
        (b'"0.32.0"', ""),
        (b"0.32.0", ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_a_version_is_one_word_of_the_engine(body: bytes, version: str) -> None:
    assert version_in(body) == version


def test_a_replica_that_serves_knows_the_version_of_its_engine(tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            assert f.side("chat-0").report().engine_version == VLLM.supported.newest

    run(story)


@pytest.mark.parametrize("status", [404, 401, 200])
def test_an_engine_that_says_no_version_is_asked_once_and_says_none(status: int) -> None:
    async def story() -> None:
        async with watched() as (pages, monitor):
            assert monitor.version is None, "nobody has asked"
            pages.pages["/version"] = (status, b"{}")
            await until(lambda: monitor.up)
            assert monitor.version == ""
            await until(lambda: pages.asked.count("/metrics") > 5)
            assert pages.asked.count("/version") == 1

    run(story)


def test_an_engine_that_cannot_say_it_yet_is_asked_again() -> None:
    async def story() -> None:
        async with watched() as (pages, monitor):
            pages.pages["/version"] = (500, b"")
            await until(lambda: pages.asked.count("/version") > 2)
            assert monitor.up
            assert monitor.version is None, "it has not said that it says none"
            pages.pages["/version"] = PAGES["/version"]
            await until(lambda: monitor.version == "0.32.0")

    run(story)


def test_an_engine_that_was_away_may_be_another_and_until_then_the_last_word_holds() -> None:
    async def story() -> None:
        async with watched() as (pages, monitor):
            await until(lambda: monitor.version == "0.32.0")
            pages.pages["/v1/models"] = GONE
            await until(lambda: not monitor.up)
            assert monitor.version == "0.32.0"
            pages.pages |= {"/v1/models": PAGES["/v1/models"], "/version": (200, b'{"version":"0.33.0"}')}
            await until(lambda: monitor.up)
            assert monitor.version == "0.33.0"

    run(story)


@pytest.mark.parametrize("down", [{"/v1/models": GONE}, {"/v1/models": GONE, "/metrics": GONE}])
@pytest.mark.parametrize("stuck_before", [True, False])
def test_an_engine_that_is_down_is_not_stuck(
    monkeypatch: pytest.MonkeyPatch, down: dict[str, Page], stuck_before: bool
) -> None:
    """It restarts: nothing counts, and nobody is to delete its pod."""
    monkeypatch.setattr(progress, "STUCK_SECONDS", STILL)

    async def story() -> None:
        async with watched(working=True) as (pages, monitor):
            await until(lambda: monitor.stuck if stuck_before else monitor.report())
            pages.pages |= down
            await until(lambda: not monitor.up)
            await asyncio.sleep(2 * STILL)
            report = monitor.report()
            assert report is None or not report.stuck_seconds
            assert not monitor.stuck
            pages.pages |= PAGES
            await until(lambda: monitor.well)

    run(story)


def test_what_a_dead_engine_counted_is_shown_no_more() -> None:
    async def story() -> None:
        async with watched() as (pages, monitor):
            await until(lambda: "num_requests_running" in monitor.text)
            pages.pages["/v1/models"] = GONE
            await until(lambda: not monitor.up)
            assert monitor.text == ""
            assert monitor.report() is None
            pages.pages["/v1/models"] = PAGES["/v1/models"]
            await until(lambda: "num_requests_running" in monitor.text)

    run(story)


@pytest.mark.parametrize("page", [GONE, (404, b"")])
def test_nor_what_an_engine_counted_that_shows_no_metrics_any_more(page: Page) -> None:
    async def story() -> None:
        async with watched() as (pages, monitor):
            await until(lambda: monitor.text)
            pages.pages["/metrics"] = page
            await until(lambda: not monitor.text)
            assert monitor.up
            assert monitor.report() is None

    run(story)


def test_a_sidecar_knows_the_longest_context_that_its_engine_lists() -> None:
    async def story() -> None:
        async with watched() as (pages, monitor):
            await until(lambda: monitor.context == 1024)
            pages.pages["/v1/models"] = (200, MODELS.replace(b"1024", b"2048"))
            await until(lambda: monitor.context == 2048)

    run(story)
