"""How much a replica runs, and where a session goes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.affinity import HOME_SECONDS, PATIENCE_SECONDS, Sessions, digest, prefer, session_key
from forebay.rules.capacity import Bound, CapacityInputs, capacity, high_reserve


@pytest.mark.parametrize(
    ("inputs", "slots", "bound"),
    [
        (CapacityInputs(), 32, Bound.UNKNOWN),
        (CapacityInputs(override=8), 8, Bound.OVERRIDE),
        (CapacityInputs(override=8, max_num_seqs=4), 4, Bound.MAX_NUM_SEQS),
        (CapacityInputs(max_num_seqs=256), 32, Bound.UNKNOWN),
        (CapacityInputs(max_num_seqs=16), 16, Bound.MAX_NUM_SEQS),
        (CapacityInputs(max_num_seqs=256, kv_tokens=100_000, live_tokens=2000), 50, Bound.MEMORY),
        (CapacityInputs(kv_tokens=100, live_tokens=2000), 1, Bound.MEMORY),
    ],
)
def test_the_smallest_known_bound_decides(inputs: CapacityInputs, slots: int, bound: Bound) -> None:
    found = capacity(inputs)
    assert (found.slots, found.bound) == (slots, bound)


@pytest.mark.parametrize(("slots", "percent", "kept"), [(3, 90, 0), (4, 10, 0), (10, 10, 1), (19, 10, 1), (40, 25, 10)])
def test_highs_reserve_is_the_floor_of_its_share(slots: int, percent: int, kept: int) -> None:
    assert high_reserve(slots, percent) == kept


names = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=8, unique=True)


@given(st.binary(max_size=20), names)
def test_a_replica_that_goes_moves_only_its_own_sessions(key: bytes, replicas: list[str]) -> None:
    session = digest(key)
    home, *others = prefer(session, replicas)
    for gone in others:
        assert prefer(session, [r for r in replicas if r != gone])[0] == home
    assert prefer(session, list(reversed(replicas)))[0] == home


def test_sessions_spread_evenly_over_replicas() -> None:
    among = tuple(f"pool-{i}" for i in range(8))
    homes = Counter(prefer(digest(b"session %d" % i), among)[0] for i in range(8000))
    assert set(homes) == set(among)
    assert 850 < min(homes.values()) <= max(homes.values()) < 1150


def test_a_session_stays_where_it_had_to_go_and_returns_after_ten_minutes() -> None:
    sessions, session, among = Sessions(), digest(b"s"), ("a", "b", "c")
    (home,) = sessions.homes(session, among, 0)
    other = next(name for name in among if name != home)
    assert sessions.patience(session, 8000, 0) == 0, "nothing of it is cached yet"
    sessions.serve(session, home, among, 0)
    assert sessions.patience(session, 4000, 1) == 1.0
    assert sessions.patience(session, 80_000, 1) == PATIENCE_SECONDS
    sessions.serve(session, other, among, 2)
    assert sessions.homes(session, among, 3) == (other,)
    assert sessions.homes(session, ("a", "b", "c"), HOME_SECONDS + 3) == (home,)
    gone = tuple(name for name in among if name != other)
    assert sessions.homes(session, gone, 4)[0] in gone


def test_a_session_that_draws_more_than_its_share_has_two_homes() -> None:
    sessions, hot, among = Sessions(), digest(b"hot"), ("a", "b", "c")
    for turn in range(60):
        sessions.serve(digest(b"%d" % turn), prefer(digest(b"%d" % turn), among)[0], among, turn / 10)
        sessions.serve(hot, prefer(hot, among)[0], among, turn / 10)
    assert sessions.homes(hot, among, 6) == tuple(prefer(hot, among)[:2])
    assert len(sessions.homes(digest(b"3"), among, 6)) == 1


def test_the_memory_of_sessions_is_bounded() -> None:
    sessions = Sessions(limit=10)
    for turn in range(100):
        sessions.serve(turn, "a", ("a",), turn)
    assert len(sessions) == 10


def test_what_identifies_a_session() -> None:
    assert session_key("s", "c", "me", "hi") == b"s"
    assert session_key(None, "c", "me", "hi") == b"c"
    assert session_key(None, None, "me", "hi") != session_key(None, None, "you", "hi")
    assert len(session_key("x" * 9000, None, "", "")) == 4096
