"""How long replicas take to start: from wanted to serving, as the pods show it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from forebay.controller.observe.pods import Pod

REMEMBERED_STARTS: Final = 10
_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Starts:
    """Pods that have not served yet, with when they were made (Unix seconds); how many seconds the last ones took."""

    seconds: tuple[int, ...] = ()
    awaited: Mapping[str, float] = field(default_factory=dict)  # by uid
    served: frozenset[str] = frozenset()

    def look(self, pods: Iterable[Pod], now: float) -> "Starts":
        """After one more look at the pool's pods. One that is ready when first seen tells nothing."""
        pods = [pod for pod in pods if pod.created and not pod.terminating]
        done = [pod for pod in pods if pod.ready and pod.uid in self.awaited]
        served = frozenset(pod.uid for pod in pods if pod.ready or pod.uid in self.served)
        awaited = {pod.uid: pod.created for pod in pods if pod.uid not in served}
        taken = tuple(max(1, round(now - self.awaited[pod.uid])) for pod in done if pod.uid not in self.served)
        return Starts((*self.seconds, *taken)[-REMEMBERED_STARTS:], awaited, served)

    @property
    def most(self) -> int | None:
        """What 90 % of the last starts did not exceed; None while none was seen."""
        ordered = sorted(self.seconds)
        return ordered[ceil(_SHARE * len(ordered)) - 1] if ordered else None
