"""A linear model on a request's words: which capability they ask for, and how sure that is (docs/classifier.md).

Four passages of a text are read: the opening, the close, the first line, the last line. In each of them the words, cut
to five letters, and the pairs of neighbours are looked up. Of the user's words all four are read, and beside a system
prompt, which has weights of its own, the first and the last line alone: those words may be material.
The shape of the text counts too, and what the request says of its answer. Deterministic and bounded.
"""

import math
import re
from functools import cache
from importlib.resources import files
from itertools import pairwise, repeat
from typing import Final, NamedTuple

from forebay.resources.reasons import Capability

READ: Final = 256  # characters, at each end
LONGEST: Final = 40  # words of a passage
LONGEST_LINE: Final = 30
USER: Final = (0, 1, 2, 3)
SYSTEM: Final = (4, 5, 6, 7)
"""Places of a text's passages in the table: opening, close, first line, last line."""
SHARED: Final = "*"
"""Marks weights in the table that hold for every passage, on top of its own."""
TOOLS, SCHEMA, CHOICE, JSON = "tools", "schema", "choice", "json"
"""Evidence beside the words: tools to call; an answer by a schema; one of a closed set; any JSON."""
WEIGHTS: Final = "learned.tsv"
CLASSES: Final = (Capability.CLASSIFICATION, Capability.EXTRACTION, Capability.REASONING, Capability.GENERAL)
"""The last one's weights are zero: only differences count."""

Passage = list[str]
Feature = str | tuple[str, str]

_BITS = 20  # three weights make one integer, so that one sum is three sums, each of them below 2**19
_HALF, _ALL = 1 << _BITS - 1, (1 << _BITS) - 1
_OFFSET = _HALF | _HALF << _BITS | _HALF << 2 * _BITS
_SCRIPT = (
    "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces, or agglutinating: by character
)
_ASCII = re.compile(r"(?<![a-z])[a-z]{1,5}|(?<!\d)\d|[^\w\s]|(?<!\n)\n")
_ANY = re.compile(rf"[{_SCRIPT}]|(?<![^\W\d_])[^\W\d_]{{1,5}}|(?<!\d)\d|[^\w\s]|(?<!\n)\n")
_NUMBER = re.compile(r"\d+")
_ZERO = repeat(0)
_NEWLINE = "\n"


class Words(NamedTuple):
    """Where a request may say its task: what the user wrote last, the system prompt, and evidence beside them."""

    user: str
    system: str = ""
    evidence: tuple[str, ...] = ()


class Guess(NamedTuple):
    """What the model says; `confidence` is between 0 and 1, and 0 where it knows nothing of what it read."""

    capability: Capability
    confidence: float


class Reading(NamedTuple):
    """A request as the model sees it: passages with their places in the table, and facts of the shape."""

    passages: list[tuple[int, Passage]]
    shape: list[str]


class LinearModel(NamedTuple):
    """Weights as packed integers: by passage, by shape. `scale` turns their sum into a logit."""

    passages: tuple[dict[Feature, int], ...]
    shape: dict[str, int]
    scale: float
    threshold: float


def guess(words: Words, model: LinearModel | None = None) -> Guess:
    """What the words ask for. Takes any text, reads at most `READ` characters at each end of both, never raises."""
    found = logits(words, model or load())
    if found is None:
        return Guess(CLASSES[-1], 0.0)
    best = max(found)
    return Guess(CLASSES[found.index(best)], 1 / sum([math.exp(logit - best) for logit in found]))


def logits(words: Words, model: LinearModel) -> tuple[float, float, float, float] | None:
    """One number a class; None where nothing that was read is known."""
    passages, shape = read(words)
    first, second, third = _three(sum(map(model.shape.get, shape, _ZERO)), model.scale)
    known = bool(words.evidence)
    for place, passage in passages:
        table = model.passages[place]
        seen = set(passage[1:])
        packed = sum(map(table.get, seen, _ZERO)) + sum(map(table.get, pairwise(passage), _ZERO))
        if packed:
            known = True
            a, b, c = _three(packed, model.scale / math.sqrt(len(seen) + len(passage) - 1))
            first, second, third = first + a, second + b, third + c
    return (first, second, third, 0.0) if known else None


def read(words: Words) -> Reading:
    """The passages, each beginning with the mark `^`, and what is to be said of the shape of both texts."""
    text = _ends(words.user)
    opening, close, first, last = _passages(text)
    shape = [f"length {min(len(text).bit_length(), 11)}", f"lines {min(opening.count(_NEWLINE), 4)}",
             f"numbers {min(len(_NUMBER.findall(text, 0, READ)), 6)}", *words.evidence]  # fmt: skip
    if "?" in close:
        shape.append("asks")
        if text[-1] == "?":
            shape.append("ends by asking")
    if not (system := _ends(words.system)):
        return Reading(list(zip(USER, (opening, close, first, last), strict=True)), shape)
    shape += "system", f"system length {min(len(system).bit_length(), 11)}"
    return Reading([(2, first), (3, last), *zip(SYSTEM, _passages(system), strict=True)], shape)


@cache
def load() -> LinearModel:
    """The package's weights: read once; a router does so when it starts."""
    return parse(files(__package__).joinpath(WEIGHTS).read_text("utf-8"))


def parse(text: str) -> LinearModel:
    """Weights as `bench/classify` writes them: scale and threshold, then lines of `passage TAB words TAB w w w`."""
    lines = iter(text.splitlines())
    scale, threshold = map(float, next(lines).split())
    shape: dict[str, int] = {}
    shared: dict[Feature, int] = {}
    own: list[dict[Feature, int]] = [{} for _ in (*USER, *SYSTEM)]
    words: dict[str, str] = {}
    for line in lines:
        where, what, numbers = line.split("\t")
        packed = sum(int(number) << _BITS * place for place, number in enumerate(numbers.split()))
        if where == "s":
            shape[what] = packed
            continue
        one, _, two = what.replace("\\n", _NEWLINE).partition(" ")
        one, two = words.setdefault(one, one), words.setdefault(two, two)
        (shared if where == SHARED else own[int(where)])[(one, two) if two else one] = packed
    return LinearModel(tuple(_sum(shared, table) for table in own), shape, scale, threshold)


def _sum(shared: dict[Feature, int], own: dict[Feature, int]) -> dict[Feature, int]:
    return shared | {feature: packed + shared.get(feature, 0) for feature, packed in own.items()}


def _ends(text: str) -> str:
    return (text if len(text) <= 4 * READ else text[: 2 * READ] + text[-2 * READ :]).strip().lower()


def _passages(text: str) -> tuple[Passage, Passage, Passage, Passage]:
    opening = close = _words(text[:READ])
    if len(text) > READ:
        close = _words(text[-READ:])
    first, last = opening, close
    if _NEWLINE in opening:
        first = opening[: opening.index(_NEWLINE)]
    if _NEWLINE in close:
        last = close[len(close) - close[::-1].index(_NEWLINE) :]
    return (
        ["^", *opening[:LONGEST]],
        ["^", *close[-LONGEST:]],
        ["^", *first[:LONGEST_LINE]],
        ["^", *last[-LONGEST_LINE:]],
    )


def _words(text: str) -> Passage:
    return (_ASCII if text.isascii() else _ANY).findall(text)


def _three(packed: int, scale: float) -> tuple[float, float, float]:
    packed += _OFFSET
    return (
        ((packed & _ALL) - _HALF) * scale,
        ((packed >> _BITS & _ALL) - _HALF) * scale,
        ((packed >> 2 * _BITS) - _HALF) * scale,
    )
