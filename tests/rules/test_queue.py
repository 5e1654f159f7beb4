"""Who waits, and who is next."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import Priority
from forebay.rules.queue import AGEING_SECONDS, Waiter, WaitQueue

waiters = st.lists(
    st.builds(
        Waiter,
        id=st.integers(1, 10_000),
        priority=st.sampled_from(Priority),
        since=st.floats(0, 100),
        deadline=st.floats(0, 200),
        home=st.sampled_from(("", "a", "b")),
        away_penalty=st.sampled_from((0.0, 1.0, 5.0)),
    ),
    max_size=30,
    unique_by=lambda waiter: waiter.id,
)


def line(*members: Waiter, limit: int = 100) -> WaitQueue:
    made = WaitQueue(limit)
    for member in members:
        made.join(member)
    return made


def take(made: WaitQueue, now: float, replica: str = "", high_only: bool = False) -> Waiter | None:
    waiter = made.best(replica, now, high_only)
    if waiter is not None:
        made.leave(waiter.id)
    return waiter


@given(waiters, st.floats(0, 200))
def test_nobody_is_lost_and_nobody_comes_twice(members: list[Waiter], now: float) -> None:
    made = line(*members)
    out = [take(made, now, "ab"[turn % 2]) for turn, _ in enumerate(members)]
    assert sorted(waiter.id for waiter in out if waiter) == sorted(waiter.id for waiter in members)
    assert take(made, now) is None


@given(waiters, st.floats(0, 200))
def test_priority_first_then_the_earliest_deadline(members: list[Waiter], now: float) -> None:
    made = line(*members)
    out = [waiter for _ in members if (waiter := take(made, now))]
    keys = [(waiter.rank(now), waiter.deadline) for waiter in out]
    assert keys == sorted(keys)


@given(waiters, st.floats(0, 200), st.sampled_from(("a", "b")))
def test_nobody_is_passed_by_who_comes_more_than_its_away_penalty_later(
    members: list[Waiter], now: float, replica: str
) -> None:
    chosen = line(*members).best(replica, now)
    for other in members:
        assert chosen is not None
        assert (chosen.rank(now), chosen.deadline) <= (other.rank(now), other.due_at(replica))


def test_a_slot_goes_to_a_waiter_at_home_there_unless_another_is_due() -> None:
    first = Waiter(1, Priority.NORMAL, 0, 10, home="b", away_penalty=5)
    at_home = Waiter(2, Priority.NORMAL, 0, 14, home="a", away_penalty=5)
    late = Waiter(3, Priority.NORMAL, 0, 16, home="a", away_penalty=5)
    low = Waiter(4, Priority.LOW, 0, 11, home="a", away_penalty=5)
    assert line(first, at_home).best("a", 0) == at_home
    assert line(first, at_home).best("b", 0) == first
    assert line(first, late).best("a", 0) == first
    assert line(first, low).best("a", 0) == first
    assert line(first, at_home).best("a", 0, may=lambda waiter: waiter is first) == first


@given(waiters, st.floats(0, 29), st.sampled_from(("a", "b")))
def test_a_replica_is_told_who_would_take_its_slot(members: list[Waiter], now: float, replica: str) -> None:
    made = line(*(replace(waiter, away_penalty=5.0) for waiter in members if waiter.priority is not Priority.LOW))
    counts, deadlines = made.word(now, replica)
    assert counts == made.counts(now)
    if (chosen := made.best(replica, now)) is not None:
        assert deadlines[chosen.rank(now)][0] <= chosen.due_at(replica)


@given(waiters, st.integers(0, 10))
def test_a_line_is_bounded(members: list[Waiter], limit: int) -> None:
    made = line(*members, limit=limit)
    for priority in Priority:
        assert made.count(priority) == min(limit, sum(waiter.priority is priority for waiter in members))


def test_a_flood_of_others_leaves_high_its_places() -> None:
    made = WaitQueue(limit=2, limit_bytes=10)
    others = [Waiter(n, p, 0, 9, size=5) for n, p in enumerate([Priority.NORMAL, Priority.LOW] * 3)]
    assert [made.join(waiter) for waiter in others] == [True] * 4 + [False] * 2
    assert made.join(Waiter(10, Priority.HIGH, 0, 9, size=10))
    assert not made.join(Waiter(11, Priority.HIGH, 0, 9, size=1))
    made.leave(10)
    assert made.join(Waiter(11, Priority.HIGH, 0, 9, size=1))


def test_low_is_never_starved() -> None:
    low = Waiter(1, Priority.LOW, since=0, deadline=1)
    normal = Waiter(2, Priority.NORMAL, since=0, deadline=2)
    assert take(line(low, normal), now=1) == normal
    assert take(line(low, normal), now=AGEING_SECONDS) == low


def test_a_slot_of_highs_reserve_wakes_only_high() -> None:
    normal = Waiter(1, Priority.NORMAL, 0, 1)
    high = Waiter(2, Priority.HIGH, 0, 9)
    assert take(line(normal), 0, high_only=True) is None
    assert take(line(normal, high), 0, high_only=True) == high


def test_ahead_of_counts_who_comes_before() -> None:
    made = line(*(Waiter(i, p, 0, 1) for i, p in enumerate([Priority.HIGH, Priority.NORMAL, Priority.LOW])))
    assert [made.ahead_of(p, now=0) for p in (Priority.HIGH, Priority.NORMAL, Priority.LOW)] == [1, 2, 3]
