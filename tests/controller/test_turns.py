"""Turns at GPUs between fleets, what nodes have, how long starts take, and how many Events an object may have."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvloop

from forebay.controller.cluster.event_recorder import BUDGET, Recorder
from forebay.controller.cluster.kubernetes_api import Cluster, ClusterError, Object, ObjectKind
from forebay.controller.cluster.node_watch import NodeWatch
from forebay.controller.plan.actions import Note, Regarding
from forebay.controller.sizing.arbitration import _lacks_gpus, gpus_of
from forebay.controller.sizing.gpu_bids import GpuBids
from forebay.controller.sizing.starts import Starts
from forebay.resources.reasons import EventReason
from forebay.rules.arbitrate import Bid
from tests.controller.fleets import NOW, pool, replica, spec

GPU = "nvidia.com/gpu"


def bid(pool: str, **more: Any) -> Bid:
    return replace(Bid(pool, 1, 2, 2, 1, gpus=GPU), **more)


def test_fleets_see_what_others_ask_for_and_forget_what_is_old() -> None:
    ledger = GpuBids(NOW)
    ledger.tell("a", (bid("a/chat"),), NOW)
    ledger.tell("b", (bid("b/chat"),), NOW)
    assert [item.pool for item in ledger.rivals("a", NOW + 59)] == ["b/chat"]
    assert ledger.rivals("a", NOW + 60) == ()
    ledger.forget("b")
    assert ledger.rivals("a", NOW) == ()


def test_after_a_restart_everybody_is_heard_before_anybody_asks() -> None:
    ledger = GpuBids(NOW)
    ledger.tell("a", (), NOW)
    assert not ledger.knows(["a", "b"], NOW + 1)
    assert ledger.knows(["a", "b"], NOW + 60)
    ledger.tell("b", (), NOW + 2)
    assert ledger.knows(["a", "b"], NOW + 2)


def test_only_those_that_wait_for_gpus_have_the_nodes_looked_at() -> None:
    ledger = GpuBids(NOW)
    ledger.tell("a", (bid("a/chat"), bid("a/cpu", gpus="")), NOW)
    ledger.tell("b", (bid("b/chat", gpus=f"{GPU}#0123"), bid("b/full", wanted=1, starting=1, gpus="x")), NOW)
    assert ledger.waiting() == {GPU: frozenset({"a", "b"})}


def test_pools_with_the_same_resource_and_other_nodes_do_not_compete() -> None:
    plain = spec(engine={"gpus": 1})
    big = spec(engine={"gpus": 1, "podTemplate": {"spec": {"nodeSelector": {"gpu": "h100"}}}})
    labelled = spec(engine={"gpus": 1, "podTemplate": {"metadata": {"labels": {"team": "a"}}}})
    assert gpus_of(plain) == GPU
    assert gpus_of(big).startswith(f"{GPU}#")
    assert gpus_of(labelled) == GPU
    assert gpus_of(spec(engine={"gpus": 0})) == ""
    assert gpus_of(spec(engine={"gpus": 1, "podTemplate": {"spec": [None]}})) == GPU


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        ("", None),
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", True),
        ("0/3 nodes are available: 1 node(s) had untolerated taint {master: }, 2 Insufficient nvidia.com/gpu.", True),
        ("0/3 nodes are available: 2 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {nvidia.com/gpu: }.",
         False),
        ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.", False),
        ("0/3 nodes are available: 3 Insufficient cpu.", False),
        ("pod has unbound immediate PersistentVolumeClaims.", False),
        ("no nodes available to schedule pods", False),
    ],
)  # fmt: skip
def test_whether_gpus_are_what_a_replica_lacks_is_in_the_schedulers_words(words: str, lacks: bool | None) -> None:
    found = pool(pods=(replica(0, ready=False, unschedulable=words),))
    assert _lacks_gpus(found, spec(engine={"gpus": 1})) is lacks
    refused = replace(found, create_failure="exceeded quota")
    assert _lacks_gpus(refused, spec(engine={"gpus": 1})) is False


def node(name: str, gpus: int | None) -> Object:
    allocatable = {"cpu": "8", **({GPU: str(gpus)} if gpus is not None else {})}
    return {"metadata": {"name": name}, "status": {"allocatable": allocatable}}


def test_more_gpus_on_a_node_or_a_new_node_are_noticed_and_fewer_are_not() -> None:
    nodes = NodeWatch()
    assert nodes.take([node("a", 4), node("b", None)], [GPU], NOW) == frozenset()
    assert nodes.take([node("a", 3), node("b", None)], [GPU], NOW + 1) == frozenset()
    assert nodes.take([node("a", 3), node("b", 1)], [GPU], NOW + 2) == {GPU}
    assert nodes.take([node("b", 1)], [GPU], NOW + 3) == frozenset()
    assert nodes.take([node("b", 1), node("c", 1)], [GPU], NOW + 4) == {GPU}
    assert nodes.roomier == {GPU: NOW + 4}


class Forbidden(Cluster):
    """An API server that lets nobody see the nodes."""

    def __init__(self) -> None:
        self.asked = 0

    async def list(
        self, kind: ObjectKind, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        self.asked += 1
        raise ClusterError(403, "nodes is forbidden")


def test_without_the_right_to_see_nodes_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    nodes, cluster = NodeWatch(), Forbidden()
    for _ in range(3):
        assert uvloop.run(nodes.look(cluster, [GPU], NOW)) == frozenset()
    assert [record.getMessage() for record in caplog.records] == [
        "nodes cannot be read, so withdrawn replicas are asked for by the clock alone: nodes is forbidden"
    ]


def test_a_start_lasts_from_wanted_to_serving_and_ninety_percent_took_no_longer() -> None:
    starts = Starts()
    for number in range(12):
        begun = NOW + 1000 * number
        pod = replica(number, ready=False, created=begun)
        starts = starts.look([pod], begun + 1).look([replace(pod, ready=True)], begun + 10 + number)
        starts = starts.look([replace(pod, ready=False)], begun + 500).look([replace(pod, ready=True)], begun + 600)
    assert starts.seconds == tuple(range(12, 22))
    assert starts.most == 20


def test_a_pod_that_was_ready_when_first_seen_tells_nothing() -> None:
    starts = Starts().look([replica(0, created=NOW - 9000)], NOW)
    assert (starts.seconds, starts.most) == ((), None)


class Written(Cluster):
    """Takes Events."""

    def __init__(self) -> None:
        self.events: list[Object] = []

    async def create(self, obj: Object, manager: str = "") -> Object:
        self.events.append(obj)
        return obj


def test_each_object_has_a_budget_of_new_events_an_hour_and_the_rest_is_counted() -> None:
    cluster, now = Written(), [datetime(2027, 1, 15, tzinfo=UTC)]
    recorder = Recorder(cluster, "operator-0", lambda: now[0])

    async def say(pool: str, number: int) -> None:
        about = Regarding("forebay.dev/v1alpha1", "LocalModelPool", "team", pool, f"uid-{pool}")
        await recorder.write(Note(about, EventReason.SCALED_UP, "Scale", f"step {number}"))

    async def story() -> None:
        for number in range(BUDGET + 7):
            await say("chat", number)
        await say("other", 0)
        now[0] += timedelta(minutes=2)
        await say("chat", 1000)

    uvloop.run(story())
    notes = [event["note"] for event in cluster.events]
    assert len(notes) == BUDGET + 2
    assert recorder.left_out == 7
    assert notes[-2:] == ["step 0", "step 1000 (7 Events before this one were left out)"]
