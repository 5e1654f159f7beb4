"""Who waits, and who is next."""

import random

from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import Priority
from forebay.rules.queue import AGEING_SECONDS, Line, Waiter, retry_after

waiters = st.lists(
    st.builds(
        Waiter,
        id=st.integers(1, 10_000),
        priority=st.sampled_from(Priority),
        since=st.floats(0, 100),
        deadline=st.floats(0, 200),
    ),
    max_size=30,
    unique_by=lambda waiter: waiter.id,
)


def line(*members: Waiter, limit: int = 100) -> Line:
    made = Line(limit)
    for member in members:
        made.join(member)
    return made


@given(waiters, st.floats(0, 200))
def test_nobody_is_lost_and_nobody_comes_twice(members: list[Waiter], now: float) -> None:
    made = line(*members)
    out = [made.next(now) for _ in members]
    assert sorted(waiter.id for waiter in out if waiter) == sorted(waiter.id for waiter in members)
    assert made.next(now) is None


@given(waiters, st.floats(0, 200))
def test_priority_first_then_the_earliest_deadline(members: list[Waiter], now: float) -> None:
    made = line(*members)
    out = [waiter for _ in members if (waiter := made.next(now))]
    keys = [(waiter.rank(now), waiter.deadline) for waiter in out]
    assert keys == sorted(keys)


@given(waiters, st.integers(0, 10))
def test_a_line_is_bounded(members: list[Waiter], limit: int) -> None:
    made = line(*members, limit=limit)
    for priority in Priority:
        assert made.count(priority) == min(limit, sum(waiter.priority is priority for waiter in members))


def test_a_flood_of_others_leaves_high_its_places() -> None:
    made = Line(limit=2, limit_bytes=10)
    others = [Waiter(n, p, 0, 9, size=5) for n, p in enumerate([Priority.NORMAL, Priority.LOW] * 3)]
    assert [made.join(waiter) for waiter in others] == [True] * 4 + [False] * 2
    assert made.join(Waiter(10, Priority.HIGH, 0, 9, size=10))
    assert not made.join(Waiter(11, Priority.HIGH, 0, 9, size=1))
    made.leave(10)
    assert made.join(Waiter(11, Priority.HIGH, 0, 9, size=1))


def test_low_is_never_starved() -> None:
    low = Waiter(1, Priority.LOW, since=0, deadline=1)
    normal = Waiter(2, Priority.NORMAL, since=0, deadline=2)
    assert line(low, normal).next(now=1) == normal
    assert line(low, normal).next(now=AGEING_SECONDS) == low


def test_a_slot_of_highs_reserve_wakes_only_high() -> None:
    normal = Waiter(1, Priority.NORMAL, 0, 1)
    high = Waiter(2, Priority.HIGH, 0, 9)
    assert line(normal).next(0, high_only=True) is None
    assert line(normal, high).next(0, high_only=True) == high


def test_ahead_of_counts_who_comes_before() -> None:
    made = line(*(Waiter(i, p, 0, 1) for i, p in enumerate([Priority.HIGH, Priority.NORMAL, Priority.LOW])))
    assert [made.ahead_of(p, now=0) for p in (Priority.HIGH, Priority.NORMAL, Priority.LOW)] == [1, 2, 3]


@given(st.integers(0, 10_000), st.floats(0, 1000), st.integers())
def test_retry_after_is_within_its_bounds(ahead: int, rate: float, seed: int) -> None:
    assert 1 <= retry_after(ahead, rate, random.Random(seed)) <= 60
