"""GPUs are few: what does not fit waits for a node, and pools ask one after the other, as the operator has them do."""

from dataclasses import replace
from itertools import pairwise

import pytest

from forebay.replay import FleetSetup, Forebay, PoolSetup, ReplayResult, TraceRequest, play, simple_policy
from forebay.replay.nodes import Nodes
from forebay.resources.terms import Permission
from tests.replay.traces import pool

HOUR = 3600.0


def small(name: str, most: int = 4) -> PoolSetup:
    """Without a price, so that no cloud is cheaper."""
    return replace(pool(name, most=most, slots=2, cold_start=30, substitute=Permission.ALLOWED), gpu_hour_price=None)


def steady(pools: tuple[str, ...], seconds: float, rate: float = 2.0) -> list[TraceRequest]:
    """For each pool the same load, at even times: answers of about 10 s."""
    return [
        TraceRequest(number / rate, prompt=50, output=500, model=f"{pools[number % len(pools)]}-model")
        for number in range(int(seconds * rate))
    ]


def played(requests: list[TraceRequest], gpus: int | None, *pools: PoolSetup) -> ReplayResult:
    fleet = FleetSetup(pools, (simple_policy(),), gpus=gpus)
    return play(requests, fleet, {item.name: Forebay.of(fleet, item) for item in pools})


def test_what_fits_is_placed_first_come_first() -> None:
    nodes, placed = Nodes(3), list[str]()
    for name, gpus in (("a", 2), ("b", 2), ("c", 1)):
        nodes.ask(name, gpus, lambda name=name: placed.append(name))
    assert placed == ["a", "c"]
    nodes.give_back(1)
    assert placed == ["a", "c"]
    nodes.give_back(1)
    assert placed == ["a", "c", "b"]
    nodes.ask("d", 1, lambda: placed.append("d"))
    nodes.forget("d")
    nodes.give_back(5)
    assert "d" not in placed


@pytest.mark.slow
def test_no_more_replicas_run_than_there_are_gpus() -> None:
    outcome = played(steady(("chat", "code"), HOUR, rate=1.0), 3, small("chat"), small("code"))
    by_minute: dict[int, float] = {}
    for minute in outcome.minutes:
        by_minute[minute.minute] = by_minute.get(minute.minute, 0.0) + minute.ready + minute.ending
    assert max(by_minute.values()) == 3
    assert sum(outcome.gpu_seconds.values()) <= 3 * outcome.seconds


@pytest.mark.slow
def test_two_pools_and_one_free_gpu_ask_four_times_an_hour_at_most() -> None:
    outcome = played(steady(("chat", "code"), 6 * HOUR, rate=1.0), 3, small("chat"), small("code"))
    asked = [change.at for change in outcome.changes if change.after > change.before]
    assert all(abs(change.after - change.before) <= 1 for change in outcome.changes)
    assert len(asked) <= 4 * 6
    assert any(after > before + 800 for before, after in pairwise(asked)), "a replica that no node takes stays a while"


def test_with_gpus_for_all_a_pool_grows_replica_by_replica_to_what_it_needs() -> None:
    outcome = played(steady(("chat",), 0.3 * HOUR, rate=1.0), None, small("chat", most=8))
    assert [change.after for change in outcome.changes][:4] == [2, 3, 4, 5]
    assert outcome.changes[3].at - outcome.changes[0].at < 60
