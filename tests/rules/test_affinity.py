"""Where a session goes: what must always hold, and what each case is meant to do."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.affinity import (
    AWAY_PENALTY_SECONDS,
    HOME_SECONDS,
    HOME_TOKENS,
    KEY_BYTES,
    NOBODY,
    PATIENCE_SECONDS,
    PREFIX_WEIGHT,
    Choice,
    Sessions,
    away_penalty,
    digest,
    prefer,
    session_key,
)

ABC = ("a", "b", "c")
names = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=8, unique=True)
turns = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7), st.integers(0, 50_000)), max_size=40)


def ask(
    sessions: Sessions, session: int, tokens: int, free: dict[str, int], now: float = 0.0, *,
    ahead: dict[str, int] | None = None, patient: bool = True,
) -> Choice:  # fmt: skip
    return sessions.choose(
        session, tokens, tuple(free), free.__getitem__, (ahead or dict.fromkeys(free, 0)).__getitem__, now, patient
    )


def served(replicas: list[str], events: list[tuple[int, int, int]]) -> Sessions:
    sessions = Sessions()
    for now, (session, replica, tokens) in enumerate(events):
        sessions.serve(session, replicas[replica % len(replicas)], tokens, now)
    return sessions


@given(st.binary(max_size=20), names)
def test_a_replica_that_goes_moves_only_its_own_sessions(key: bytes, replicas: list[str]) -> None:
    session = digest(key)
    home, *others = prefer(session, replicas)
    for gone in others:
        assert prefer(session, [r for r in replicas if r != gone])[0] == home
    assert prefer(session, list(reversed(replicas)))[0] == home
    assert Sessions().homes(session, tuple(replicas), 0) == (home,)


@given(names, turns, st.integers(0, 7))
def test_a_scale_step_moves_no_session_whose_replica_stays(
    replicas: list[str], events: list[tuple[int, int, int]], place: int
) -> None:
    sessions = served(replicas, events)
    known = {session: sessions.homes(session, tuple(replicas), 50)[0] for session, _, _ in events}
    grown = (*replicas, "new")
    gone = replicas[place % len(replicas)]
    shrunk = tuple(name for name in replicas if name != gone)
    for session, home in known.items():
        assert sessions.homes(session, grown, 50)[0] == home
        if shrunk and home != gone:
            assert sessions.homes(session, shrunk, 50)[0] == home


@given(names, turns, st.integers(0, 9), st.integers(0, 50_000), st.data())
def test_two_gateways_that_were_told_the_same_choose_the_same(
    replicas: list[str], events: list[tuple[int, int, int]], session: int, tokens: int, data: st.DataObject
) -> None:
    free = {name: data.draw(st.integers(0, 2)) for name in replicas}
    ahead = {name: data.draw(st.integers(0, 3)) * 5000 for name in replicas}
    there = dict(reversed(free.items()))
    one, other = (ask(served(replicas, events), session, tokens, seen, 50, ahead=ahead) for seen in (free, there))
    assert one == other


@given(names, turns, st.integers(0, 9), st.integers(0, 50_000), st.booleans(), st.data())
def test_a_choice_has_a_slot_and_a_wait_has_a_reason(
    replicas: list[str], events: list[tuple[int, int, int]], session: int, tokens: int, patient: bool,
    data: st.DataObject,
) -> None:  # fmt: skip
    free = {name: data.draw(st.integers(0, 2)) for name in replicas}
    ahead = {name: data.draw(st.integers(0, 100_000)) for name in replicas}
    sessions = served(replicas, events)
    choice = ask(sessions, session, tokens, free, 50, ahead=ahead, patient=patient)
    if choice.replica:
        assert free[choice.replica] > 0
        worth = max(HOME_TOKENS, PREFIX_WEIGHT * sessions.cached(session, tokens, 50))
        assert ahead[choice.replica] <= worth + min(ahead[name] for name in replicas if free[name] > 0)
    elif choice.home:
        assert patient
        assert free[choice.home] == 0
        assert 0 < choice.wait_seconds <= PATIENCE_SECONDS
    else:
        assert not any(free.values())


def test_sessions_spread_evenly_over_replicas() -> None:
    free = {f"pool-{i}": 1 for i in range(8)}
    homes = Counter(ask(Sessions(), digest(b"session %d" % i), 100, free).replica for i in range(8000))
    assert set(homes) == set(free)
    assert 850 < min(homes.values()) <= max(homes.values()) < 1150


def test_a_session_stays_where_it_was_served_until_it_is_forgotten() -> None:
    sessions, session = Sessions(), digest(b"s")
    home, other, _ = prefer(session, ABC)
    assert sessions.homes(session, ABC, 0) == (home,)
    sessions.serve(session, other, 4000, 2)
    assert sessions.homes(session, ABC, 3) == (other,)
    sessions.serve(session, other, 4000, 500)
    assert sessions.homes(session, ABC, 500 + HOME_SECONDS - 1) == (other,), "its prefix was used since"
    assert sessions.homes(session, ABC, 500 + HOME_SECONDS) == (home,)
    assert sessions.homes(session, tuple(name for name in ABC if name != other), 501) == (home,)


def test_a_session_waits_for_its_home_as_long_as_its_cached_prefix_is_worth() -> None:
    sessions, session = Sessions(), digest(b"s")
    full = {"a": 0, "b": 1, "c": 1}
    home_full = {name: int(name != prefer(session, ABC)[0]) for name in ABC}
    assert ask(sessions, session, 8000, home_full).replica, "nothing of it is cached yet"
    sessions.serve(session, "a", 4000, 0)
    assert ask(sessions, session, 8000, full, 1) == Choice("", "a", 1.0)
    assert ask(sessions, session, 2000, full, 1) == Choice("", "a", 0.5)
    assert ask(sessions, session, 8000, full, 1, patient=False).replica in ("b", "c")
    sessions.serve(session, "a", 80_000, 2)
    assert ask(sessions, session, 90_000, full, 3) == Choice("", "a", PATIENCE_SECONDS)
    assert ask(sessions, session, 8000, dict.fromkeys(ABC, 0), 3) == NOBODY


def test_a_session_leaves_its_home_when_more_waits_there_than_its_prefix_is_worth() -> None:
    sessions, session = Sessions(), digest(b"s")
    sessions.serve(session, "a", 4000, 0)
    free = dict.fromkeys(ABC, 1)
    worth = PREFIX_WEIGHT * 4000
    assert ask(sessions, session, 5000, free, 1, ahead={"a": worth, "b": 0, "c": 0}).replica == "a"
    assert ask(sessions, session, 5000, free, 1, ahead={"a": worth + 1, "b": 900, "c": 0}).replica == "c"
    assert ask(sessions, session, 5000, free, 1, ahead={"a": worth + 1, "b": 900, "c": 900}).replica == "a"


def test_a_new_session_goes_where_least_waits() -> None:
    free = dict.fromkeys(ABC, 1)
    ahead = {"a": 9000, "b": 9000, "c": 1}
    assert all(ask(Sessions(), digest(b"%d" % i), 100, free, ahead=ahead).replica == "c" for i in range(30))


def test_a_session_that_draws_more_than_its_share_has_two_homes() -> None:
    sessions, hot = Sessions(), digest(b"hot")
    for turn in range(60):
        sessions.serve(digest(b"%d" % turn), ABC[turn % 3], 100, turn / 10)
        sessions.serve(hot, "a", 100, turn / 10)
    second = prefer(hot, ("b", "c"))[0]
    assert sessions.homes(hot, ABC, 6) == ("a", second)
    assert len(sessions.homes(digest(b"3"), ABC, 6)) == 1
    free = dict.fromkeys(ABC, 1)
    assert ask(sessions, hot, 100, free, 6, ahead={**free, "a": 9000}).replica == second
    sessions.serve(hot, "c", 100, 6)
    assert sessions.homes(hot, ABC, 6) == ("c", "a"), "the last two that served it"


def test_the_memory_of_sessions_is_bounded() -> None:
    sessions = Sessions(limit=10)
    for turn in range(100):
        sessions.serve(turn, "a", 100, turn)
    assert len(sessions) == 10
    assert sessions.cached(99, 100, 100) == 100


def test_what_identifies_a_session() -> None:
    assert session_key("s", "c", "me", "hi") == b"s"
    assert session_key(None, "c", "me", "hi") == b"c"
    assert session_key(None, None, "me", "hi") != session_key(None, None, "you", "hi")
    assert len(session_key("x" * 9000, None, "", "")) == KEY_BYTES


def test_a_long_system_prompt_does_not_make_one_session_of_all() -> None:
    system = "you are kind. " * 1000
    assert session_key(None, None, "me", system, "one") != session_key(None, None, "me", system, "two")
    assert session_key(None, None, "me", system, "x" * 9000) == session_key(None, None, "me", system, "x" * 9001)
    assert len(session_key(None, None, "me", system, "x" * 9000)) <= KEY_BYTES + 4


def test_a_waiter_is_put_off_by_a_third_of_its_wait_at_most() -> None:
    assert [away_penalty(seconds) for seconds in (-1.0, 0.0, 3.0, 30.0)] == [0.0, 0.0, 1.0, AWAY_PENALTY_SECONDS]
