"""A linear model on the user's own words: which capability they ask for, and how sure that is (docs/classifier.md).

Four passages are read: the opening, the close, the first line, the last line. In each of them the words, cut to five
letters, and the pairs of neighbours are looked up; the shape of the text counts too. Deterministic and bounded.
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


class Guess(NamedTuple):
    """What the model says; `confidence` is between 0 and 1, and 0 where it knows nothing of what it read."""

    capability: Capability
    confidence: float


class LinearModel(NamedTuple):
    """Weights as packed integers: by passage, by shape. `scale` turns their sum into a logit."""

    passages: tuple[dict[Feature, int], ...]
    shape: dict[str, int]
    scale: float
    threshold: float


def guess(text: str, model: LinearModel | None = None) -> Guess:
    """What the words ask for. Takes any text, reads at most `READ` characters at each end, never raises."""
    model = model or load()
    passages, shape = read(text)
    first, second, third = _three(sum(map(model.shape.get, shape, _ZERO)), model.scale)
    known = False
    for table, passage in zip(model.passages, passages, strict=True):
        words = set(passage[1:])
        packed = sum(map(table.get, words, _ZERO)) + sum(map(table.get, pairwise(passage), _ZERO))
        if packed:
            known = True
            a, b, c = _three(packed, model.scale / math.sqrt(len(words) + len(passage) - 1))
            first, second, third = first + a, second + b, third + c
    if not known:
        return Guess(CLASSES[-1], 0.0)
    logits = (first, second, third, 0.0)
    best = max(logits)
    return Guess(CLASSES[logits.index(best)], 1 / sum([math.exp(logit - best) for logit in logits]))


def read(text: str) -> tuple[tuple[Passage, Passage, Passage, Passage], list[str]]:
    """The four passages, each beginning with the mark `^`, and what is to be said of the text's shape."""
    text = text if len(text) <= 4 * READ else text[: 2 * READ] + text[-2 * READ :]
    text = text.strip().lower()
    opening = close = _words(text[:READ])
    if len(text) > READ:
        close = _words(text[-READ:])
    first, last = opening, close
    if "\n" in opening:
        first = opening[: opening.index("\n")]
    if "\n" in close:
        last = close[len(close) - close[::-1].index("\n") :]
    shape = [f"length {min(len(text).bit_length(), 11)}", f"lines {min(opening.count(_NEWLINE), 4)}",
             f"numbers {min(len(_NUMBER.findall(text, 0, READ)), 6)}"]  # fmt: skip
    if "?" in close:
        shape.append("asks")
        if text[-1] == "?":
            shape.append("ends by asking")
    return (
        ["^", *opening[:LONGEST]],
        ["^", *close[-LONGEST:]],
        ["^", *first[:LONGEST_LINE]],
        ["^", *last[-LONGEST_LINE:]],
    ), shape


@cache
def load() -> LinearModel:
    """The package's weights: read once; a router does so when it starts."""
    return parse(files(__package__).joinpath(WEIGHTS).read_text("utf-8"))


def parse(text: str) -> LinearModel:
    """Weights as `bench/classify` writes them: scale and threshold, then lines of `passage TAB words TAB w w w`."""
    lines = iter(text.splitlines())
    scale, threshold = map(float, next(lines).split())
    model = LinearModel(({}, {}, {}, {}), {}, scale, threshold)
    words: dict[str, str] = {}
    for line in lines:
        where, what, numbers = line.split("\t")
        packed = sum(int(number) << _BITS * place for place, number in enumerate(numbers.split()))
        if where == "s":
            model.shape[what] = packed
            continue
        one, _, two = what.replace("\\n", "\n").partition(" ")
        one, two = words.setdefault(one, one), words.setdefault(two, two)
        model.passages[int(where)][(one, two) if two else one] = packed
    return model


def _words(text: str) -> Passage:
    return (_ASCII if text.isascii() else _ANY).findall(text)


def _three(packed: int, scale: float) -> tuple[float, float, float]:
    packed += _OFFSET
    return (
        ((packed & _ALL) - _HALF) * scale,
        ((packed >> _BITS & _ALL) - _HALF) * scale,
        ((packed >> 2 * _BITS) - _HALF) * scale,
    )


_NEWLINE = "\n"
