"""How far a share may be off: because the log is a piece of time, and because the classifier errs.

Time: equal blocks of the log are drawn anew, with replacement (a block bootstrap), so bursts stay together.
Classifier: its confusion matrix on untouched sources (docs/classifier.md) is drawn anew, too, and the shares of guessed
classes are corrected by it. The matrix is drawn as if each class had been judged on `SOURCES` requests rather than on
hundreds, because rows of one source resemble each other: what varies is the source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

CONFUSION: Final = (
    (194, 20, 13, 165),
    (10, 211, 17, 102),
    (31, 2, 105, 77),
    (15, 59, 11, 249),
)
"""Requests by what they are (row) and what they are taken for, in the order of Capability; docs/classifier.md."""
SOURCES: Final = 11
"""Of each class, a guess: six families of sources, in them more than a hundred sets of wordings by many authors."""
DRAWS: Final = 400
ROUNDS: Final = 30
SURE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Span:
    """A value, and the bounds between which it lies with probability SURE, the value itself included."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: Sequence[float]) -> "Span":
        """The middle SURE of the draws."""
        ordered = sorted(draws)
        tail = int((1 - SURE) / 2 * len(ordered))
        return cls(value, min(value, ordered[tail]), max(value, ordered[-1 - tail]))

    def scaled(self, factor: float, more: float = 0.0) -> "Span":
        """Times a factor above 0, and then so much more."""
        return Span(self.value * factor + more, self.low * factor + more, self.high * factor + more)


@dataclass(slots=True)
class TimeBlock:
    """A piece of time: requests by class as told, by class as guessed, of no known class, and all in all.

    `capable` had a capability that the pool declares, `served` of them found room and a slot. `usd` is what all of it
    costs in the cloud, `kept` the part that the pool serves.
    """

    told: list[int]
    guessed: list[int]
    unknown: int = 0
    total: int = 0
    capable: int = 0
    served: int = 0
    usd: float = 0.0
    kept: float = 0.0


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all requests: by class, and what the pool serves. US dollars of the log: all of it in the cloud, and what
    still goes there."""

    classes: tuple[Span, ...]
    local: Span
    usd: Span
    left: Span


def shares(blocks: Sequence[TimeBlock], capable: Sequence[bool], unknown_fits: bool, seed: int = 0) -> Shares:
    """The shares as counted, with bounds. `capable` says of each class whether the pool declares it.

    Requests of no known class count as `unknown_fits` says; the bounds allow for both.
    """
    random = Random(seed)  # noqa: S311 - a simulation
    whole = _summed(blocks)
    drawn = [_draw(_summed(random.choices(blocks, k=len(blocks))), capable, unknown_fits, random) for _ in range(DRAWS)]
    classes = tuple(
        Span.of(
            (told + guessed) / whole.total if whole.total else 0.0,
            [draw.classes[place] for draw in drawn],
        )
        for place, (told, guessed) in enumerate(zip(whole.told, whole.guessed, strict=True))
    )
    value = whole.served / whole.total if whole.total else 0.0
    return Shares(
        classes,
        Span.of(value, [end for draw in drawn for end in (draw.low, draw.high)]),
        Span.of(whole.usd, [draw.usd for draw in drawn]),
        Span.of(whole.usd - whole.kept, [draw.usd - draw.kept for draw in drawn]),
    )


@dataclass(frozen=True, slots=True)
class _Draw:
    classes: tuple[float, ...]
    low: float
    high: float
    usd: float
    kept: float


def _draw(block: TimeBlock, capable: Sequence[bool], unknown_fits: bool, random: Random) -> _Draw:
    total = block.total or 1
    guesses = sum(block.guessed)
    truth = corrected_shares(block.guessed, drawn_confusion(random)) if guesses else [0.0] * len(capable)
    corrected = [guesses * share for share in truth]
    classes = tuple((told + guess) / total for told, guess in zip(block.told, corrected, strict=True))
    known = sum(share for share, fits in zip(classes, capable, strict=True) if fits)
    # Of what is capable this share was served: the rest was too long, or found no slot.
    served = block.served / block.capable if block.capable else 0.0
    unknown = block.unknown / total
    fitting = known + unknown if unknown_fits else known
    counted = block.capable / total
    kept = block.kept * (fitting / counted if counted else 1.0)
    return _Draw(classes, known * served, fitting * served, block.usd, min(kept, block.usd))


def drawn_confusion(random: Random) -> tuple[tuple[float, ...], ...]:
    """Each row of CONFUSION from the Dirichlet distribution with SOURCES observations."""
    rows = []
    for row in CONFUSION:
        parts = [random.gammavariate(max(1e-3, SOURCES * count / sum(row)), 1.0) for count in row]
        rows.append(tuple(part / sum(parts) for part in parts))
    return tuple(rows)


def corrected_shares(guessed: Sequence[float], confusion: Sequence[Sequence[float]]) -> list[float]:
    """Shares of what requests are, from how many were taken for what: expectation-maximisation (Saerens et al. 2002).

    Begins at the guesses, so that a few rounds move away from them only as far as the matrix asks for.
    """
    total = sum(guessed)
    found = [(count + 1e-9) / (total + 1e-9 * len(guessed)) for count in guessed]
    for _ in range(ROUNDS):
        following = [0.0] * len(found)
        for taken, count in enumerate(guessed):
            column = [share * row[taken] for share, row in zip(found, confusion, strict=True)]
            likely = sum(column)
            if likely > 0:
                for place, part in enumerate(column):
                    following[place] += count / total * part / likely
        found = following
    return found


def _summed(blocks: Sequence[TimeBlock]) -> TimeBlock:
    made = TimeBlock([sum(parts) for parts in zip(*(block.told for block in blocks), strict=True)],
                 [sum(parts) for parts in zip(*(block.guessed for block in blocks), strict=True)])  # fmt: skip
    for block in blocks:
        made.unknown += block.unknown
        made.total += block.total
        made.capable += block.capable
        made.served += block.served
        made.usd += block.usd
        made.kept += block.kept
    return made
