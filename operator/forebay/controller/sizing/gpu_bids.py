"""What the pools of all fleets ask for, so that passes over different fleets take turns at the same GPUs.

A plan is made from what stands here, and what it asks for is written here before anything else can be planned. All of
it may be lost: after a restart nobody asks for more before every fleet has been looked at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from forebay.controller.sizing.arbitration import resource_of
from forebay.rules.arbitrate import Bid

KEPT_SECONDS: Final = 60.0
"""After which a fleet that is not looked at any more stands in nobody's way."""


@dataclass(slots=True)
class GpuBids:
    """Bids by namespace. Times are Unix seconds."""

    began: float
    _bids: dict[str, tuple[float, tuple[Bid, ...]]] = field(default_factory=dict)

    def rivals(self, namespace: str, now: float) -> tuple[Bid, ...]:
        """What pools of other namespaces ask for."""
        told = (
            bids for name, (at, bids) in self._bids.items() if bids and name != namespace and now - at < KEPT_SECONDS
        )
        return tuple(bid for bids in told for bid in bids)

    def knows(self, namespaces: Iterable[str], now: float) -> bool:
        """Whether all of them have said what they ask for, or have had the time to."""
        return now - self.began >= KEPT_SECONDS or all(name in self._bids for name in namespaces)

    def tell(self, namespace: str, bids: tuple[Bid, ...], now: float) -> None:
        """What the pools of this namespace ask for now."""
        self._bids[namespace] = (now, bids)

    def repeat(self, namespace: str, now: float) -> None:
        """They ask for what they asked for."""
        if (told := self._bids.get(namespace)) is not None:
            self._bids[namespace] = (now, told[1])

    def excuse(self, namespace: str, now: float) -> None:
        """Nobody waits to hear what they ask for: they cannot ask for anything."""
        self._bids.setdefault(namespace, (now, ()))

    def forget(self, namespace: str) -> None:
        """It has no pools any more."""
        self._bids.pop(namespace, None)

    def waiting(self) -> Mapping[str, frozenset[str]]:
        """Namespaces by the GPU resource that pools of theirs wait for."""
        found: dict[str, set[str]] = {}
        for namespace, (_, bids) in self._bids.items():
            for bid in bids:
                if bid.gpus and (bid.unplaced or bid.wanted > bid.size):
                    found.setdefault(resource_of(bid.gpus), set()).add(namespace)
        return {resource: frozenset(names) for resource, names in found.items()}
