"""The GPUs that a cluster has, and who waits for some: what fits is placed, first come first."""

from collections.abc import Callable
from math import inf

Placed = Callable[[], None]


class Nodes:
    """`gpus` None: as many as are asked for. Which of them a replica gets makes no difference."""

    def __init__(self, gpus: int | None = None) -> None:
        self.free: float = inf if gpus is None else gpus
        self._waiting: dict[object, tuple[int, Placed]] = {}

    def ask(self, who: object, gpus: int, place: Placed) -> None:
        """Call `place` as soon as there are so many."""
        self._waiting[who] = gpus, place
        self._schedule()

    def forget(self, who: object) -> None:
        """It is not wanted any more; nobody is there who waits."""
        self._waiting.pop(who, None)

    def give_back(self, gpus: int) -> None:
        """Somebody is gone."""
        self.free += gpus
        self._schedule()

    def _schedule(self) -> None:
        for who, (gpus, place) in list(self._waiting.items()):
            if gpus <= self.free and who in self._waiting:
                del self._waiting[who]
                self.free -= gpus
                place()
