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
