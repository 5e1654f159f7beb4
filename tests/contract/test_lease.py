"""Two operators and one Lease, against a real API server."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from kubernetes import client

from forebay.controller.cluster import lease as leases
from forebay.controller.cluster.event_recorder import Recorder
from forebay.controller.cluster.kubernetes_api import EVENT, LEASE, Cluster
from forebay.controller.cluster.lease import Leases
from forebay.resources import names
from tests.contract.scene import in_cluster

pytestmark = pytest.mark.apiserver


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def operator(cluster: Cluster, me: str, clock: Clock, *, common: str, namespaces: tuple[str, ...] = ()) -> Leases:
    return Leases(cluster, Recorder(cluster, me), me, namespaces, common, clock)


def scene_in(api: client.ApiClient, namespace: str, act: Callable[[Cluster, str], Awaitable[None]]) -> None:
    async def scene(cluster: Cluster) -> None:
        await act(cluster, namespace)

    in_cluster(api, scene)


def test_the_second_waits_says_so_and_takes_over_when_the_first_ends(api: client.ApiClient, namespace: str) -> None:
    async def act(cluster: Cluster, common: str) -> None:
        clock = Clock()
        first, second = (operator(cluster, f"ns/{word}", clock, common=common) for word in ("first", "second"))
        await first.turn()
        for _ in range(3):
            await second.turn()
        assert (first.may_act("team"), second.may_act("team")) == (True, False)
        assert "ns/first holds the Lease forebay-operator" in second.scopes[""].problem
        events, _ = await cluster.list(EVENT, common)
        (told,) = [event for event in events if event["reason"] == "OperatorWaits"]
        assert told["note"].startswith("ns/second waits: another operator is at work: ns/first")
        await first.release()
        await second.turn()
        assert second.may_act("team")

    scene_in(api, namespace, act)


def test_a_silent_holder_is_replaced_and_waits_when_it_comes_back(api: client.ApiClient, namespace: str) -> None:
    async def act(cluster: Cluster, common: str) -> None:
        clock = Clock()
        first, second = (operator(cluster, word, clock, common=common) for word in ("first", "second"))
        await first.turn()
        await second.turn()
        clock.now += leases.DURATION_SECONDS + 1
        assert not first.may_act("team")  # it could not renew, so it has stopped by itself before anybody replaces it
        await second.turn()
        assert second.may_act("team")
        assert first.losses("team") == 0
        await first.turn()
        assert (first.may_act("team"), first.losses("team")) == (False, 1)
        assert "second" in first.problem("")

    scene_in(api, namespace, act)


def test_the_first_renewal_after_an_outage_is_told(api: client.ApiClient, namespace: str) -> None:
    async def act(cluster: Cluster, common: str) -> None:
        one = operator(cluster, "one", Clock(), common=common)
        await one.turn()
        await one.turn()
        assert not one.scopes[""].back.is_set()
        one.scopes[""].problem = "the API server does not answer"  # as run() notes it
        await one.turn()
        assert one.scopes[""].back.is_set()
        await one.scopes[""].wait_back(60)

    scene_in(api, namespace, act)


def test_of_two_that_find_it_free_one_gets_it(api: client.ApiClient, namespace: str) -> None:
    async def act(cluster: Cluster, common: str) -> None:
        made = [operator(cluster, f"op-{number}", Clock(), common=common) for number in range(5)]
        await asyncio.gather(*(one.turn() for one in made), return_exceptions=True)
        await asyncio.gather(*(one.turn() for one in made), return_exceptions=True)
        assert sum(one.may_act("team") for one in made) == 1

    scene_in(api, namespace, act)


def test_a_restarted_operator_goes_on_at_once(api: client.ApiClient, namespace: str) -> None:
    async def act(cluster: Cluster, common: str) -> None:
        before = operator(cluster, "same", Clock(), common=common)
        await before.turn()
        after = operator(cluster, "same", Clock(5.0), common=common)
        await after.turn()
        assert after.may_act("team")

    scene_in(api, namespace, act)


def test_the_whole_clusters_operator_leaves_a_namespace_to_its_own(
    api: client.ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "YIELD_SECONDS", 0.0)

    async def act(cluster: Cluster, team: str) -> None:
        clock = Clock()
        whole = operator(cluster, "whole", clock, common="kube-public")
        own = operator(cluster, "own", clock, common="kube-public", namespaces=(team,))
        await whole.turn()
        await own.turn(team)
        await whole.turn()
        assert (whole.may_act(team), own.may_act(team), whole.may_act("another")) == (False, True, True)
        await own.release()
        await whole.turn()
        assert whole.may_act(team)
        await whole.release()
        held = await cluster.get(LEASE, "kube-public", names.LEASE)
        assert not held["spec"].get("holderIdentity")

    scene_in(api, namespace, act)
