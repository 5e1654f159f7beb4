"""How many requests one replica runs at a time: C = min(override, memory bound, max_num_seqs)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

UNKNOWN: Final = 32
"""Before an engine has said anything: the low end of what an A100 runs of a 7B model."""

TYPICAL_TOKENS: Final = 2048
"""Live tokens of a request before any was seen."""


class Bound(StrEnum):
    """Which of the bounds decides."""

    OVERRIDE = "Override"
    MEMORY = "Memory"
    MAX_NUM_SEQS = "MaxNumSeqs"
    UNKNOWN = "Unknown"
    BACK_PRESSURE = "BackPressure"  # the engine said 429 or 503 lately


@dataclass(frozen=True, slots=True)
class CapacityInputs:
    """What is known; None where nothing is. `kv_tokens` is what the engine's cache holds."""

    override: int | None = None
    max_num_seqs: int | None = None
    kv_tokens: int | None = None
    live_tokens: int = TYPICAL_TOKENS  # p90 of this pool's requests


@dataclass(frozen=True, slots=True)
class Capacity:
    """Slots of one replica, and which bound decided."""

    slots: int
    bound: Bound


def capacity(inputs: CapacityInputs) -> Capacity:
    """The smallest bound that is known; an override is the operator's word and only yields to max_num_seqs."""
    bounds: list[tuple[int, Bound]] = []
    if inputs.max_num_seqs is not None:
        bounds.append((inputs.max_num_seqs, Bound.MAX_NUM_SEQS))
    if inputs.override is not None:
        bounds.append((inputs.override, Bound.OVERRIDE))
    elif inputs.kv_tokens is not None:
        bounds.append((inputs.kv_tokens // max(1, inputs.live_tokens), Bound.MEMORY))
    elif not bounds or bounds[0][0] > UNKNOWN:
        bounds.append((UNKNOWN, Bound.UNKNOWN))
    slots, bound = min(bounds, key=lambda item: item[0])
    return Capacity(max(1, slots), bound)


def weight(live_tokens: int, found: Capacity, typical: int = TYPICAL_TOKENS) -> int:
    """Slots that one request takes. More than one only where memory is the bound, and half of the replica at most."""
    if found.bound is not Bound.MEMORY or live_tokens < 2 * typical:
        return 1
    return max(1, min(round(live_tokens / typical), found.slots // 2))


def high_reserve(slots: int, percent: int) -> int:
    """Slots kept for High: the floor of the share, and none below 4 slots."""
    return slots * percent // 100 if slots >= 4 else 0
