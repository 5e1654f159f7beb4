"""When a pool at zero gets a replica again: a pure transition over what its requests have asked and cost meanwhile."""

from dataclasses import dataclass, replace
from typing import Final

from forebay.resources.terms import EngineType, WakeAfter

START_SECONDS: Final = {EngineType.VLLM: 300.0, EngineType.SIMULATED: 15.0}
"""What a start is taken for until one was seen."""
SUSTAINED_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 600.0
"""Without a request for so long, what was asked before does not count, where the pool names no time of its own."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Since when requests want the pool, when the last one did (Unix seconds, 0 for none), what they cost (dollars)."""

    since: float = 0.0
    last: float = 0.0
    spent: float = 0.0


@dataclass(frozen=True, slots=True)
class WakeInputs:
    """What is known of a pool at zero. Money in US dollars; `overflowed` and `spent` since the last look."""

    now: float
    after: WakeAfter | None = None
    wanted: bool = False  # a request waits, or has left or been refused in the last seconds
    stuck: bool = False  # one that the cloud did not take
    overflowed: int = 0
    spent: float = 0.0
    cold_start_cost: float | None = None  # of one replica; None without a price
    cloud: bool = False  # what the pool cannot take may leave
    pause: float = PAUSE_SECONDS  # as long as the pool would stay up without a request


def wake(sleep: Sleep, inputs: WakeInputs) -> tuple[bool, Sleep]:
    """Whether to start a replica, and what to remember if not."""
    priced = inputs.cold_start_cost is not None and inputs.cloud
    after = inputs.after or (WakeAfter.BREAK_EVEN if priced else WakeAfter.FIRST_REQUEST)
    pause = 0.0 if after is WakeAfter.SUSTAINED else inputs.pause
    if not inputs.wanted:
        over = inputs.now - sleep.last > pause
        return False, Sleep() if over else sleep
    since = sleep.since or inputs.now
    sleep = replace(sleep, since=since, last=inputs.now, spent=sleep.spent + inputs.spent)
    if after is WakeAfter.SUSTAINED:
        return inputs.now - since >= SUSTAINED_SECONDS, sleep
    if after is WakeAfter.FIRST_REQUEST or not priced or inputs.stuck:
        return True, sleep
    assert inputs.cold_start_cost is not None
    return sleep.spent >= inputs.cold_start_cost or _unpriced(inputs), sleep


def _unpriced(inputs: WakeInputs) -> bool:
    """Whether the cloud's models have no prices, so that nothing could ever break even."""
    return inputs.overflowed > 0 and inputs.spent == 0.0
