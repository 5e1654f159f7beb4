"""An engine is stuck when it has work and its counters stand still; idle or silent ones are not."""

import pytest

from forebay.rules.progress import STUCK_SECONDS, Progress

LOOK = 5.0


def after(*looks: tuple[float | None, bool]) -> tuple[Progress, float]:
    progress, now = Progress(), 100.0
    for made, working in looks:
        now += LOOK
        progress = progress.look(made, working, now)
    return progress, now


STILL = [(7.0, True)] * (1 + int(STUCK_SECONDS / LOOK))


@pytest.mark.parametrize(
    ("looks", "stuck"),
    [
        pytest.param(STILL, True, id="it works and does not count on"),
        pytest.param(STILL[:-1], False, id="not for long enough"),
        pytest.param([(7.0, False)] * 20, False, id="it has nothing to do"),
        pytest.param([(None, True)] * 20, False, id="it does not count at all"),
        pytest.param([*STILL[:-1], (8.0, True), (8.0, True)], False, id="one token in time"),
        pytest.param([*STILL, (7.0, False), (7.0, False)], True, id="what it had was taken away: still stuck"),
        pytest.param([*STILL, (7.0, False), (8.0, False)], False, id="it counts on: it has come to itself"),
        pytest.param([*STILL, (0.0, False)], False, id="it was restarted"),
        pytest.param([*[(7.0, False)] * 20, (7.0, True)], False, id="work that has just begun"),
    ],
)
def test_stuck(looks: list[tuple[float | None, bool]], stuck: bool) -> None:
    progress, now = after(*looks)
    assert progress.stuck(now) is stuck
    assert (progress.standing(now) > 0) is stuck


@pytest.mark.parametrize(
    ("looks", "since", "moving"),
    [
        pytest.param([(7.0, True), (8.0, True)], 0.0, True, id="it counts on"),
        pytest.param([(7.0, True), (8.0, True), (8.0, True), (8.0, True)], 0.0, True, id="a pause of two looks"),
        pytest.param([(7.0, True), (8.0, True), (8.0, True), (8.0, True)], 3.0, False, id="a longer one"),
        pytest.param([(7.0, False)], LOOK, True, id="work that no look has seen yet"),
        pytest.param([(None, True)] * 3, 0.0, False, id="it does not count at all"),
    ],
)
def test_moving(looks: list[tuple[float | None, bool]], since: float, moving: bool) -> None:
    progress, now = after(*looks)
    assert progress.moving(now + since, LOOK) is moving


def test_a_look_that_fails_is_no_sign_of_anything() -> None:
    progress, now = after(*STILL[:-1])
    progress = progress.unread(now + LOOK)
    assert not progress.stuck(now + LOOK)
    assert progress.moving(now + LOOK, LOOK)
    assert not progress.moving(now + 4 * LOOK, LOOK)
