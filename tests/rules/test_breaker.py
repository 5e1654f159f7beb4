"""The breaker: success, back-pressure and fault, and what each makes of it."""

from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.breaker import (
    Breaker,
    BreakerLimits,
    CallResult,
    Phase,
    after,
    answering,
    begun,
    given_up,
    lets_through,
    phase,
    shown,
)

LIMITS = BreakerLimits(faults=3, open_seconds=5.0, most_seconds=60.0)


def played(*outcomes: CallResult, now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for outcome in outcomes:
        breaker = after(begun(breaker, now), outcome, now, LIMITS)
    return breaker


def test_faults_in_a_row_open_it() -> None:
    assert phase(played(CallResult.FAULT, CallResult.FAULT), 0.0) is Phase.CLOSED
    opened = played(*[CallResult.FAULT] * 3)
    assert (phase(opened, 4.9), phase(opened, 5.0)) == (Phase.OPEN, Phase.HALF_OPEN)
    assert not lets_through(opened, 4.9)


def test_a_success_between_them_forgets_them() -> None:
    assert (
        phase(played(CallResult.FAULT, CallResult.FAULT, CallResult.SUCCESS, CallResult.FAULT, CallResult.FAULT), 0.0)
        is Phase.CLOSED
    )


@given(st.lists(st.tuples(st.floats(0.001, 0.2), st.booleans()), max_size=300))
def test_who_answers_others_is_well_however_many_fail(turns: list[tuple[float, bool]]) -> None:
    limits = BreakerLimits(faults=3, row_seconds=2.0)
    breaker, now, answered = Breaker(), 0.0, 0.0
    for seconds, fails in turns:
        now += seconds
        if fails and now - answered < limits.row_seconds:
            breaker = after(begun(breaker, now), CallResult.FAULT, now, limits)
        else:
            breaker, answered = after(begun(breaker, now), CallResult.SUCCESS, now, limits), now
        assert phase(breaker, now) is Phase.CLOSED


@given(st.floats(0.01, 5.0))
def test_who_answers_nobody_is_out_within_ten_seconds(gap: float) -> None:
    limits = BreakerLimits(faults=3, row_seconds=2.0)
    breaker, now = Breaker(), 0.0
    while phase(breaker, now) is Phase.CLOSED:
        breaker = after(begun(breaker, now), CallResult.FAULT, now, limits)
        now += gap
    assert now - gap <= 10.0 + 1e-9


def test_back_pressure_is_no_fault_and_forgives_none() -> None:
    assert phase(played(*[CallResult.BACK_PRESSURE] * 50), 0.0) is Phase.CLOSED
    assert (
        phase(played(CallResult.FAULT, CallResult.FAULT, CallResult.BACK_PRESSURE, CallResult.FAULT), 0.0) is Phase.OPEN
    )


def test_one_probe_goes_through_and_decides() -> None:
    half_open = played(*[CallResult.FAULT] * 3)
    probing = begun(half_open, 5.0)
    assert lets_through(half_open, 5.0)
    assert not lets_through(probing, 5.0)
    assert lets_through(given_up(probing), 5.0)
    assert phase(after(probing, CallResult.SUCCESS, 6.0, LIMITS), 6.0) is Phase.CLOSED
    again = after(probing, CallResult.FAULT, 6.0, LIMITS)
    assert (again.open_until, again.probing) == (16.0, False)  # twice as long
    assert lets_through(after(probing, CallResult.BACK_PRESSURE, 6.0, LIMITS), 6.0)


def test_an_answer_that_has_begun_closes_it_and_forgets_nothing() -> None:
    limits = BreakerLimits(faults=3, row_seconds=2.0)
    begun_well = answering(played(*[CallResult.FAULT] * 3), 5.0)
    assert phase(begun_well, 5.0) is Phase.CLOSED
    assert phase(after(begun_well, CallResult.FAULT, 6.9, limits), 6.9) is Phase.CLOSED, "others are answered"
    assert phase(after(begun_well, CallResult.FAULT, 7.0, limits), 7.0) is Phase.OPEN
    assert phase(after(begun_well, CallResult.FAULT, 5.1, LIMITS), 5.1) is Phase.OPEN, "it broke off, once more"


def test_several_probes_at_a_time_and_the_first_answer_decides() -> None:
    limits = BreakerLimits(faults=1, open_seconds=1.0, probes=3)
    breaker = after(Breaker(), CallResult.FAULT, 0.0, limits)
    for _ in range(3):
        assert lets_through(breaker, 1.0, limits)
        breaker = begun(breaker, 1.0)
    assert not lets_through(breaker, 1.0, limits)
    assert lets_through(after(breaker, CallResult.SUCCESS, 1.1, limits), 1.1, limits)


def test_it_never_stays_open_longer_than_the_most() -> None:
    breaker, now = Breaker(), 0.0
    for _ in range(40):
        breaker = after(begun(breaker, now), CallResult.FAULT, now, LIMITS)
        assert breaker.open_until - now <= 60.0
        now = max(now, breaker.open_until)


def test_a_pause_that_was_asked_for_holds_whatever_comes_after() -> None:
    paused = after(Breaker(), CallResult.BACK_PRESSURE, 0.0, LIMITS, pause=100.0)
    for outcome in CallResult:
        assert not lets_through(after(paused, outcome, 50.0, LIMITS, pause=1.0), 99.9)
    assert lets_through(paused, 100.0)


@given(
    st.lists(st.tuples(st.sampled_from([CallResult.SUCCESS, CallResult.BACK_PRESSURE]), st.floats(0, 30)), max_size=40)
)
def test_without_faults_it_only_ever_pauses(steps: list[tuple[CallResult, float]]) -> None:
    breaker, now, until = Breaker(), 0.0, 0.0
    for outcome, pause in steps:
        now += 1.0
        breaker = after(begun(breaker, now), outcome, now, LIMITS, pause=pause)
        until = max(until, now + pause) if pause else until
        assert lets_through(breaker, now) is (now >= until)


def test_faults_that_another_upstream_shows_need_no_time() -> None:
    limits = BreakerLimits(faults=3, row_seconds=2.0)
    breaker = Breaker()
    for count in range(1, 4):
        breaker = after(breaker, CallResult.FAULT, 1.0, limits)
        assert phase(breaker, 1.0) is Phase.CLOSED
        told = shown(breaker, 1.0, limits)
        assert phase(told, 1.0) is (Phase.OPEN if count == 3 else Phase.CLOSED)
    opened = shown(breaker, 1.0, limits)
    assert shown(opened, 1.0, limits) == opened, "it is open already"
