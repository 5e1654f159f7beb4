"""Time of listening: it goes on with the clock, and a pause of one's own takes it no further than one look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.router.placement.pool_replicas import Replica
from forebay.rules.facts import REPORT_TTL_SECONDS
from forebay.rules.listening import LOOK_SECONDS, ListeningTime

BEGAN = 40_000.0
LONGEST = 2 * LOOK_SECONDS


def looked(*pauses: float) -> tuple[ListeningTime, float]:
    """It, and the clock, after looks so many seconds apart."""
    listening, now = ListeningTime(), BEGAN
    listening.look(now)
    for pause in pauses:
        now += pause
        listening.look(now)
    return listening, now


@given(st.lists(st.floats(0.0, LONGEST), max_size=50), st.floats(0.0, LONGEST))
def test_it_is_the_clock_of_a_loop_that_always_listens(pauses: list[float], since: float) -> None:
    listening, now = looked(*pauses)
    assert listening.at(now + since) - looked()[0].at(BEGAN) == pytest.approx(sum(pauses) + since, abs=1e-6)


@given(st.lists(st.floats(0.0, 1000.0), max_size=50), st.floats(0.0, 1000.0))
def test_no_pause_takes_it_further_than_two_looks(pauses: list[float], since: float) -> None:
    listening, now = looked(*pauses)
    went_on = listening.at(now + since) - looked()[0].at(BEGAN)
    assert went_on == pytest.approx(sum(min(pause, LONGEST) for pause in [*pauses, since]), abs=1e-6)
    slept = listening.look(now + since)
    assert slept == pytest.approx(since - min(since, LONGEST), abs=1e-6)


@given(st.floats(LONGEST, 1e6), st.floats(0.0, 1.0))
def test_a_replica_is_not_absent_because_nobody_listened(pause: float, age: float) -> None:
    listening, now = looked()
    replica = Replica(("127.0.0.1", 1), "chat", heard=listening.at(now), listening=listening)
    listening.look(now := now + LOOK_SECONDS)
    assert replica.fresh(now + pause), "before anything was read"
    listening.look(now := now + pause)
    assert replica.fresh(now), "and when it begins to listen"
    for _ in range(int(REPORT_TTL_SECONDS / LOOK_SECONDS)):
        listening.look(now := now + LOOK_SECONDS)
    assert not replica.fresh(now), "but when it says nothing though somebody listens"


def test_one_that_was_never_heard_of_is_absent() -> None:
    assert not Replica(("127.0.0.1", 1), "chat").fresh(BEGAN)
