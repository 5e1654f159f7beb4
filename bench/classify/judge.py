"""Trains without each tenth of the sources, judges on that tenth, and says what it found."""

import datetime
import hashlib
import random
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from bench.classify import data, fit
from bench.classify.data import Sample
from forebay.resources.reasons import Capability
from forebay.rules import learned
from forebay.rules.learned import CLASSES, Guess, LinearModel, guess

REPO: Final = Path(__file__).resolve().parents[2]
WEIGHTS: Final = REPO / "operator/forebay/rules" / learned.WEIGHTS
PAGE: Final = REPO / "docs/classifier.md"
THRESHOLDS: Final = (0.0, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)


def left_out(rows: list[Sample]) -> list[Guess]:
    """What a model says of each row that has not seen the row's source."""
    fold = data.folds([row.source for row in rows])
    said: dict[int, Guess] = {}
    for number in range(data.FOLDS):
        weights = learned.parse(_trained([row for row, at in zip(rows, fold, strict=True) if at != number]))
        said |= {at: guess(row.text, weights) for at, row in enumerate(rows) if fold[at] == number}
        print(f"fold {number + 1} of {data.FOLDS}", file=sys.stderr)
    return [said[at] for at in range(len(rows))]


def heuristic(row: Sample) -> int:
    """What the heuristic says, which no row gives a task type or a score."""
    short = row.limit is not None and row.limit < 200 and not row.context
    return CLASSES.index(Capability.CLASSIFICATION if short else Capability.GENERAL)


def decided(rows: list[Sample], said: list[Guess], threshold: float) -> list[int]:
    """The model's word from the threshold on, else the heuristic's."""
    return [CLASSES.index(one.capability) if one.confidence >= threshold else heuristic(row)
            for row, one in zip(rows, said, strict=True)]  # fmt: skip


def cost(rows: list[Sample], weights: LinearModel) -> tuple[float, float]:
    """CPU time of one request of 1.5 to 3 kB in microseconds: mean and median over the texts, best of five rounds."""
    texts = [row.text for row in rows if 1500 < len(row.text) < 3000]
    best = [1e9] * len(texts)
    for _ in range(5):
        for at, text in enumerate(texts):
            begun = time.process_time_ns()
            for _ in range(20):
                guess(text, weights)
            best[at] = min(best[at], (time.process_time_ns() - begun) / 20_000)
    return statistics.mean(best), statistics.median(best)


def tables(rows: list[Sample], said: list[Guess], threshold: float, spent: tuple[float, float]) -> str:
    """What stands in the page."""
    truth, found = [row.label for row in rows], decided(rows, said, threshold)
    plain = [at for at, row in enumerate(rows) if not row.system]
    lines = ["| on sources that training has not seen | accuracy | macro-F1 |", "| --- | --- | --- |"]
    for name, some in (("the classifier", found), ("the heuristic alone", [heuristic(row) for row in rows])):
        lines.append(f"| {name}, {len(rows):,} requests | {accuracy_score(truth, some):.3f} | {_f1(truth, some):.3f} |")
        here, there = [truth[at] for at in plain], [some[at] for at in plain]
        lines.append(f"| {name}, {len(plain):,} without a system prompt | {accuracy_score(here, there):.3f} "
                     f"| {_f1(here, there):.3f} |")  # fmt: skip
    lines += [
        "",
        "| it is ↓, it was taken for → | " + " | ".join(CLASSES) + " | F1 |",
        "| --- |" + " --- |" * (len(CLASSES) + 1),
    ]
    each = f1_score(truth, found, average=None)
    for name, counts, score in zip(CLASSES, confusion_matrix(truth, found), each, strict=True):
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {score:.3f} |")
    lines += [
        "",
        "| confidence from which the model decides | left to the heuristic | macro-F1 |",
        "| --- | --- | --- |",
    ]
    for other in THRESHOLDS:
        left = sum(one.confidence < other for one in said)
        lines.append(f"| {other:.2f} | {left:,} | {_f1(truth, decided(rows, said, other)):.3f} |")
    lines += [
        "",
        f"A request of 2 kB costs {spent[0]:.0f} µs of CPU time in the mean, {spent[1]:.0f} µs in the median.",
    ]
    return "\n".join(lines) + "\n"


def main(path: Path, train: bool) -> None:
    """Prints tables and wrong ones; with `train` writes weights and page."""
    rows = data.samples(path)
    said = left_out(rows)
    truth = [row.label for row in rows]
    # the highest that costs nothing: where the model is no better, the heuristic is easier to explain
    threshold = max(reversed(THRESHOLDS), key=lambda one: round(_f1(truth, decided(rows, said, one)), 3))
    if train:
        WEIGHTS.write_text(_trained(rows, threshold), "utf-8")
    weights = learned.parse(WEIGHTS.read_text("utf-8"))
    table = tables(rows, said, weights.threshold, cost(rows, weights))
    print(table)
    if train:
        record = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "data (SHA-256, first 16)": data.fingerprint(path),
            "requests, sources": f"{len(rows):,}, {len({row.source for row in rows})}",
            "split": f"{data.FOLDS} folds, each source whole in one of them",
            "seed": "none: the split and the fit are deterministic",
            "macro-F1": f"{_f1(truth, decided(rows, said, threshold)):.3f}",
            "weights (SHA-256)": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        }
        listed = "| | |\n| --- | --- |\n" + "".join(f"| {name} | {value} |\n" for name, value in record.items())
        _write("scores", table)
        _write("record", listed)
    found = decided(rows, said, weights.threshold)
    wrong = [at for at, label in enumerate(truth) if found[at] != label]
    print("thirty of the wrong ones:")
    for at in sorted(random.Random(7).sample(wrong, 30)):
        text = " ".join(rows[at].text.split())
        shown = text if len(text) < 260 else f"{text[:150]} … {text[-100:]}"
        print(f"  {rows[at].name} {rows[at].source}: {CLASSES[truth[at]]} taken for {CLASSES[found[at]]} "
              f"({said[at].confidence:.2f}){' with system prompt' if rows[at].system else ''}: {shown}")  # fmt: skip


def _trained(rows: list[Sample], threshold: float = 0.0) -> str:
    return fit.model([row.text for row in rows], [row.label for row in rows], [row.source for row in rows], threshold)


def _f1(truth: list[int], found: list[int]) -> float:
    return float(f1_score(truth, found, average="macro"))


def _write(part: str, text: str) -> None:
    page = PAGE.read_text("utf-8")
    whole = re.compile(rf"(<!-- {part} -->\n).*?(<!-- end -->)", re.S)
    PAGE.write_text(whole.sub(lambda found: found[1] + text + found[2], page), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--train" in sys.argv[2:])
