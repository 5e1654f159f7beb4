"""The slots of one engine: the only count of what runs. Exact and instant; no I/O."""

from collections.abc import Callable

from forebay.resources.reasons import Priority
from forebay.resources.report import ReplicaState
from forebay.rules.capacity import high_reserve


class Admission:
    """C slots, some kept for High. `on_change` is called after every change."""

    def __init__(self, slots: int, high_percent: int = 10) -> None:
        self.slots = slots
        self.high_percent = high_percent
        self.running = 0
        self.state = ReplicaState.STARTING
        self.admitted_total = 0
        self.finished_total = 0
        self.refused_total = 0
        self.service_seconds_total = 0.0
        self.on_change: list[Callable[[], None]] = []

    @property
    def free_high(self) -> int:
        """Slots that a High request may take now."""
        return max(0, self.slots - self.running) if self.state is ReplicaState.SERVING else 0

    @property
    def free(self) -> int:
        """Slots that a Normal or Low request may take now."""
        return max(0, self.free_high - high_reserve(self.slots, self.high_percent))

    def admit(self, priority: Priority) -> bool:
        """Take a slot; False when there is none for this priority."""
        if (self.free_high if priority is Priority.HIGH else self.free) <= 0:
            self.refused_total += 1
            return False
        self.running += 1
        self.admitted_total += 1
        self._changed()
        return True

    def release(self, seconds: float, served: bool = True) -> None:
        """Give a slot back after `seconds`; `served` False keeps it out of the service time."""
        self.running -= 1
        if served:
            self.finished_total += 1
            self.service_seconds_total += seconds
        self._changed()

    def resize(self, slots: int, high_percent: int) -> None:
        """A new capacity; what runs goes on."""
        if (slots, high_percent) != (self.slots, self.high_percent):
            self.slots, self.high_percent = slots, high_percent
            self._changed()

    def become(self, state: ReplicaState) -> None:
        """Change the state; draining is for good."""
        if state is not self.state and self.state is not ReplicaState.DRAINING:
            self.state = state
            self._changed()

    def _changed(self) -> None:
        for callback in list(self.on_change):
            callback()
