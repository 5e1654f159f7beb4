"""A trace goes in, an outcome comes out: every request once, the same for the same seed, and within all bounds."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from math import isnan

import pytest

from forebay.replay import Fate, Fixed, FleetSetup, Forebay, ReplayResult, TraceRequest, play
from forebay.resources.reasons import Priority, Reason
from tests.replay.traces import bursty, pool, setup

COUNT = 1500


def played(fleet: FleetSetup, seed: int = 1, count: int = COUNT) -> ReplayResult:
    scalers = {item.name: Forebay.of(fleet, item) for item in fleet.pools}
    return play(bursty(count, seed, session_share=0.5), fleet, scalers, seed)


FLEETS: dict[str, Callable[[], FleetSetup]] = {
    "overflow": setup,
    "overflow, step by step": lambda: setup(exact=True),
    "local only": lambda: setup(cloud=False),
    "two pools": lambda: setup(pool("chat"), pool("code")),
}


@pytest.mark.parametrize("name", FLEETS)
def test_every_request_has_exactly_one_fate(name: str) -> None:
    outcome = played(FLEETS[name]())
    assert len(outcome.fates) == COUNT
    for fate in outcome.fates:
        assert fate.status in (200, 429, 503)
        assert fate.waited >= 0
        if fate.status == 200:
            assert 0 <= fate.first_token <= fate.seconds
            assert fate.waited <= fate.first_token
        else:
            assert isnan(fate.first_token)
            assert fate.destination == "none"


@pytest.mark.slow
@pytest.mark.parametrize("name", FLEETS)
def test_the_same_seed_gives_the_same_outcome(name: str) -> None:
    first, second = (played(FLEETS[name]()) for _ in range(2))
    assert repr(list(first.fates)) == repr(list(second.fates))
    assert first.minutes == second.minutes
    assert (first.gpu_seconds, first.changes, first.spent) == (second.gpu_seconds, second.changes, second.spent)


def test_replicas_stay_within_their_bounds_and_slots_are_never_exceeded() -> None:
    fleet = setup(pool(most=3, slots=6))
    outcome = played(fleet)
    assert any(change.after == 3 for change in outcome.changes)
    assert all(1 <= change.after <= 3 for change in outcome.changes)
    assert all(minute.running <= minute.slots + 6 * minute.ending + 1e-9 for minute in outcome.minutes)
    assert 0 < outcome.gpu_seconds["chat"] <= 3 * outcome.seconds


def test_minutes_count_what_the_fates_say() -> None:
    outcome = played(setup(pool("chat"), pool("code")))
    assert sum(minute.arrivals for minute in outcome.minutes) == COUNT
    assert sum(minute.overflowed for minute in outcome.minutes) == sum(fate.left for fate in outcome.fates)
    assert {minute.pool for minute in outcome.minutes} == {"chat", "code"}
    chat = [minute.minute for minute in outcome.minutes if minute.pool == "chat"]
    assert all(after > before for before, after in pairwise(chat))


def test_money_is_that_of_the_tokens_that_left_and_of_the_gpus_there_were() -> None:
    outcome = played(setup())
    prices = {"primary/primary-model": (4, 20), "secondary/secondary-model": (Decimal("0.15"), Decimal("0.6"))}
    left = [fate for fate in outcome.fates if fate.left]
    expected = sum(
        (f.prompt * prices[f.destination][0] + f.output * prices[f.destination][1] for f in left), Decimal(0)
    )
    assert outcome.cloud_cost == expected / 1_000_000
    assert sum(item.requests for item in outcome.spent) == len(left) > 0
    assert outcome.local_cost == pytest.approx(Decimal(2) * Decimal(outcome.gpu_seconds["chat"]) / 3600)


def reasons(outcome: ReplayResult) -> Counter[tuple[Priority, Reason, int]]:
    return Counter((fate.priority, fate.reason, fate.status) for fate in outcome.fates)


def one(priority: Priority = Priority.NORMAL, at: float = 1.0, model: str = "") -> TraceRequest:
    return TraceRequest(at, prompt=100, output=20, priority=priority, model=model)


def full(slots: int, seconds: float = 0.0) -> list[TraceRequest]:
    """Fills the slots of the pool `chat` for longer than any wait."""
    return [
        TraceRequest(seconds, prompt=10, output=5000, priority=Priority.HIGH, model="chat-model") for _ in range(slots)
    ]


def last(requests: list[TraceRequest], fleet: FleetSetup) -> Fate:
    outcome = play(requests, fleet, {item.name: Fixed(1) for item in fleet.pools})
    return outcome.fates[len(requests) - 1]


CASES = [
    ("a free slot", [one()], setup(), "chat", Reason.LOCAL_CAPACITY),
    ("High, full", [*full(8), one(Priority.HIGH)], setup(), "primary/primary-model", Reason.HIGH_PRIORITY_OVERFLOW),
    ("Normal, all full", [*full(8), one()], setup(), "secondary/secondary-model", Reason.ALL_POOLS_FULL),
    ("Low, all full", [*full(8), one(Priority.LOW)], setup(), "none", Reason.QUEUE_EXPIRED),
    ("no policy", [*full(8), one()], setup(cloud=False), "none", Reason.NO_POLICY),
    ("a name nobody serves", [one(model="other")], setup(), "none", Reason.MODEL_NOT_FOUND),
    ("a name without substitute", [*full(8), one(model="chat-model")], setup(), "none", Reason.SUBSTITUTION_DENIED),
    (
        "Normal, its own full, another not",
        [*full(8), one(model="chat-model")],
        setup(pool("chat"), pool("code")),
        "none",
        Reason.SUBSTITUTION_DENIED,
    ),
    ("the other pool has room", [*full(8), one()], setup(pool("chat"), pool("code")), "code", Reason.LOCAL_CAPACITY),
]


@pytest.mark.parametrize(("requests", "fleet", "destination", "reason"), [row[1:] for row in CASES],
                         ids=[row[0] for row in CASES])  # fmt: skip
def test_the_rule_decides(requests: list[TraceRequest], fleet: FleetSetup, destination: str, reason: Reason) -> None:
    fate = last(requests, fleet)
    assert (fate.destination, fate.reason) == (destination, reason)


def test_who_waits_gets_the_next_slot_and_says_so() -> None:
    held = [TraceRequest(0.0, prompt=10, output=100, model="chat-model") for _ in range(8)]
    fate = last([*held, one(Priority.LOW)], setup())
    assert (fate.destination, fate.reason) == ("chat", Reason.QUEUED)
    assert 0 < fate.waited < 5


def test_the_line_has_an_end() -> None:
    outcome = play([*full(8), *(one(Priority.LOW) for _ in range(500))], setup(gateways=1), Fixed(1))
    assert reasons(outcome)[Priority.LOW, Reason.QUEUE_FULL, 429] == 300


def test_a_fleet_grows_after_its_cold_start_and_shrinks_by_draining() -> None:
    outcome = played(setup(pool(cold_start=100.0, down_window=120)), count=4000)
    first = outcome.changes[0]
    ready = next(minute for minute in outcome.minutes if minute.ready > 1)
    assert 60 * ready.minute + 60 > first.at + 100
    assert [change.after for change in outcome.changes if change.after < change.before]
    assert outcome.reversals("chat") >= 1


def test_a_trace_that_goes_back_in_time_is_refused() -> None:
    with pytest.raises(ValueError, match="back in time"):
        play([one(at=5.0), one(at=4.0)], setup(), Fixed(1))


def test_each_pool_needs_a_scaler() -> None:
    with pytest.raises(ValueError, match="no scaler for pool code"):
        play([one()], setup(pool("chat"), pool("code")), Fixed(1))
