"""Scaling as a whole, over plan(): hours of simulated time, with a scheduler, few GPUs, and restarts."""

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from forebay.resources.pool import PoolSpec
from forebay.resources.pool_status import MOVED, PoolStatus, ScalingHistory
from tests.controller.fleets import NOW, policy, spec
from tests.controller.world import Team, World, team, told

GPU = "nvidia.com/gpu"
UP = {"scaleUp": {"stabilizationWindowSeconds": 0}}


def gpu_pool(minimum: int = 1, maximum: int = 3, **more: Any) -> PoolSpec:
    """A pool of one GPU a replica."""
    scaling = {"minReplicas": minimum, "maxReplicas": maximum, "behavior": UP, **more.pop("scaling", {})}
    usual = {"engine": {"type": "Simulated", "gpus": 1}, "capacity": {"highReservedPercent": 0}}
    return spec(**{**usual, "scaling": scaling, **more})


def ramp(*points: tuple[float, float]) -> Any:
    """Demand that goes in straight lines from point to point (seconds, requests)."""

    def at(seconds: float) -> float:
        before = max((point for point in points if point[0] <= seconds), default=points[0])
        after = min((point for point in points if point[0] > seconds), default=points[-1])
        if after[0] <= before[0]:
            return before[1]
        return before[1] + (after[1] - before[1]) * (seconds - before[0]) / (after[0] - before[0])

    return at


def steady(requests: float) -> Any:
    return lambda _: requests


def sizes(one: Team, name: str = "chat") -> list[int]:
    return [size for _, size in one.sizes[name]]


@pytest.mark.parametrize("pending", [20, 60])
def test_a_pool_that_asks_for_more_gpus_than_there_are_says_so_spills_and_withdraws(pending: int) -> None:
    one = team("a", {"chat": gpu_pool(scaling={"pendingSeconds": pending})}, {"chat": steady(25)}, (policy(),))
    world = World([one], gpus=2)
    world.run(240)
    assert sizes(one) == [1, 2, 3, 2]
    (unplaced,) = told(one, "ReplicaUnplaced")
    assert "3 replicas are asked for, 2 have a node" in unplaced[1]
    assert "Insufficient nvidia.com/gpu" in unplaced[1]
    (withdrawn,) = told(one, "ReplicaWithdrawn")
    assert withdrawn[1].startswith("replicas 3 -> 2: demand ")
    assert "asked for again in 5 min, or when a node has more GPUs" in withdrawn[1]
    assert [text for _, text in told(one, "OverflowStarted")]
    status = one.pools[0].live_status
    gpus = next(item for item in status["conditions"] if item["type"] == "GPUsAvailable")
    assert (gpus["status"], gpus["reason"]) == ("False", "Withdrawn")
    assert status["overflow"]["state"] == "Active"
    assert status["scaling"]["desiredReplicas"] == 3
    assert [item["reason"] for item in status["scaling"]["decisions"]][:2] == ["Withdrawn", "ReplicaUnplaced"]


def test_a_replica_that_a_quota_refuses_is_unplaced_as_well() -> None:
    one = team("a", {"chat": gpu_pool(scaling={"pendingSeconds": 60})}, {"chat": steady(25)}, (policy(),))
    World([one], quota=2).run(240)
    assert sizes(one) == [1, 2, 3, 2]
    assert "(pods is forbidden: exceeded quota: gpus, limited: 2)" in told(one, "ReplicaUnplaced")[0][1]
    assert "exceeded quota" in told(one, "ReplicaWithdrawn")[0][1]
    assert len(told(one, "ReplicaCreateFailed")) == 1


def test_a_node_with_more_gpus_ends_the_wait_at_once() -> None:
    one = team("a", {"chat": gpu_pool(scaling={"pendingSeconds": 60})}, {"chat": steady(25)}, (policy(),))
    world = World([one], gpus=2)
    world.run(200)
    assert sizes(one)[-1] == 2
    world.more_gpus(1, GPU)
    world.run(10)
    assert sizes(one)[-1] == 3
    world.run(120)
    assert one.pools[0].live_status["scaling"]["reason"] != "Withdrawn"


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True], ids=["one fleet", "two fleets"])
def test_two_pools_and_one_free_gpu_make_at_most_four_attempts_an_hour(apart: bool) -> None:
    specs = {name: gpu_pool(capabilities=[kind]) for name, kind in (("chat", "general"), ("sort", "extraction"))}
    demand = {"chat": steady(25), "sort": steady(25)}
    if apart:
        teams = [team(name, {name: specs[name]}, demand, (policy(),)) for name in specs]
    else:
        teams = [team("both", specs, demand, (policy(),))]
    world = World(teams, gpus=3, period=30)
    most, asking = 0, 0
    while world.now < NOW + 6 * 3600:
        world.run(world.period)
        waiting = [world.unplaced(one, item.name) for one in teams for item in one.pools]
        most, asking = max(most, *waiting), max(asking, sum(waiting))
    grown = sorted(
        at
        for one in teams
        for seen in one.sizes.values()
        for (_, before), (at, after) in pairwise(seen)
        if after > before
    )
    attempts = [at for at in grown if at > 300]  # those that found no node
    an_hour = max(sum(at <= other < at + 3600 for other in attempts) for at in attempts)
    print(
        f"{len(attempts)} attempts in six hours, at most {an_hour} in one; unplaced: {most} of a pool, {asking} in all"
    )
    assert 6 <= len(attempts) <= 24
    assert an_hour <= 4
    assert (most, asking) == (1, 1)
    assert world.gpus == 0


