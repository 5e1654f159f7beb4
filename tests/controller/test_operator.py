"""What the operator says of itself, and what its watches do with an event."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import aiohttp
import msgspec
import pytest
import uvloop
from kubernetes.aio import client

from forebay.controller.__main__ import BLIND_SECONDS, STUCK_SECONDS, Operator
from forebay.controller.cluster import handlers
from forebay.controller.cluster.embedded_kopf import BACKOFFS, watch_settings
from forebay.controller.cluster.handlers import PAUSE_MOST, WATCHED, selector
from forebay.controller.cluster.kubernetes_api import (
    OWNED,
    POD,
    Cluster,
    ClusterError,
    Listed,
    Object,
    ObjectKind,
    _item,
    _lines,
)
from forebay.controller.cluster.lease import DURATION_SECONDS
from forebay.resources.summary import decode
from tests.controller.fleets import SETTINGS


def with_operator(scene: Callable[[Operator, float], Awaitable[None]]) -> None:
    """An operator that has listed everything and is connected to nobody."""

    async def run() -> None:
        async with Cluster(client.ApiClient(client.Configuration(host="http://127.0.0.1:1"))) as cluster:
            made = Operator(replace(SETTINGS, host="127.0.0.1"), cluster)
            made.listed.set()
            made.watch.whole[""].set()
            now = asyncio.get_running_loop().time()
            made.queue.last_turn = made.watch.last_event = now
            await scene(made, now)
            await made.reports.close()

    uvloop.run(run())


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
    assert not settings.posting.enabled


def test_a_watch_without_bookmarks_is_given_up_and_tried_again_within_seconds() -> None:
    settings = watch_settings()
    assert 60 < settings.watching.inactivity_timeout < 90
    assert sum(BACKOFFS) < PAUSE_MOST  # a kopf that has run for longer has got through
    assert settings.process.ultimate_exiting_timeout is None


def test_nothing_is_marked_before_everything_is_listed() -> None:
    async def scene(made: Operator, now: float) -> None:
        api = FakeApi({kind.plural: 1200 if kind is POD else 1 for kind in WATCHED}, slow="statefulsets")
        made.listed.clear()
        made.watch.whole[""].clear()
        listing = asyncio.create_task(made.watch.list(api, ""))  # type: ignore[arg-type]
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
        made.watch.whole[""].clear()
        with pytest.raises(ClusterError):
            await made.watch.list(api, "")  # type: ignore[arg-type]
        assert not made.listed.is_set()
        api.broken = ""
        assert await made.watch.list(api, "") == {"team"}  # type: ignore[arg-type]
        assert await made.watch.list(api, "") == set()  # type: ignore[arg-type]

    with_operator(scene)


def test_what_pools_own_is_followed_from_where_a_watch_ended_and_listed_anew_when_that_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(made: Operator, now: float) -> None:
        changed = {
            "type": "MODIFIED",
            "object": {"metadata": {"name": "o-0", "namespace": "team", "resourceVersion": "20"}},
        }
        bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "30"}}}
        api = FakeApi({kind.plural: 1 for kind in WATCHED})
        api.script = [[changed, bookmark], [ClusterError(0, "reset")], [ClusterError(410, "too old")]]
        await made.watch.list(api, "")  # type: ignore[arg-type]
        monkeypatch.setattr(handlers, "run_kopf", lambda *_: asyncio.Event().wait())
        following = asyncio.create_task(made.watch.follow(api, "", lambda: None))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            while len(api.watched.get("pods", ())) < 4:
                await asyncio.sleep(0.01)
        assert api.watched == {kind.plural: ["9"] for kind in OWNED} | {"pods": ["9", "30", "30", "9"]}
        assert (api.lists["pods"], api.lists["services"]) == (2, 1)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    with_operator(scene)


class FakeApi:
    """Lists in pages and watches by a script: what a real API server does only now and then."""

    def __init__(self, counts: dict[str, int], slow: str = "", broken: str = "") -> None:
        self.counts, self.slow, self.broken = counts, slow, broken
        self.waits, self.go = asyncio.Event(), asyncio.Event()
        self.script: list[list[Any]] = []
        self.watched: dict[str, list[str]] = {}
        self.lists: Counter[str] = Counter()

    async def pages(
        self, kind: ObjectKind, namespace: str, *, labels: str
    ) -> AsyncIterator[tuple[Iterator[Listed], str]]:
        self.lists[kind.plural] += 1
        if kind.plural == self.broken:
            raise ClusterError(0, "reset")
        if kind.plural == self.slow:
            self.waits.set()
            await self.go.wait()
        metadata = [
            {"name": f"o-{n}", "namespace": "team", "resourceVersion": "5"} for n in range(self.counts[kind.plural])
        ]
        raw = [msgspec.Raw(msgspec.json.encode({"metadata": one})) for one in metadata]
        listed = [Listed(kind, _item.decode(one).metadata, one) for one in raw]
        for at in range(0, len(listed), 500):
            yield iter(listed[at : at + 500]), "9"

    async def watch(self, kind: ObjectKind, namespace: str, revision: str, *, labels: str) -> AsyncIterator[Object]:
        self.watched.setdefault(kind.plural, []).append(revision)
        if kind is not POD or not self.script:
            await asyncio.Event().wait()
        for event in self.script.pop(0):
            if isinstance(event, ClusterError):
                raise event
            yield event


def test_the_summary_is_there_before_the_first_pass() -> None:
    async def scene(made: Operator, now: float) -> None:
        page = made._summary_page()
        assert (page.status, page.content_type) == (200, "application/json")
        assert decode(page.body).fleets == ()

    with_operator(scene)


class Halting:
    """A body that goes on for a while, and then nothing comes."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def readany(self) -> bytes:
        if not self.pieces:
            await asyncio.Event().wait()
        return self.pieces.pop(0)


def test_a_watch_that_says_nothing_for_too_long_is_given_up() -> None:
    async def scene() -> None:
        silent = cast(aiohttp.StreamReader, Halting([b'{"a"', b': 1}\n{"b"']))
        heard = []
        with pytest.raises(TimeoutError):
            async for line in _lines(silent, 0.05):
                heard.append(line)
        assert heard == [b'{"a": 1}']

    uvloop.run(scene())


def test_an_operator_whose_watch_of_pods_is_silent_is_not_ready_and_not_restarted() -> None:
    async def scene(made: Operator, now: float) -> None:
        made.leases.scopes[""].held.set()
        made.leases.scopes[""].renewed = made.leases.clock()
        made.leases.scopes[""].problem = ""
        assert made.unready() == ""
        made.watch._heard[POD, ""] = now - BLIND_SECONDS - 1
        assert "has been silent" in made.unready()
        assert made.sickness() == ""
        made.watch._hear(POD, "")
        assert made.unready() == ""

    with_operator(scene)


def test_an_operator_that_cannot_renew_its_lease_does_nothing_and_says_so() -> None:
    async def scene(made: Operator, now: float) -> None:
        assert "not held yet" in made.unready()
        made.leases.scopes[""].held.set()
        made.leases.scopes[""].renewed = made.leases.clock() - DURATION_SECONDS - 1
        made.leases.scopes[""].problem = "the Lease could not be renewed"
        assert "could not be renewed" in made.unready()
        assert await made._pass("team") == 1.0

    with_operator(scene)
