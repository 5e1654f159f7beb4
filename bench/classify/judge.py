"""Chooses by folds of the development rows. To train is to judge the untouched rows, too, and to write it all."""

import datetime
import hashlib
import random
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from bench.classify import data, fit
from bench.classify.data import Sample
from bench.classify.scores import (
    UNKNOWN,
    Said,
    answers,
    calibration_error,
    heuristic,
    macro_f1,
    of_readers,
    tables,
)
from forebay.rules import learned
from forebay.rules.learned import CLASSES, LinearModel, guess, logits

REPO: Final = Path(__file__).resolve().parents[2]
WEIGHTS: Final = REPO / "operator/forebay/rules" / learned.WEIGHTS
PAGE: Final = REPO / "docs/classifier.md"
THRESHOLDS: Final = (0.0, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)


def left_out(rows: list[Sample]) -> list[Said]:
    """What a model says of each row that has not seen the row's family."""
    fold = data.folds([row.family for row in rows])
    said: dict[int, Said] = {}
    for number in range(data.FOLDS):
        weights = learned.parse(fit.model([row for row, at in zip(rows, fold, strict=True) if at != number]))
        said |= {at: logits(row.words, weights) for at, row in enumerate(rows) if fold[at] == number}
        print(f"fold {number + 1} of {data.FOLDS}", file=sys.stderr)
    return [said[at] or UNKNOWN for at in range(len(rows))]


def cost(rows: list[Sample], weights: LinearModel) -> tuple[float, float, float]:
    """CPU time of a request of 1.5 to 3 kB in µs: mean, median, 95th percentile; the best of five each."""
    texts = [row.words for row in rows if 1500 < len(row.words.user) + len(row.words.system) < 3000]
    best = [1e9] * len(texts)
    for _ in range(5):
        for at, words in enumerate(texts):
            begun = time.process_time_ns()
            for _ in range(20):
                guess(words, weights)
            best[at] = min(best[at], (time.process_time_ns() - begun) / 20_000)
    return statistics.mean(best), statistics.median(best), statistics.quantiles(best, n=20)[-1]


def costs(rows: list[Sample], weights: LinearModel) -> str:
    """What a request costs, by whether it has a system prompt."""
    lines = ["| CPU time of a request of 1.5 to 3 kB, µs | mean | median | 95 % |", "| --- | --- | --- | --- |"]
    for name, system in (("without a system prompt", False), ("with one", True)):
        spent = cost([row for row in rows if bool(row.words.system) is system], weights)
        lines.append(f"| {name} | " + " | ".join(f"{one:.0f}" for one in spent) + " |")
    return "\n".join(lines) + "\n"


def main(path: Path, train: bool) -> None:
    """Prints scores, costs and wrong ones of the development rows; with `train` writes weights and page."""
    rows = data.samples(path)
    seen = [row for row in rows if not row.untouched]
    truth, said = [row.label for row in seen], left_out(seen)
    # the highest that costs nothing: where the model is no better, the heuristic is easier to explain
    threshold = max(reversed(THRESHOLDS), key=lambda one: round(macro_f1(truth, answers(seen, said, one)), 3))
    found = answers(seen, said, threshold)
    print(f"threshold {threshold}; to choose by, not to believe:")
    print(of_readers(seen, {"folds": found, "the heuristic alone": [heuristic(row) for row in seen]}))
    print(f"calibration error {calibration_error(seen, said):.3f}")
    if train:
        WEIGHTS.write_text(fit.model(rows, threshold), "utf-8")
        _publish(path, rows, learned.parse(fit.model(seen, threshold)))
    weights = learned.parse(WEIGHTS.read_text("utf-8"))
    spent = costs(rows, weights)
    print(spent)
    if train:
        _write("costs", spent)
    wrong = [at for at, label in enumerate(truth) if found[at] != label]
    print("thirty of the wrong ones:")
    for at in sorted(random.Random(7).sample(wrong, min(30, len(wrong)))):
        text = " ".join(f"{seen[at].words.system} ¦ {seen[at].words.user}".split())
        shown = text if len(text) < 260 else f"{text[:150]} … {text[-100:]}"
        print(f"  {seen[at].name} {seen[at].source}: {CLASSES[truth[at]]} taken for {CLASSES[found[at]]}: {shown}")


def _publish(path: Path, rows: list[Sample], without: LinearModel) -> None:
    judged = [row for row in rows if row.untouched]
    table = tables(judged, without)
    print(table)
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "data (SHA-256, first 16)": data.fingerprint(path),
        "requests, sources": f"{len(rows):,}, {len({row.source for row in rows})}",
        "chosen by": f"{len(rows) - len(judged):,} requests in {data.FOLDS} folds, each family of sources whole in one",
        "judged on": f"{len(judged):,} requests of {len({row.family for row in judged})} families that are in none",
        "seed": "none: the split and the fit are deterministic",
        "threshold": f"{without.threshold}",
        "weights (SHA-256)": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
    }
    _write("scores", table)
    _write("record", "| | |\n| --- | --- |\n" + "".join(f"| {name} | {value} |\n" for name, value in record.items()))


def _write(part: str, text: str) -> None:
    page = PAGE.read_text("utf-8")
    whole = re.compile(rf"(<!-- {part} -->\n).*?(<!-- end -->)", re.S)
    PAGE.write_text(whole.sub(lambda found: found[1] + text + found[2], page), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--train" in sys.argv[2:])
