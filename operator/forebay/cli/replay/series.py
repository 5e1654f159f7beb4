"""How a pool went over time, in as many points as there is room for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forebay.replay import PlayedMinute

BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Series:
    """One figure over time; `points` are (hours, value). `most` of each stretch, else its mean."""

    name: str
    points: tuple[tuple[float, float], ...]

    @property
    def most(self) -> float:
        """The highest value."""
        return max((value for _, value in self.points), default=0.0)

    def bars(self) -> str:
        """A bar for each point; the lowest one is anything above zero."""
        top = self.most or 1.0
        return "".join(BARS[min(8, int(8 * value / top + 0.999)) if value > 0 else 0] for _, value in self.points)


def demand(minute: PlayedMinute) -> float:
    """Requests at a time that want the pool: running, queued, and at a provider for lack of a slot."""
    return minute.running + minute.queued + minute.overflowing


def series(minutes: Sequence[PlayedMinute], points: int) -> dict[str, Series]:
    """The figures of one pool: replicas, slots, demand, what left a minute."""
    stretches = _stretches(minutes, points)

    def line(name: str, of: Callable[[PlayedMinute], float], *, most: bool = False) -> Series:
        values = (
            (part[0].minute / 60, max(map(of, part)) if most else sum(map(of, part)) / len(part)) for part in stretches
        )
        return Series(name, tuple(values))

    return {
        "replicas": line("replicas that serve", lambda minute: minute.ready),
        "slots": line("slots", lambda minute: minute.slots),
        "demand": line("demand", demand),
        "peak": line("demand, busiest minute", demand, most=True),
        "running": line("running", lambda minute: minute.running),
        "left": line("left, a minute", lambda minute: minute.overflowed),
        "refused": line("refused, a minute", lambda minute: minute.refused),
    }


def _stretches(minutes: Sequence[PlayedMinute], points: int) -> list[Sequence[PlayedMinute]]:
    size = max(1, -(-len(minutes) // points))
    return [minutes[at : at + size] for at in range(0, len(minutes), size)]
