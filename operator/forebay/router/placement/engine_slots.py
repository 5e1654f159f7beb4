"""How many slots an engine has: what is known of its capacity, less a cut while it says that it has too much."""

import asyncio
from typing import Final

from forebay.resources.reasons import CapacityBound
from forebay.resources.table import PoolEntry
from forebay.rules.admission import Admission
from forebay.rules.capacity import (
    TYPICAL_TOKENS,
    CapacityInputs,
    Learnt,
    ReplicaCapacity,
    capacity,
    slot_tokens,
    weight,
)

CUT_SECONDS: Final = 60.0
"""How long at most an engine that said 429 or 503 gets fewer slots; each answer gives one of them back."""
CUT_SHARE: Final = 2
"""One refusal takes half of the slots at most: it may have been about that one request."""


class EngineSlots:
    """The slots of one engine."""

    def __init__(self, entry: PoolEntry) -> None:
        self.capacity = capacity(CapacityInputs())
        self.slots_without_cut = self.capacity.slots
        self.slot_tokens = TYPICAL_TOKENS
        self.admission = Admission(self.capacity.slots)
        self.entry = entry
        self.kv_tokens: int | None = None
        self._cut: tuple[int, float] = (0, 0.0)  # slots, and loop time until when

    def weight(self, live_tokens: int, sequences: int) -> int:
        """Slots that a request takes."""
        return weight(live_tokens, self.capacity, self.slot_tokens, sequences)

    def cut(self) -> None:
        """The engine said that it has too much: no more than runs now, without the one it refused, or half."""
        loop = asyncio.get_running_loop()
        slots = max(1, self.admission.running, self.capacity.slots // CUT_SHARE)
        self._cut = (min(slots, self.capacity.slots), loop.time() + CUT_SECONDS)
        self._count()
        loop.call_later(CUT_SECONDS + 0.1, self._count)

    def answered(self) -> None:
        """The engine answered: one of the slots that were cut comes back."""
        slots, until = self._cut
        if until:
            self._cut = (slots + 1, until) if slots < self.slots_without_cut else (0, 0.0)
            self._count()

    def resize(self, entry: PoolEntry, kv_tokens: int | None) -> None:
        """The pool's entry in the table, or the engine, says something new. `kv_tokens` as the engine reports them."""
        self.entry, self.kv_tokens = entry, kv_tokens
        self._count()

    def _count(self) -> None:
        entry, kv_tokens = self.entry, self.kv_tokens
        told = entry.learnt
        learnt = None if told is None else Learnt(told.slots, told.bound, told.kv_tokens)
        found = capacity(CapacityInputs(entry.slots_per_replica, entry.max_num_seqs, kv_tokens, learnt=learnt))
        self.slots_without_cut, self.slot_tokens = found.slots, slot_tokens(found, kv_tokens)
        slots, until = self._cut
        if until and asyncio.get_running_loop().time() < until:
            found = ReplicaCapacity(min(found.slots, slots), CapacityBound.BACK_PRESSURE)
        self.capacity = found
        self.admission.resize(found.slots, entry.high_reserved_percent)

    def drain_rate(self) -> float:
        """Requests a second that it would end with all slots in use; 0 while nothing is known."""
        a = self.admission
        mean = a.service_seconds_total / a.finished_total if a.finished_total else 0.0
        return a.slots / mean if mean else 0.0
