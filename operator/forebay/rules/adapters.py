"""Which LoRA adapter an engine is to load or unload next, by what is wanted and what it lists. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay.resources.table import AdapterEntry

SETTLE_SECONDS: Final = 1.0
"""For so long a gateway may still send requests for an adapter that it was told is leaving."""
AGAIN_SECONDS: Final = 5.0
AGAIN_MOST_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """Unload this name, then load this adapter. Both where the same name is to come from another source."""

    unload: str = ""
    load: AdapterEntry | None = None


@dataclass(frozen=True, slots=True)
class RefusedAdapter:
    """An adapter that the engine did not take, in its words; `again`: when it is asked once more, in loop seconds."""

    words: str
    times: int
    again: float


@dataclass(frozen=True, slots=True)
class Departure:
    """An adapter that is wanted no more. It is routed no more from the start, and unloaded when what then ran is over.

    `open`: requests that may use it; None until no more can come.
    """

    since: float
    open: frozenset[bytes] | None = None

    def look(self, running: Collection[bytes], now: float) -> "Departure":
        """The departure after one more look at what runs."""
        if self.open is None:
            return Departure(self.since, frozenset(running)) if now - self.since >= SETTLE_SECONDS else self
        return Departure(self.since, self.open.intersection(running))

    def over(self, now: float, longest: float) -> bool:
        """Whether nothing uses it any more, or for so long that nothing should."""
        return self.open is not None and (not self.open or now - self.since >= longest)


@dataclass(frozen=True, slots=True)
class AdapterView:
    """What is known of one engine's adapters. `loaded`: source by name, as it lists them."""

    wanted: Sequence[AdapterEntry] = ()
    loaded: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[AdapterEntry, RefusedAdapter] = field(default_factory=dict)

    @property
    def leaving(self) -> frozenset[str]:
        """Names that it lists and nobody wants."""
        return frozenset(self.loaded) - {adapter.name for adapter in self.wanted}

    @property
    def missing(self) -> tuple[AdapterEntry, ...]:
        """Those that are wanted and not there as they are wanted."""
        return tuple(adapter for adapter in self.wanted if self.loaded.get(adapter.name) != adapter.source)

    @property
    def tried(self) -> bool:
        """Whether each that is missing was refused: there is nothing to wait for."""
        return all(adapter in self.refused for adapter in self.missing)


def next_step(view: AdapterView, over: Collection[str], now: float) -> Step | None:
    """The first thing to do, or None. What clients can use more comes before what they can use less. `over`: names that
    nothing uses any more."""
    for adapter in view.missing:
        refusal = view.refused.get(adapter)
        if refusal is None or now >= refusal.again:
            return Step(adapter.name if adapter.name in view.loaded else "", adapter)
    gone = sorted(view.leaving.intersection(over))
    return Step(gone[0]) if gone else None


def refused(before: RefusedAdapter | None, words: str, now: float) -> RefusedAdapter:
    """One more refusal: each wait is twice the one before."""
    times = 1 if before is None else before.times + 1
    return RefusedAdapter(words, times, now + min(AGAIN_SECONDS * 2.0 ** (times - 1), AGAIN_MOST_SECONDS))
