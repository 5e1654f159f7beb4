"""How many requests one replica runs at a time: C = min(override | memory bound, latency bound, max_num_seqs).

What is learnt from engines moves C slowly, and routers are told in steps. Back-pressure is not in here: it cuts the
slots of one replica for a minute and leaves C as it is.
"""

from dataclasses import dataclass
from math import exp, floor, log1p
from typing import Final

from forebay.resources.reasons import CapacityBound as Bound

UNKNOWN: Final = 32
"""Before an engine has said anything: the low end of what an A100 runs of a 7B model."""

TYPICAL_TOKENS: Final = 2048
"""Live tokens of a request before any was seen."""

UP_PER_HOUR: Final = 0.02
DOWN_PER_HOUR: Final = 0.05
STEP_SHARE: Final = 0.05
"""Routers are told of a change once it is this share of the slots, and one slot at least."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the operator has decided on: slots of an engine whose cache holds `kv_tokens` (0: unknown)."""

    slots: int
    bound: Bound
    kv_tokens: int = 0

    def on(self, kv_tokens: int | None) -> int:
        """Slots of an engine with this cache: fewer where it is smaller, so that a mixed pool stays safe."""
        if not kv_tokens or kv_tokens >= self.kv_tokens:
            return self.slots
        return self.slots * kv_tokens // self.kv_tokens


@dataclass(frozen=True, slots=True)
class CapacityInputs:
    """What is known; None where nothing is. `kv_tokens` is what the engine's cache holds."""

    override: int | None = None
    max_num_seqs: int | None = None
    kv_tokens: int | None = None
    live_tokens: int = TYPICAL_TOKENS  # p90 of this pool's requests
    latency: int | None = None  # most requests that keep the target for the time per token
    table: int | None = None  # what GPU and model are known for
    learnt: Learnt | None = None  # takes the place of the other bounds, max_num_seqs and override excepted


@dataclass(frozen=True, slots=True)
class ReplicaCapacity:
    """Slots of one replica, and which bound decided."""

    slots: int
    bound: Bound


def capacity(inputs: CapacityInputs) -> ReplicaCapacity:
    """The smallest bound that is known; an override is the operator's word and only yields to max_num_seqs."""
    bounds: list[tuple[int, Bound]] = []
    if inputs.max_num_seqs is not None:
        bounds.append((inputs.max_num_seqs, Bound.MAX_NUM_SEQS))
    if inputs.override is not None:
        bounds.append((inputs.override, Bound.OVERRIDE))
    elif inputs.learnt is not None:
        bounds.append((inputs.learnt.on(inputs.kv_tokens), inputs.learnt.bound))
    else:
        bounds += _of_engine(inputs)
        if not bounds or (bounds[-1][1] is Bound.MAX_NUM_SEQS and bounds[-1][0] > UNKNOWN):
            bounds.append((UNKNOWN, Bound.UNKNOWN))
    slots, bound = min(bounds, key=lambda item: item[0])
    return ReplicaCapacity(max(1, slots), bound)


def _of_engine(inputs: CapacityInputs) -> list[tuple[int, Bound]]:
    """By what the engine says and shows, else by what is known of its kind."""
    found: list[tuple[int, Bound]] = []
    if inputs.kv_tokens is not None:
        found.append((inputs.kv_tokens // max(1, inputs.live_tokens), Bound.MEMORY))
    elif inputs.table is not None:
        found.append((inputs.table, Bound.TABLE))
    if inputs.latency is not None:
        found.append((inputs.latency, Bound.LATENCY))
    return found


def moved(exact: float, target: float, hours: float) -> float:
    """C after `hours` on its way to `target`: at most 2 % an hour up, 5 % an hour down."""
    if target >= exact:
        return min(target, exact * exp(hours * log1p(UP_PER_HOUR)))
    return max(target, exact * exp(hours * log1p(-DOWN_PER_HOUR)))


def told(slots: int, exact: float) -> int:
    """The slots that routers know: they stay until C has moved by a step, so that noise changes nothing."""
    step = max(1.0, STEP_SHARE * slots)
    return slots if abs(exact - slots) < step else max(1, floor(exact))


def slot_tokens(found: ReplicaCapacity, kv_tokens: int | None) -> int:
    """Live tokens that one slot has room for: its share of the cache where memory is the bound."""
    if found.bound is not Bound.MEMORY or not kv_tokens:
        return TYPICAL_TOKENS
    return max(1, kv_tokens // found.slots)


def weight(live_tokens: int, found: ReplicaCapacity, typical: int = TYPICAL_TOKENS, sequences: int = 1) -> int:
    """Slots that one request takes, half of the replica at most: one for each sequence, and as many as its tokens fill
    where memory is the bound."""
    long = found.bound is Bound.MEMORY and live_tokens >= 2 * typical
    if not long and sequences == 1:
        return 1
    return max(1, min(max(round(live_tokens / typical) if long else 1, sequences), found.slots // 2))


def high_reserve(slots: int, percent: int) -> int:
    """Slots kept for High: the floor of the share, and none below 4 slots."""
    return slots * percent // 100 if slots >= 4 else 0
