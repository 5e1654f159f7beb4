"""What wakes a pool at zero."""

import pytest

from forebay.resources.terms import WakeAfter
from forebay.rules.wake import Sleep, WakeInputs, wake

NOW = 1_800_000_000.0
PRICED = {"cold_start_cost": 0.10, "cloud": True}


def story(*looks: dict[str, object], **always: object) -> list[bool]:
    """Whether each look wakes the pool; a look is every five seconds."""
    sleep, awake = Sleep(), []
    for number, look in enumerate(looks):
        inputs = WakeInputs(now=NOW + 5 * number, **{**always, **look})  # type: ignore[arg-type]
        woken, sleep = wake(sleep, inputs)
        awake.append(woken)
    return awake


QUIET: dict[str, object] = {}
ASKED: dict[str, object] = {"wanted": True}


def test_without_a_price_the_first_request_wakes() -> None:
    assert story(QUIET, ASKED) == [False, True]
    assert story(QUIET, ASKED, cloud=True) == [False, True]


def test_without_a_cloud_the_first_request_wakes_whatever_it_costs() -> None:
    assert story(ASKED, cold_start_cost=5.0) == [True]
    assert story(ASKED, cold_start_cost=5.0, after=WakeAfter.BREAK_EVEN) == [True]


def test_with_a_price_and_a_cloud_it_wakes_once_the_overflow_has_cost_a_cold_start() -> None:
    spends = {"wanted": True, "overflowed": 1, "spent": 0.04}
    assert story(spends, spends, spends, **PRICED) == [False, False, True]


def test_a_request_that_the_cloud_does_not_take_wakes_at_once() -> None:
    assert story({"wanted": True, "stuck": True}, **PRICED) == [True]


def test_a_cloud_without_prices_can_never_break_even_so_the_first_request_wakes() -> None:
    assert story({"wanted": True, "overflowed": 1, "spent": 0.0}, **PRICED) == [True]


def test_what_was_spent_before_a_long_pause_does_not_count() -> None:
    spends = {"wanted": True, "overflowed": 1, "spent": 0.09}
    assert story(spends, QUIET, spends, **PRICED) == [False, False, True]
    assert story(spends, *[QUIET] * 4, spends, pause=10.0, **PRICED)[-1] is False


def test_sustained_needs_a_minute_without_a_pause() -> None:
    assert story(*[ASKED] * 13, after=WakeAfter.SUSTAINED) == [False] * 12 + [True]
    assert not any(story(*[ASKED] * 8, QUIET, *[ASKED] * 8, after=WakeAfter.SUSTAINED))


@pytest.mark.parametrize("after", list(WakeAfter))
def test_nothing_wakes_a_pool_that_nobody_asks_for(after: WakeAfter) -> None:
    assert not any(story(*[QUIET] * 20, after=after, **PRICED))
