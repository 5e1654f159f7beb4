"""The slots of one engine: the only count of what runs. Exact and instant; no I/O."""

from collections.abc import Callable

from forebay.resources.reasons import Priority
from forebay.resources.report import ReplicaState
from forebay.rules.capacity import high_reserve
from forebay.rules.offers import Offer, Offers


class Admission:
    """C slots, some kept for High, some held for offers. `on_change` is called after every change.

    A request takes as many slots as its `weight` says, and is admitted while at least one is free: a long one may
    overdraw by less than its own weight, and nothing is admitted then until that is paid back. So nobody starves.
    """

    def __init__(self, slots: int, high_percent: int = 10) -> None:
        self.slots = slots
        self.reserve = high_reserve(slots, high_percent)
        self.high_percent = high_percent
        self.running = 0  # slots in use
        self.requests = 0
        self.offers = Offers()
        self.state = ReplicaState.STARTING
        self.paused = False  # nothing is admitted for a moment; what runs goes on
        self.admitted_total = 0
        self.finished_total = 0
        self.refused_total = 0
        self.service_seconds_total = 0.0
        self.on_change: Callable[[], None] = _nothing

    @property
    def free_high(self) -> int:
        """Slots that a High request may take now."""
        if self.state is not ReplicaState.SERVING or self.paused:
            return 0
        return max(0, self.slots - self.running - self.offers.held)

    @property
    def free(self) -> int:
        """Slots that a Normal or Low request may take now."""
        return max(0, self.free_high - self.reserve)

    def admit(self, priority: Priority, weight: int = 1) -> bool:
        """Take slots; False when there is none for this priority."""
        if (self.free_high if priority is Priority.HIGH else self.free) <= 0:
            self.refused_total += 1
            return False
        self._take(weight)
        return True

    def admit_offered(self, offer_id: int, weight: int = 1) -> Offer | None:
        """Take the slot that an offer holds; None when the offer is over or nothing is admitted any more."""
        if self.state is not ReplicaState.SERVING or self.paused or (offer := self.offers.admit(offer_id)) is None:
            return None
        self._take(weight)
        return offer

    def release(self, seconds: float, served: bool = True, weight: int = 1) -> None:
        """Give slots back after `seconds`; `served` False keeps it out of the service time."""
        self.running -= weight
        self.requests -= 1
        if served:
            self.finished_total += 1
            self.service_seconds_total += seconds
        self.on_change()

    def resize(self, slots: int, high_percent: int) -> None:
        """A new capacity; what runs goes on."""
        if (slots, high_percent) != (self.slots, self.high_percent):
            self.slots, self.high_percent = slots, high_percent
            self.reserve = high_reserve(slots, high_percent)
            self.on_change()

    def pause(self, paused: bool) -> None:
        """Admit nothing, or go on."""
        if paused is not self.paused:
            self.paused = paused
            self.on_change()

    def become(self, state: ReplicaState) -> None:
        """Change the state; draining is for good."""
        if state is not self.state and self.state is not ReplicaState.DRAINING:
            self.state = state
            self.on_change()

    def _take(self, weight: int) -> None:
        self.running += weight
        self.requests += 1
        self.admitted_total += 1
        self.on_change()


def _nothing() -> None:
    """Nobody listens yet."""
