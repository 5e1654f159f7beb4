"""What one namespace refuses, delays or loses is its own business: the others go on, and it heals by itself."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import kopf
import msgspec
import pytest
import uvloop

from forebay.controller import work_queue
from forebay.controller.__main__ import Operator
from forebay.controller.cluster import embedded_kopf, handlers, lease
from forebay.controller.cluster.event_recorder import Recorder
from forebay.controller.cluster.kubernetes_api import (
    LEASE,
    POLICY,
    POOL,
    Cluster,
    ClusterError,
    Listed,
    Object,
    ObjectKind,
    _item,
)
from forebay.controller.cluster.lease import DURATION_SECONDS, Leases
from forebay.controller.plan.actions import Note, Regarding
from forebay.controller.work_queue import QueueTimes, WorkQueue
from forebay.resources.reasons import EventReason
from tests.controller.fleets import SETTINGS

LOST = ClusterError(403, 'leases is forbidden: User "forebay" cannot get resource in the namespace "b"')
TROUBLES = (LOST, ClusterError(404, "not found"), ClusterError(0, "no answer"), ClusterError(500, "etcd"))


class Api(Cluster):
    """Empty namespaces; `refused` holds what is answered instead, by namespace, or by the plural of a kind."""

    def __init__(self) -> None:
        self.refused: dict[str, Exception] = {}
        self.leases: dict[str, Object] = {}
        self.events: list[Object] = []
        self.slow: asyncio.Event | None = None
        self.version = 0
        self.kopf: dict[str, Exception] = {}  # what kopf ends with, by namespace
        self.starts: list[str] = []
        self.objects: dict[str, list[Object]] = {}

    async def run_kopf(
        self, registry: kopf.OperatorRegistry, namespace: str, stop: asyncio.Event, take_signals: Callable[[], None]
    ) -> None:
        """In place of a kopf, which needs a real API server."""
        self.starts.append(namespace)
        while not stop.is_set():
            await asyncio.sleep(0.005)
            if error := self.kopf.get(namespace) or self.refused.get(namespace):
                raise error

    def check(self, namespace: str, kind: ObjectKind) -> None:
        for key in (namespace, kind.plural):
            if key in self.refused:
                raise self.refused[key]

    async def pages(
        self, kind: ObjectKind, namespace: str = "", *, labels: str = ""
    ) -> AsyncIterator[tuple[Iterator[Listed], str]]:
        self.check(namespace, kind)
        found = (obj for obj in self.objects.get(namespace, ()) if obj["kind"] == kind.kind)
        raw = [msgspec.Raw(msgspec.json.encode(obj)) for obj in found]
        yield iter([Listed(kind, _item.decode(one).metadata, one) for one in raw]), "7"

    async def watch(
        self, kind: ObjectKind, namespace: str, revision: str, *, labels: str = ""
    ) -> AsyncIterator[Object]:
        self.check(namespace, kind)
        await asyncio.sleep(0.01)
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "2"}}}

    async def get(self, kind: ObjectKind, namespace: str, name: str) -> Object:
        self.check(namespace, kind)
        if namespace not in self.leases:
            raise ClusterError(404, "no lease")
        return self.leases[namespace]

    async def create(self, obj: Object, manager: str = "") -> Object:
        namespace = obj["metadata"]["namespace"]
        if obj["kind"] == "Event":
            if namespace == "a" and self.slow is not None:
                await self.slow.wait()
            self.events.append(obj)
            return obj
        self.check(namespace, LEASE)
        self.version += 1
        self.leases[namespace] = {
            **obj,
            "metadata": {**obj["metadata"], "uid": "uid", "resourceVersion": str(self.version)},
        }
        return obj

    async def patch(self, kind: ObjectKind, namespace: str, name: str, patch: Object, subresource: str = "") -> Object:
        self.check(namespace, kind)
        kept = self.leases[namespace]
        self.leases[namespace] = {**kept, "spec": {**kept["spec"], **patch["spec"]}}
        return kept


def custom(kind: ObjectKind, namespace: str) -> Object:
    metadata = {"name": "o", "namespace": namespace, "uid": "uid-o", "resourceVersion": "5"}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def with_operator(scene: Callable[[Operator, Api], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator for the namespaces a and b, whose lists, watches and Leases run."""
    for module, name, value in (
        (handlers, "PAUSE_FIRST", 0.01), (handlers, "PAUSE_MOST", 0.02), (lease, "YIELD_SECONDS", 0.0),
        (lease, "RENEW_SECONDS", 0.02),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("forebay.controller.__main__.PAUSE_SECONDS", 0.02)

    async def run() -> None:
        api = Api()
        monkeypatch.setattr(handlers, "run_kopf", api.run_kopf)
        made = Operator(replace(SETTINGS, namespaces=("a", "b")), api)
        tasks = [
            asyncio.create_task(work)
            for work in (made.leases.run(), made._in_each_scope(made._list), made._in_each_scope(made._follow))
        ]
        async with asyncio.timeout(20):
            await scene(made, api)
        assert not any(task.done() for task in tasks), "a part of the operator ended"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    uvloop.run(run())


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("trouble", [LOST, ClusterError(500, "etcd"), RuntimeError("a bug")], ids=str)
def test_a_namespace_that_is_refused_from_the_start_stops_nobody_and_comes_by_itself(
    trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(made: Operator, api: Api) -> None:
        api.refused["b"] = trouble
        await until(lambda: made.leases.may_act("a") and made.watch.whole["a"].is_set())
        await asyncio.sleep(0.2)
        assert not made.leases.may_act("b")
        made.queue.last_turn = asyncio.get_running_loop().time()
        assert made.unready() == ""
        assert ("b", "lease") in set(made._refusals())
        del api.refused["b"]
        await until(lambda: made.leases.may_act("b") and made.watch.whole["b"].is_set())
        await until(lambda: not list(made._refusals()))

    with_operator(scene, monkeypatch)


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_a_namespace_that_is_lost_later_is_told_and_heals(
    trouble: ClusterError, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(made: Operator, api: Api) -> None:
        await until(lambda: all(made.leases.may_act(name) and made.watch.whole[name].is_set() for name in "ab"))
        api.refused["b"] = trouble
        await until(lambda: ("b", "watch") in set(made._refusals()))
        assert "a" not in {namespace for namespace, _ in made._refusals()}
        assert made.leases.may_act("a")
        page = made._metrics_page().body.decode()
        assert 'forebay_operator_namespace_refused{namespace="b",what="watch"} 1.0' in page
        assert 'forebay_operator_namespace_refused{namespace="a"' not in page
        del api.refused["b"]
        await until(lambda: not list(made._refusals()) and made.leases.may_act("b"))
        assert made.leases.losses("b") == 0

    with_operator(scene, monkeypatch)


def test_a_kind_that_does_not_exist_yet_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(made: Operator, api: Api) -> None:
        api.refused[POLICY.plural] = ClusterError(404, "the server could not find the requested resource")
        await until(lambda: made.watch.whole["a"].is_set() and made.watch.whole["b"].is_set())
        assert POLICY.plural in made.watch.problem("a")
        del api.refused[POLICY.plural]
        await until(lambda: not made.watch.problem("a") and not made.watch.problem("b"))

    with_operator(scene, monkeypatch)


@pytest.mark.parametrize("trouble", [RuntimeError("watch is forbidden", {"code": 403}), ValueError()], ids=str)
def test_a_kopf_that_ends_is_started_anew_in_its_scope_alone(
    trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(made: Operator, api: Api) -> None:
        api.objects["b"] = [custom(POOL, "b")]
        await until(lambda: api.starts and all(event.is_set() for event in made.watch.whole.values()))
        api.kopf["b"] = trouble
        await until(lambda: api.starts.count("b") > 3)
        assert api.starts.count("a") == 1
        assert "kopf ended: " in made.watch.problem("b")
        assert made.watch.problem("a") == ""
        assert ("b", "watch") in set(made._refusals())
        await made.reconciler.unheard("b", made.watch.problem("b"))
        await made.reconciler.unheard("b", made.watch.problem("b"))
        (event,) = api.events
        assert "does not hear of changes in b: kopf ended: " in event["note"]
        del api.kopf["b"]
        await until(lambda: not made.watch.problem("b"))

    with_operator(scene, monkeypatch)


def test_a_kopf_that_does_not_tell_what_a_list_shows_is_stopped_in_its_scope_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(made: Operator, api: Api) -> None:
        await until(lambda: sorted(api.starts) == ["a", "b"])
        await asyncio.sleep(0.1)
        assert api.starts.count("b") == 1
        api.objects["b"] = [custom(POOL, "b")]
        await made.watch.list(api, "b")
        assert not made.watch.deaf("b")
        made.watch._untold[POOL, "b"] -= handlers.DEAF_SECONDS + 1
        assert (made.watch.deaf("a"), made.watch.deaf("b")) == (False, True)
        await until(lambda: api.starts.count("b") == 2)
        assert not made.watch.deaf("b")
        assert api.starts.count("a") == 1
        assert made.watch.problem("b") == ""

    with_operator(scene, monkeypatch)


def test_what_kopf_tells_is_no_longer_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(made: Operator, api: Api) -> None:
        await until(made.watch.whole["b"].is_set)
        made.watch._untold[POOL, "b"] = asyncio.get_running_loop().time()
        await made.watch._handler(POOL, "b")(event={"type": "MODIFIED", "object": custom(POOL, "b")})
        assert not made.watch._untold
        assert len(made.queue) == 1

    with_operator(scene, monkeypatch)


def test_a_kopf_that_ends_takes_no_task_of_others_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a login a real kopf ends at once, and what began after it goes on; a signal is not for it."""

    async def nobody(**_: Any) -> None:
        pass

    monkeypatch.setattr(embedded_kopf, "_login", nobody)

    async def scene() -> None:
        threads = threading.active_count()
        stop, taken = asyncio.Event(), list[int]()
        registry = embedded_kopf.new_registry()
        kopf.on.event(POOL.api_version, POOL.plural, registry=registry)(lambda **_: None)
        running = asyncio.create_task(embedded_kopf.run_kopf(registry, "a", stop, lambda: taken.append(1)))
        await asyncio.sleep(0)
        other = asyncio.create_task(asyncio.sleep(30))
        async with asyncio.timeout(4):
            with pytest.raises(kopf.LoginError):
                await running
        assert taken == [1]
        assert asyncio.all_tasks() == {other, asyncio.current_task()}
        assert threading.active_count() == threads
        other.cancel()

    uvloop.run(scene())


def test_a_lease_that_goes_to_somebody_else_is_waited_for_in_its_namespace_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "YIELD_SECONDS", 0.0)

    async def scene() -> None:
        api, now = Api(), [1000.0]
        mine = Leases(api, Recorder(api, "me"), "me", ("a", "b"), clock=lambda: now[0])
        other = Leases(api, Recorder(api, "other"), "other", ("b",), clock=lambda: now[0])
        for name in "ab":
            await mine.turn(name)
        await other.turn("b")
        now[0] += DURATION_SECONDS + 1
        await mine.turn("a")
        await other.turn("b")
        await mine.turn("b")
        assert (mine.may_act("a"), mine.may_act("b"), other.may_act("b")) == (True, False, True)
        assert (mine.losses("a"), mine.losses("b")) == (0, 1)
        await other.release()
        await mine.turn("b")
        assert mine.may_act("b")

    uvloop.run(scene())


def test_passes_that_hang_give_their_slots_to_other_fleets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_queue, "LEND_SECONDS", 0.05)

    async def scene() -> None:
        queue, done, hang = WorkQueue(QueueTimes(debounce=0.0), 2), list[str](), asyncio.Event()

        async def work(key: str) -> float | None:
            if key.startswith("slow"):
                await hang.wait()
            done.append(key)
            return None

        running = asyncio.create_task(queue.run(work))
        for key in (*(f"slow{number}" for number in range(6)), "quick"):
            queue.mark(key)
        async with asyncio.timeout(5):
            await until(lambda: done == ["quick"])
            hang.set()
            await until(lambda: len(done) == 7)
        assert queue._slots._value == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    uvloop.run(scene())


def test_an_event_that_hangs_in_one_namespace_delays_none_in_another() -> None:
    async def scene() -> None:
        api = Api()
        api.slow, recorder = asyncio.Event(), Recorder(api, "operator")
        notes = [
            Note(Regarding("v1", "Pod", namespace, "p", f"uid-{namespace}"), EventReason.CREATED, "Create", "text")
            for namespace in "ab"
        ]
        first = asyncio.create_task(recorder.write(notes[0]))
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await recorder.write(notes[1])
        assert [event["metadata"]["namespace"] for event in api.events] == ["b"]
        api.slow.set()
        await first

    uvloop.run(scene())


def test_a_missing_right_is_told_from_what_a_policy_or_an_ending_namespace_refuses() -> None:
    assert LOST.forbidden
    assert not ClusterError(403, 'pods "x" is forbidden: exceeded quota: q').forbidden
    assert not ClusterError(403, "services is forbidden: unable to create new content in namespace b").forbidden