@pytest.mark.slow
def test_events_tell_edges_and_not_ticks() -> None:
    one = team("a", {"chat": gpu_pool(maximum=2)}, {"chat": steady(40)}, (policy(),))
    World([one]).run(3600)
    assert len(told(one, "ScaleLimited")) == 1
    assert len(told(one, "OverflowStarted")) == 1
    assert len(one.notes) <= 6


@pytest.mark.slow
def test_of_two_pools_that_serve_the_same_only_one_grows_for_one_overflow() -> None:
    """Requests name no model, so they spread over the replicas of both pools: at first a little too much for either."""

    def share(name: str) -> Any:
        def at(seconds: float) -> float:
            mine = sum(pod.ready for pod in one.pods.values() if pod.name.startswith(name))
            return 5.0 if seconds < 200 else 20.5 * mine / sum(pod.ready for pod in one.pods.values())

        return at

    one = team(
        "a", {name: gpu_pool() for name in ("chat", "other")}, {n: share(n) for n in ("chat", "other")}, (policy(),)
    )
    World([one]).run(1500)
    assert sorted([sizes(one, "chat")[-1], sizes(one, "other")[-1]]) == [1, 2]
    (held,) = told(one, "ScaleHeld")
    assert "reason SharedDemand; a/" in held[1]
    assert "serves the same requests and starts a replica" in held[1]


def test_a_local_only_pool_at_twice_its_capacity_goes_to_its_maximum() -> None:
    one = team("a", {"chat": gpu_pool(maximum=3, scaling={"behavior": {}})}, {"chat": steady(20)})
    World([one]).run(120)
    assert sizes(one) == [1, 2, 3]


@pytest.mark.slow
def test_advisory_says_the_same_and_writes_nothing() -> None:
    advisory = gpu_pool(scaling={"mode": "Advisory"})
    one = team("a", {"chat": advisory}, {"chat": ramp((0, 5), (200, 5), (400, 25))}, (policy(),))
    world = World([one])
    world.run(100)
    before = list(one.applied)
    world.run(1000)
    assert one.applied == before
    assert sizes(one) == [1]
    assert [text.partition(":")[0] for _, text in told(one, "ScaleAdvised")] == [
        "would change replicas 1 -> 2", "would change replicas 1 -> 3",
    ]  # fmt: skip


RAMP = ramp((0, 5), (600, 5), (1500, 38), (1800, 38), (2400, 4), (20_000, 4))
DOWN = {"scaleDown": {"stabilizationWindowSeconds": 400}}


@cache
def history(restarts: tuple[float, ...], at_once: bool) -> Team:
    """The pool's sizes over a ramp up and down, with the operator restarted at these seconds."""
    behavior = {**DOWN, **(UP if at_once else {"scaleUp": {}})}
    one = team("a", {"chat": gpu_pool(maximum=6, scaling={"behavior": behavior})}, {"chat": RAMP}, (policy(),))
    world = World([one])
    world.run(300)
    for at in restarts:
        world.run(NOW + at - world.now)
        world.restart()
    world.run(NOW + 4800 - world.now)
    return one


@pytest.mark.slow
@pytest.mark.parametrize(("at_once", "first", "every"), [(False, 607.0, 90), (False, 651.0, 190), (True, 633.0, 190)])
def test_ten_restarts_during_a_ramp_leave_the_history_of_sizes_as_it_was(
    at_once: bool, first: float, every: float
) -> None:
    usual = history((), at_once)
    restarted = history(tuple(first + every * number for number in range(10)), at_once)
    assert sizes(usual) == [1, 2, 3, 4, 5, 4, 3, 2, 1]
    assert sizes(restarted) == sizes(usual)
    ups = [b - a for (a, x), (b, _), (_, y) in _pairs(usual, restarted) if x > y]
    downs = [b - a for (a, x), (b, _), (_, y) in _pairs(usual, restarted) if x < y]
    print(f"later by so many seconds: up {ups}, down {downs}")
    assert all(abs(seconds) <= 10 for seconds in ups)
    assert all(-10 <= seconds <= 60 for seconds in downs)


def _pairs(a: Team, b: Team) -> Any:
    """Each step of two histories, with the step before it."""
    first, second = a.sizes["chat"], b.sizes["chat"]
    return zip(first[1:], second[1:], first, strict=False)


# Zero.

ZERO = {"minReplicas": 0, "maxReplicas": 2, "idleSecondsToZero": 300}


def asleep(**more: Any) -> PoolSpec:
    return gpu_pool(scaling={**ZERO, **more.pop("scaling", {})}, **more)


