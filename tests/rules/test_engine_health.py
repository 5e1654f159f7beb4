"""What an engine's answer to the smallest request says of it."""

import pytest

from forebay.rules.engine_health import FAILURES, GONE, EngineHealth, Vital, allowance, vital


@pytest.mark.parametrize(
    ("status", "moved", "said"),
    [
        (200, False, Vital.ALIVE),
        (400, False, Vital.ALIVE),
        (404, False, Vital.ALIVE),  # it has no such path, and says so
        (422, False, Vital.ALIVE),
        (501, False, Vital.ALIVE),
        (401, False, Vital.FAILING),
        (403, False, Vital.FAILING),
        (500, False, Vital.FAILING),
        (502, True, Vital.FAILING),
        (429, False, Vital.BUSY),
        (503, False, Vital.BUSY),
        (0, True, Vital.BUSY),  # silent, but its counters move
        (0, False, Vital.FAILING),
        (GONE, False, Vital.GONE),
    ],
)
def test_what_an_answer_says(status: int, moved: bool, said: Vital) -> None:
    assert vital(status, moved) is said


def test_one_failure_is_no_proof_and_a_lost_connection_is() -> None:
    once = EngineHealth().after(Vital.FAILING)
    assert once.in_doubt
    assert not once.failing
    assert once.after(Vital.FAILING).failing
    assert EngineHealth().after(Vital.GONE).failing


@pytest.mark.parametrize("failures", range(FAILURES + 3))
def test_one_answer_makes_it_well_and_being_busy_changes_nothing(failures: int) -> None:
    before = EngineHealth(failures)
    assert before.after(Vital.ALIVE) == EngineHealth()
    assert before.after(Vital.BUSY) == before


def test_long_prompts_ahead_give_time() -> None:
    assert allowance(3.0, 0) == 3.0
    assert allowance(3.0, 20_000) == 203.0
