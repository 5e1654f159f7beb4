"""How good answers are: scores, calibration, and the tables of docs/classifier.md."""

import math
import statistics
from itertools import pairwise
from typing import Final

from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from bench.classify.data import Sample
from forebay.resources.reasons import Capability
from forebay.rules.learned import CLASSES, LinearModel, Words, logits

Said = tuple[float, float, float, float] | None
"""Logits of the four classes; None or UNKNOWN where the model knows nothing of what it read."""
UNKNOWN: Final = (0.0, 0.0, 0.0, 0.0)
BINS: Final = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)


def shares(said: Said) -> list[float]:
    """The probability of each class."""
    powers = [math.exp(one) for one in said or UNKNOWN]
    return [power / sum(powers) for power in powers]


def heuristic(row: Sample) -> int:
    """What the heuristic says, which no row gives a task type or a score."""
    short = row.limit is not None and row.limit < 200 and not row.context
    return CLASSES.index(Capability.CLASSIFICATION if short else Capability.GENERAL)


def answers(rows: list[Sample], said: list[Said], threshold: float) -> list[int]:
    """The model's word from the threshold on, else the heuristic's."""
    found = [shares(one) for one in said]
    return [each.index(max(each)) if max(each) >= threshold else heuristic(row)
            for row, each in zip(rows, found, strict=True)]  # fmt: skip


def macro_f1(truth: list[int], found: list[int]) -> float:
    """The mean of the classes' F1."""
    return float(f1_score(truth, found, average="macro"))


def by_confidence(rows: list[Sample], said: list[Said]) -> list[tuple[str, int, float, float]]:
    """By bin of confidence: its name, requests, their mean confidence, the share of right ones."""
    sure = [shares(one) for one in said]
    known = [(max(each), each.index(max(each)) == row.label) for row, each in zip(rows, sure, strict=True)]
    found = []
    for low, high in pairwise(BINS):
        if some := [(one, right) for one, right in known if low <= one < high]:
            mean, right = statistics.mean(one for one, _ in some), statistics.mean(right for _, right in some)
            found.append((f"{low:.1f} to {high:.1f}", len(some), mean, right))
    return found


def calibration_error(rows: list[Sample], said: list[Said]) -> float:
    """By how much a bin's mean confidence misses its share of right ones, in the mean over requests."""
    bins = by_confidence(rows, said)
    return sum(abs(sure - right) * count for _, count, sure, right in bins) / len(rows)


def of_readers(rows: list[Sample], by_name: dict[str, list[int]]) -> str:
    """A line for each reader: of all rows, of those without and with a system prompt."""
    parts = {"all": [True] * len(rows), "without a system prompt": [not row.words.system for row in rows],
             "with one": [bool(row.words.system) for row in rows]}  # fmt: skip
    titles = [f"{name} ({sum(of):,})" for name, of in parts.items()]
    lines = [f"| accuracy / macro-F1 | {' | '.join(titles)} |", "| --- |" + " --- |" * len(parts)]
    for name, found in by_name.items():
        values = []
        for of in parts.values():
            truth = [row.label for row, is_in in zip(rows, of, strict=True) if is_in]
            here = [one for one, is_in in zip(found, of, strict=True) if is_in]
            values.append(f"{accuracy_score(truth, here):.3f} / {macro_f1(truth, here):.3f}")
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def tables(rows: list[Sample], weights: LinearModel) -> str:
    """What the page says of a model that has not seen these rows."""
    truth = [row.label for row in rows]
    said = [logits(row.words, weights) for row in rows]
    user = [logits(Words(row.words.user), weights) for row in rows]
    found = answers(rows, said, weights.threshold)
    lines = [
        of_readers(rows, {
            "reads `Anywhere`": found,
            "reads `User`": answers(rows, user, weights.threshold),
            "the heuristic alone": [heuristic(row) for row in rows],
        }),
        "| it is ↓, it was taken for → | " + " | ".join(CLASSES) + " | F1 |",
        "| --- |" + " --- |" * (len(CLASSES) + 1),
    ]  # fmt: skip
    each = f1_score(truth, found, average=None)
    for name, counts, score in zip(CLASSES, confusion_matrix(truth, found), each, strict=True):
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {score:.3f} |")
    lines += ["", "| confidence | requests | its mean | right |", "| --- | --- | --- | --- |"]
    for name, count, sure, right in by_confidence(rows, said):
        lines.append(f"| {name} | {count:,} | {sure:.2f} | {right:.2f} |")
    apart = calibration_error(rows, said)
    lines += ["", f"Confidence and the share of right ones are {apart:.3f} apart (expected calibration error)."]
    return "\n".join(lines) + "\n"
