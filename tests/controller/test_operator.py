"""What the operator says of itself, and what its watches do with an event."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from kubernetes.aio import client

from forebay.controller.__main__ import DEAF_SECONDS, STUCK_SECONDS, Operator
from forebay.controller.cluster import POD, Cluster, ClusterError, Kind, Object
from forebay.controller.handlers import LABELLED, WATCHED, selector, watch_settings
from forebay.resources.summary import decode
from tests.controller.fleets import SETTINGS


def with_operator(scene: Callable[[Operator, float], Awaitable[None]]) -> None:
    """An operator that has listed everything and is connected to nobody."""

    async def run() -> None:
        async with Cluster(client.ApiClient(client.Configuration(host="http://127.0.0.1:1"))) as cluster:
            made = Operator(replace(SETTINGS, host="127.0.0.1"), cluster)
            made.listed.set()
            now = asyncio.get_running_loop().time()
            made.queue.last_turn = made.watch.last_event = now
            await scene(made, now)
            await made.reports.close()

    asyncio.run(run())


def pod(revision: int) -> Object:
    return {"metadata": {"name": "a", "namespace": "team", "resourceVersion": str(revision)}}


def test_an_idle_cluster_is_no_sickness() -> None:
    async def scene(made: Operator, now: float) -> None:
        made.watch.last_event = now - 100_000
        assert made.sickness() == ""

    with_operator(scene)


def test_a_stuck_work_loop_is() -> None:
    async def scene(made: Operator, now: float) -> None:
        made.queue.last_turn = now - STUCK_SECONDS - 1
        assert "stuck" in made.sickness()

    with_operator(scene)


def test_watches_that_stay_silent_about_a_change_are() -> None:
    async def scene(made: Operator, now: float) -> None:
        made.watch.last_event, made.missed = now - 100, now - DEAF_SECONDS - 1
        assert "silent" in made.sickness()
        made.watch.take(POD, {"type": "MODIFIED", "object": pod(2)})
        assert made.sickness() == ""

    with_operator(scene)


def test_an_event_that_changes_something_marks_its_namespace() -> None:
    async def scene(made: Operator, now: float) -> None:
        events: list[tuple[Any, int, int]] = [(None, 5, 1), ("MODIFIED", 4, 1), ("ADDED", 5, 1), ("DELETED", 6, 1)]
        for kind, revision, depth in events:
            made.watch.take(POD, {"type": kind, "object": pod(revision)})
            assert len(made.queue) == depth
        assert made.cache.get("Pod", "team", "a") is None

    with_operator(scene)


def test_only_what_carries_our_label_is_watched() -> None:
    settings = watch_settings()
    assert {kind.kind for kind in WATCHED if not selector(kind)} == {"LocalModelPool", "CloudFallbackPolicy"}
    assert len(settings.watching.label_selectors) == len(LABELLED)
    assert not settings.posting.enabled


def test_nothing_is_marked_before_everything_is_listed() -> None:
    async def scene(made: Operator, now: float) -> None:
        api = FakeApi({kind.plural: 1200 if kind is POD else 1 for kind in WATCHED}, slow="statefulsets")
        made.listed.clear()
        listing = asyncio.create_task(made.watch.list(api, ()))  # type: ignore[arg-type]
        await api.waits.wait()
        assert not made.listed.is_set()
        assert len(made.queue) == 0
        api.go.set()
        assert await listing == {"team"}
        assert made.listed.is_set()
        assert len(made.queue) == 1
        assert len(list(made.cache.of("Pod"))) == 1200

    with_operator(scene)


def test_a_first_list_that_broke_off_loses_nobody() -> None:
    async def scene(made: Operator, now: float) -> None:
        api = FakeApi({kind.plural: 1 for kind in WATCHED}, broken="statefulsets")
        made.listed.clear()
        with pytest.raises(ClusterError):
            await made.watch.list(api, ())  # type: ignore[arg-type]
        assert not made.listed.is_set()
        api.broken = ""
        assert await made.watch.list(api, ()) == {"team"}  # type: ignore[arg-type]
        assert await made.watch.list(api, ()) == set()  # type: ignore[arg-type]

    with_operator(scene)


class FakeApi:
    """Lists in pages: what a real API server does only with thousands of objects."""

    def __init__(self, counts: dict[str, int], slow: str = "", broken: str = "") -> None:
        self.counts, self.slow, self.broken = counts, slow, broken
        self.waits, self.go = asyncio.Event(), asyncio.Event()

    async def pages(self, kind: Kind, namespace: str, *, labels: str) -> AsyncIterator[tuple[list[Object], str]]:
        if kind.plural == self.broken:
            raise ClusterError(0, "reset")
        if kind.plural == self.slow:
            self.waits.set()
            await self.go.wait()
        metadata = [
            {"name": f"o-{n}", "namespace": "team", "resourceVersion": "5"} for n in range(self.counts[kind.plural])
        ]
        objects = [{"kind": kind.kind, "apiVersion": "v1", "metadata": one} for one in metadata]
        for at in range(0, len(objects), 500):
            yield objects[at : at + 500], "9"


def test_the_summary_is_there_before_the_first_pass() -> None:
    async def scene(made: Operator, now: float) -> None:
        page = made._summary_page()
        assert (page.status, page.content_type) == (200, "application/json")
        assert decode(page.body).fleets == ()

    with_operator(scene)
