"""Pools that want the same few GPUs: who may ask, for how long, and when again."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import ScaleReason
from forebay.rules.arbitrate import PENDING_SECONDS, PLACING_SECONDS, Bid, Grant, PlacementAttempt, arbitrate
from testing.examples import examples

NOW = 1_800_000_000.0
GPU = "nvidia.com/gpu"


def bid(pool: str = "a", size: int = 1, wanted: int = 1, **more: object) -> Bid:
    usual: dict[str, object] = {"needed": wanted, "placed": size, "gpus": GPU}
    return replace(Bid(pool, size, wanted, wanted, size), **{**usual, **more})  # type: ignore[arg-type]


def granted(*bids: Bid, now: float = NOW) -> dict[str, int]:
    return {pool: grant.replicas for pool, grant in arbitrate(bids, now).items()}


def why(*bids: Bid, now: float = NOW) -> dict[str, ScaleReason | None]:
    return {pool: grant.reason for pool, grant in arbitrate(bids, now).items()}


def unplaced(pool: str = "a", since: float = NOW, size: int = 2, **more: object) -> Bid:
    """A pool of which the last replica has had no node for a while."""
    usual: dict[str, object] = {
        "placed": size - 1, "tail": 1, "attempt": PlacementAttempt(since=since, wanted=NOW), "starting": 1
    }  # fmt: skip
    return replace(bid(pool, size, size), **{**usual, **more})  # type: ignore[arg-type]


def test_a_pool_asks_for_one_replica_at_a_time() -> None:
    assert granted(bid(wanted=4)) == {"a": 2}


def test_the_next_is_asked_for_once_the_last_has_a_node() -> None:
    assert granted(bid(size=2, wanted=4, placed=1, tail=1)) == {"a": 2}
    assert granted(bid(size=2, wanted=4)) == {"a": 3}


def test_a_smaller_size_is_granted_at_once() -> None:
    assert granted(bid(size=3, wanted=1)) == {"a": 1}
    assert granted(unplaced(size=3, wanted=1, needed=1)) == {"a": 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (bid("z", 1, 2, minimum=2), bid("a", 1, 2, priority=9, money=9.0)),
        (bid("z", 1, 2, priority=1), bid("a", 1, 2, money=9.0)),
        (bid("z", 1, 2, money=2.0), bid("a", 1, 2, money=1.0)),
        (bid("z", 1, 2), bid("a", 2, 3)),
        (bid("a", 1, 2), bid("z", 1, 2)),
    ],
    ids=["below its minimum", "priority class", "money of overflow", "fewer replicas", "name"],
)
def test_of_two_pools_one_asks_and_the_other_waits_for_its_turn(first: Bid, second: Bid) -> None:
    for bids in permutations((first, second)):
        grants = arbitrate(bids, NOW)
        assert grants[first.pool].replicas == first.size + 1
        assert grants[second.pool].replicas == second.size
        assert grants[second.pool].reason is ScaleReason.AWAITS_TURN
        assert grants[second.pool].first == first.pool


def test_whoever_asks_first_is_not_pushed_aside_by_a_higher_rank() -> None:
    assert granted(unplaced("low"), bid("high", 1, 2, priority=9)) == {"low": 2, "high": 1}


def test_pools_that_want_other_gpus_or_none_do_not_wait_for_each_other() -> None:
    assert granted(bid("a", 1, 2), bid("b", 1, 2, gpus="amd.com/gpu"), bid("c", 1, 2, gpus=""), bid("d", 1, 2, gpus=""))
    three = granted(bid("a", 1, 2), bid("b", 1, 2, gpus="amd.com/gpu"), bid("c", 1, 2, gpus=""))
    assert three == {"a": 2, "b": 2, "c": 2}


def test_an_unplaced_replica_stays_for_pending_seconds_and_is_then_withdrawn() -> None:
    begun = NOW - PENDING_SECONDS
    assert granted(unplaced(since=begun + 1)) == {"a": 2}
    grant = arbitrate([unplaced(since=begun)], NOW)["a"]
    assert (grant.replicas, grant.reason) == (1, ScaleReason.WITHDRAWN)
    assert (grant.attempt.failures, grant.attempt.retry) == (1, NOW + 300)


def test_a_replica_that_nothing_asks_for_any_more_is_withdrawn_after_a_minute() -> None:
    gone = unplaced(needed=1, since=NOW - 200)
    assert granted(replace(gone, attempt=PlacementAttempt(NOW - 200, NOW - 59))) == {"a": 2}
    assert granted(replace(gone, attempt=PlacementAttempt(NOW - 200, NOW - 60))) == {"a": 1}


@pytest.mark.parametrize(("failures", "minutes"), [(0, 5), (1, 10), (2, 20), (3, 40), (4, 60), (9, 60)])
def test_each_time_it_is_asked_for_later(failures: int, minutes: int) -> None:
    attempt = PlacementAttempt(NOW - PENDING_SECONDS, NOW, failures=failures)
    assert arbitrate([unplaced(attempt=attempt)], NOW)["a"].attempt.retry == NOW + 60 * minutes


def test_a_withdrawn_replica_waits_for_its_time_or_for_more_gpus() -> None:
    attempt = PlacementAttempt(failures=2, withdrawn=NOW - 10, retry=NOW + 600)
    waiting = bid(wanted=2, attempt=attempt)
    assert why(waiting) == {"a": ScaleReason.WITHDRAWN}
    assert granted(waiting, now=NOW + 600) == {"a": 2}
    assert granted(replace(waiting, roomier=NOW - 11)) == {"a": 1}
    assert granted(replace(waiting, roomier=NOW - 9)) == {"a": 2}


def test_a_replica_that_was_placed_ends_the_row_of_failures() -> None:
    attempt = PlacementAttempt(since=NOW - 5, failures=3, withdrawn=NOW - 4000, retry=NOW - 400)
    assert arbitrate([bid(size=2, wanted=2, attempt=attempt)], NOW)["a"].attempt == PlacementAttempt()


def test_during_a_rollout_and_behind_a_placed_replica_nothing_is_withdrawn() -> None:
    old = NOW - 9000
    assert granted(unplaced(since=old, rollout=True)) == {"a": 2}
    assert granted(unplaced(since=old, tail=0)) == {"a": 2}


def test_what_cannot_be_withdrawn_stands_in_nobodys_way() -> None:
    assert granted(unplaced("a", since=NOW - 9000, tail=0), bid("b", 1, 2)) == {"a": 2, "b": 2}


@pytest.mark.parametrize("gpus_of_the_other", [1, 8])
@pytest.mark.parametrize(
    ("lacks", "since", "waits"),
    [
        (None, 0.0, True),  # the scheduler is at it
        (None, PLACING_SECONDS, False),  # gated, of another scheduler, not made: nobody says why
        (False, 0.0, False),  # something else is in its way
        (False, 300.0, False),
        (True, 0.0, True),
        (True, 300.0, True),  # GPUs are what it waits for
        (True, float(PENDING_SECONDS), False),
    ],
)
def test_only_a_replica_that_gpus_would_help_has_others_wait_for_it(
    lacks: bool | None, since: float, waits: bool, gpus_of_the_other: int
) -> None:
    head = unplaced("a", since=NOW - since, lacks_gpus=lacks, tail=0)
    grants = arbitrate([head, bid("b", 1, 2, each=gpus_of_the_other)], NOW)
    assert (grants["b"].reason is ScaleReason.AWAITS_TURN) is waits
    assert grants["b"].replicas == (1 if waits else 2)


def test_a_pool_of_small_replicas_does_not_wait_for_a_large_one_that_found_no_room() -> None:
    large, small = unplaced("a", each=8, lacks_gpus=True), bid("b", 1, 2, each=1)
    assert granted(large, small)["b"] == 1
    told = replace(large, attempt=PlacementAttempt(NOW - PLACING_SECONDS, NOW))
    assert granted(told, small)["b"] == 2
    assert granted(told, replace(small, each=8))["b"] == 1
    assert granted(bid("a", 1, 2, each=8, priority=1), small) == {"a": 2, "b": 1}


@given(
    heads=st.lists(
        st.tuples(st.sampled_from([None, False]), st.floats(PLACING_SECONDS, PENDING_SECONDS - 1)), max_size=20
    ),
    each=st.integers(1, 64),
)
def test_however_many_cannot_move_the_next_one_asks_at_once(heads: list[tuple[bool | None, float]], each: int) -> None:
    stuck = [
        unplaced(f"a{number}", since=NOW - age, lacks_gpus=lacks, each=each, priority=9)
        for number, (lacks, age) in enumerate(heads)
    ]
    assert granted(*stuck, bid("z", 1, 2))["z"] == 2


def test_unplaced_is_said_only_after_the_scheduler_has_had_time() -> None:
    assert why(unplaced(since=NOW - PLACING_SECONDS + 1)) == {"a": None}
    assert why(unplaced(since=NOW - PLACING_SECONDS)) == {"a": ScaleReason.REPLICA_UNPLACED}


SHARED = {"serves": frozenset({"team/Generate/general"}), "capacity": 10}


def test_of_two_full_pools_that_serve_the_same_one_grows_for_one_overflow() -> None:
    a, b = bid("a", 1, 2, demand=12.0, gpus="x", **SHARED), bid("b", 1, 2, demand=10.0, gpus="y", **SHARED)
    grants = arbitrate([a, b], NOW)
    assert (grants["a"].replicas, grants["b"].replicas) == (2, 1)
    assert (grants["b"].reason, grants["b"].first) == (ScaleReason.SHARED_DEMAND, "a")


def test_it_waits_while_the_other_ones_replica_starts_and_not_longer() -> None:
    b = bid("b", 1, 2, demand=10.0, gpus="y", **SHARED)
    starts = bid("a", 2, 2, demand=12.0, gpus="x", starting=1, **SHARED)
    assert granted(starts, b)["b"] == 1
    assert granted(replace(starts, starting=0, grown=NOW - 179), b)["b"] == 1
    assert granted(replace(starts, starting=0, grown=NOW - 180), b)["b"] == 2
    assert granted(replace(starts, placed=1, tail=1, attempt=PlacementAttempt(NOW - 20, NOW)), b)["b"] == 2


def test_both_grow_when_one_replica_is_not_enough_or_they_serve_different_requests() -> None:
    a, b = bid("a", 1, 2, demand=14.0, gpus="x", **SHARED), bid("b", 1, 2, demand=14.0, gpus="y", **SHARED)
    assert granted(a, b) == {"a": 2, "b": 2}
    other = replace(b, demand=10.0, serves=frozenset({"team/Generate/extraction"}))
    assert granted(a, other) == {"a": 2, "b": 2}


def test_a_pool_below_its_minimum_waits_for_nobodys_start() -> None:
    starts = bid("a", 2, 2, demand=12.0, gpus="x", starting=1, **SHARED)
    assert granted(starts, bid("b", 1, 2, demand=10.0, gpus="y", minimum=2, **SHARED))["b"] == 2


# What always holds: a cluster with few GPUs, pools that want and stop wanting, in simulated time.


@dataclass
class Cluster:
    """Nodes with so many free GPUs in all, and pools as the operator would see them. A look takes five seconds."""

    free: int
    bids: dict[str, Bid]
    now: float = NOW
    attempts: list[tuple[float, str]] = field(default_factory=list)
    looks: list[Mapping[str, Grant]] = field(default_factory=list)

    def look(self) -> None:
        """One pass: grants, then the scheduler."""
        grants = arbitrate(self.bids.values(), self.now)
        self.looks.append(grants)
        for pool, grant in grants.items():
            before = self.bids[pool]
            if grant.replicas > before.size:
                self.attempts.append((self.now, pool))
            ended = max(before.placed - grant.replicas, 0)
            self.free += ended
            placed = before.placed - ended
            while placed < grant.replicas and self.free:
                placed, self.free = placed + 1, self.free - 1
            self.bids[pool] = replace(
                before,
                size=grant.replicas,
                placed=placed,
                tail=grant.replicas - placed,
                attempt=grant.attempt,
                lacks_gpus=True if placed < grant.replicas else None,
            )
        self.now += 5

    def want(self, pool: str, wanted: int) -> None:
        """Demand asks for another size; the scaling rule does not shrink while a replica has no node."""
        before = self.bids[pool]
        held = max(wanted, before.size) if before.unplaced else wanted
        self.bids[pool] = replace(before, wanted=held, needed=wanted)


def test_two_pools_and_one_free_gpu_make_at_most_four_attempts_an_hour() -> None:
    cluster = Cluster(free=1, bids={name: bid(name, 1, 4) for name in ("a", "b")})
    while cluster.now < NOW + 6 * 3600:
        for pool in cluster.bids:
            cluster.want(pool, 4)
        cluster.look()
    times = [at for at, _ in cluster.attempts if at > NOW + 60]
    most = max(sum(at <= other < at + 3600 for other in times) for at in times)
    print(f"attempts in six hours: {len(times)}, at most {most} in an hour")
    assert most <= 4
    assert {pool for _, pool in cluster.attempts} == {"a", "b"}
    assert sum(item.placed for item in cluster.bids.values()) == 3


@examples(0.4)
@given(
    free=st.integers(0, 4),
    wishes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(1, 300)), max_size=8),
    seed=st.integers(0, 9),
)
def test_never_two_unplaced_of_one_pool_and_never_two_pools_asking(
    free: int, wishes: list[tuple[str, int, int]], seed: int
) -> None:
    chance = random.Random(seed)
    cluster = Cluster(free, {name: bid(name, 0, 1, priority=chance.randint(0, 1)) for name in "abc"})
    for pool, wanted, looks in wishes:
        cluster.want(pool, wanted)
        for _ in range(looks):
            cluster.look()
            unplaced_now = [item for item in cluster.bids.values() if item.unplaced]
            assert len(unplaced_now) <= 1
            assert all(item.unplaced == 1 for item in unplaced_now)


BIDS = st.builds(
    lambda pool, size, up, tail, since, **more: replace(
        bid(pool, size, size + up), placed=size - min(tail, size), tail=min(tail, size),
        attempt=PlacementAttempt(since=NOW - since if tail else 0.0, wanted=NOW), **more,
    ),
    pool=st.sampled_from("abcd"), size=st.integers(0, 4), up=st.integers(0, 3), tail=st.integers(0, 1),
    since=st.floats(0, 2000), minimum=st.integers(0, 2), priority=st.integers(0, 2), money=st.floats(0, 5),
    gpus=st.sampled_from(["", "x", "y"]), demand=st.floats(0, 50), capacity=st.integers(0, 10),
    starting=st.integers(0, 2), serves=st.sampled_from([frozenset[str](), frozenset({"g"})]),
)  # fmt: skip


@given(st.lists(BIDS, max_size=4, unique_by=lambda item: item.pool), st.randoms())
def test_grants_do_not_depend_on_the_order_of_the_bids(bids: list[Bid], chance: random.Random) -> None:
    shuffled = list(bids)
    chance.shuffle(shuffled)
    assert arbitrate(bids, NOW) == arbitrate(shuffled, NOW)


@given(st.lists(BIDS, max_size=4, unique_by=lambda item: item.pool))
def test_a_grant_is_one_step_up_or_what_was_wanted_or_what_has_a_node(bids: list[Bid]) -> None:
    grants = arbitrate(bids, NOW)
    asking = [b.gpus for b in bids if grants[b.pool].replicas > b.size and b.gpus]
    assert len(asking) == len(set(asking))
    for item in bids:
        size = grants[item.pool].replicas
        assert size in (item.size, item.size + 1, item.wanted, item.placed)
        assert size <= max(item.wanted, item.size)
        assert not (item.unplaced and size > item.size)


def test_the_first_replica_of_a_pool_stays_for_pending_seconds_whatever_demand_does() -> None:
    quiet = PlacementAttempt(since=NOW - 800, wanted=NOW - 700)
    first = bid(size=1, wanted=1, needed=0, placed=0, tail=1, attempt=quiet)
    assert granted(first) == {"a": 1}
    assert granted(first, now=NOW + 101) == {"a": 0}
    assert granted(replace(first, wanted=0)) == {"a": 0}