@pytest.mark.slow
def test_an_idle_pool_goes_to_zero_and_the_first_request_wakes_it() -> None:
    demand = {"chat": lambda at: 5.0 if at < 60 or 1000 <= at < 1200 else 0.0}
    one = team("a", {"chat": asleep()}, demand)
    world = World([one])
    world.run(990)
    assert sizes(one) == [1, 0]
    world.run(30)
    assert sizes(one) == [1, 0, 1]
    world.run(1000)
    assert sizes(one) == [1, 0, 1, 0]


@pytest.mark.slow
def test_with_a_price_and_a_cloud_a_pool_wakes_once_the_overflow_has_cost_a_cold_start() -> None:
    # A start of 15 s at 48 dollars an hour costs 0.20; a request a second at a cent each has cost that after 20 s.
    demand = {"chat": lambda at: 10.0 if at >= 1000 else 0.0}
    one = team("a", {"chat": asleep(gpuHourPrice="48")}, demand, (policy(),))
    world = World([one], start=15)
    world.run(1010)
    assert sizes(one) == [1, 0]
    world.run(30)
    assert [size for _, size in one.sizes["chat"]] == [1, 0, 1]
    assert 1015 <= one.sizes["chat"][-1][0] <= 1030


@pytest.mark.slow
def test_a_restart_does_not_forget_what_a_sleeping_pool_has_cost() -> None:
    demand = {"chat": lambda at: 10.0 if at >= 1000 else 0.0}
    one = team("a", {"chat": asleep(gpuHourPrice="240")}, demand, (policy(),))  # a cold start costs a dollar: 100 s
    world = World([one], start=15)
    world.run(1060)
    assert sizes(one) == [1, 0]
    world.restart()
    world.run(60)
    assert sizes(one) == [1, 0, 1]
    assert 1095 <= one.sizes["chat"][-1][0] <= 1120


def test_a_measured_cold_start_is_kept_in_status() -> None:
    one = team("a", {"chat": gpu_pool()}, {"chat": steady(25)}, (policy(),))
    World([one], start=90).run(400)
    scaling = one.pools[0].live_status["scaling"]
    assert scaling["coldStartSeconds"] == 90
    assert scaling["history"]["coldStarts"] == [90, 90, 90]


def test_a_first_size_is_asked_for_replica_by_replica_even_after_a_restart() -> None:
    one = team("a", {"chat": gpu_pool(replicas=3)}, {"chat": steady(1)}, (policy(),))
    world = World([one])
    world.run(5)
    world.restart()
    world.run(60)
    assert sizes(one) == [1, 2, 3]


def test_a_first_size_that_has_no_gpus_is_given_up_for_what_demand_asks_for() -> None:
    one = team("a", {"chat": gpu_pool(replicas=3, scaling={"pendingSeconds": 60})}, {"chat": steady(1)}, (policy(),))
    world = World([one], gpus=2)
    world.run(1000)
    assert sizes(one) == [1, 2, 3, 2]


@pytest.mark.slow
def test_a_manual_pool_gets_what_it_asks_for_at_once_and_keeps_it() -> None:
    one = team("a", {"chat": gpu_pool(replicas=4, scaling={"mode": "Manual"})}, {"chat": steady(1)}, (policy(),))
    World([one], gpus=2).run(2000)
    assert sizes(one) == [4]
    conditions = {item["type"]: item["reason"] for item in one.pools[0].live_status["conditions"]}
    assert conditions["GPUsAvailable"] == "Unschedulable"


def test_after_a_restart_nobody_asks_before_every_fleet_was_heard() -> None:
    first = team("a", {"chat": gpu_pool()}, {"chat": steady(25)}, (policy(),))
    second = team("b", {"chat": gpu_pool()}, {"chat": steady(25)}, (policy(),))
    world = World([first, second], gpus=2)
    world.run(100)
    world.restart()
    world.teams = [second, first]
    for _ in range(10):
        world.run(5)
        assert sum(world.unplaced(one, "chat") for one in world.teams) <= 1


def as_the_first_release_wrote(one: Team) -> None:
    """The memory beside the decisions, as an API server hands it out that knows where it is now."""
    item = one.pools[0]
    scaling = dict(item.live_status["scaling"])
    live = {**item.live_status, "scaling": {**scaling, **scaling["history"], "history": ScalingHistory().model_dump()}}
    one.pools = (replace(item, live_status=live, status=PoolStatus.model_validate(live)),)


def test_an_upgrade_from_the_first_release_keeps_the_windows_and_clears_their_old_places() -> None:
    one = team("a", {"chat": gpu_pool()}, {"chat": ramp((0, 25), (300, 25), (301, 0))}, (policy(),))
    world = World([one], start=30)
    world.run(900)
    before = one.pools[0].live_status["scaling"]["history"]
    as_the_first_release_wrote(one)
    world.restart()
    world.run(75)
    scaling = one.pools[0].live_status["scaling"]
    assert scaling["history"]["peaks"][: len(before["peaks"])] == before["peaks"]
    assert scaling["history"]["coldStarts"] == before["coldStarts"] == [30, 30, 30]
    assert {scaling[field] for field in MOVED} == {None}  # a merge patch takes them out
    assert sizes(one)[-1] == 3  # the window still remembers the demand
