"""Fits the model. Runs in an environment of its own (train.lock) and imports of ours only what reads the words."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from sklearn.linear_model import LogisticRegression

from bench.classify.data import Sample
from forebay.rules.learned import CHOICE, CLASSES, JSON, SCHEMA, SHARED, SYSTEM, TOOLS, USER, Words, read

LEXICON: Final = Path(__file__).parent / "lexicon.txt"
GREETINGS: Final = Path(__file__).parent / "greetings.txt"
"""Small talk, which the data lack: general. Always trained on, never judged."""
HARNESS: Final = Path(__file__).parent / "harness.txt"
"""System prompts that hold no task. Each fourth request without one is trained on with one of these, too."""
EVIDENCE: Final = {TOOLS: (-1.5, -1.5, -1.5), SCHEMA: (1.0, 4.5, 0.5), CHOICE: (4.0, 0.0, 1.0), JSON: (0.5, 1.0, 0.0)}
"""Logits over general, set by hand: the data have neither tools nor schemas."""
INVERSE_PENALTY, TASK_WORD, SHAPE, KEPT, SOURCES = 0.25, 0.7, 0.3, 7000, 2
"""Inverse strength of the ridge; value of a task word beside a word's 1; value of a fact of the shape; features kept;
in how many sources a feature must occur."""

Features = dict[tuple[str, Any], float]


def lexicon() -> dict[Any, set[str]]:
    """Concepts by word, or by pair where a word is two tokens."""
    found: dict[Any, set[str]] = defaultdict(set)
    for line in LEXICON.read_text("utf-8").splitlines():
        concept, *words = line.split() if not line.startswith("#") else [""]
        for word in words:
            tokens = read(Words(word)).passages[0][1][1:]
            found[tokens[0] if len(tokens) == 1 else tuple(tokens[:2])].add(concept)
    return {**found, **{digit: {"digit"} for digit in "0123456789"}}


def features(words: Words, concepts: dict[Any, set[str]]) -> Features:
    """What the run time would see, with the concepts that its words belong to, by place and for all places."""
    found: Features = defaultdict(float)
    passages, shape = read(words)
    for place, passage in passages:
        seen = [*set(passage[1:]), *pairwise(passage)]
        size = 1 / math.sqrt(len(seen) or 1)
        for feature in seen:
            belongs = concepts.get(feature, ())
            for where in (str(place), SHARED):
                found[where, feature] += size
                for concept in belongs:
                    found[where, "@" + concept] += TASK_WORD * size
    return found | {("s", fact): SHAPE for fact in shape}


class Fitted:
    """Weights by feature, centred on the last class."""

    def __init__(self, rows: list[Features], labels: Any, sources: list[str]) -> None:
        self.names = list(dict.fromkeys(name for row in rows for name in row))
        matrix = self._matrix(rows)
        numbers = {name: number for number, name in enumerate(dict.fromkeys(sources))}
        of = sparse.csr_matrix((np.ones(len(rows)), ([numbers[name] for name in sources], range(len(rows)))))
        there = matrix > 0
        spread, often = _counts((of @ there.astype(float)) > 0), _counts(there)
        rows_of = Counter(sources)
        weight = np.array([rows_of[name] ** -0.5 for name in sources])
        kept = np.flatnonzero((spread >= SOURCES) & (often >= 2))
        weights = _logistic(matrix[:, kept], labels, weight / weight.mean())[0]
        matter = np.abs(weights - weights.mean(0)).max(0) * np.sqrt(often[kept])
        kept = kept[np.sort(np.argsort(-matter, kind="stable")[:KEPT])]
        weights, intercept = _logistic(matrix[:, kept], labels, weight / weight.mean())
        self.weights = {self.names[at]: column - column[-1] for at, column in zip(kept, weights.T, strict=True)}
        self.intercept = intercept - intercept[-1]

    def _matrix(self, rows: list[Features]) -> Any:
        at = {name: number for number, name in enumerate(self.names)}
        values = [value for row in rows for value in row.values()]
        columns = [at[name] for row in rows for name in row]
        ends = np.cumsum([0] + [len(row) for row in rows])
        return sparse.csr_matrix((values, columns, ends), shape=(len(rows), len(at)))

    def written(self, concepts: dict[Any, set[str]], threshold: float) -> str:
        """The weights as the run time reads them: concepts folded into their words, in 127 steps to the largest."""
        table: dict[tuple[str, Any], Any] = {}
        for fact, logits in EVIDENCE.items():
            table["s", fact] = np.array((*logits, 0.0))
        for (place, feature), weight in self.weights.items():
            if place == "s":
                table[place, feature] = weight * SHAPE + (self.intercept if feature.startswith("length") else 0)
            elif not (isinstance(feature, str) and feature[0] == "@" and len(feature) > 1):
                table[place, feature] = weight
        for number in range(12):
            table.setdefault(("s", f"length {number}"), self.intercept)
        for feature, belongs in concepts.items():
            for place in (*map(str, (*USER, *SYSTEM)), SHARED):
                added = sum(self.weights.get((place, "@" + concept), 0) for concept in belongs) * TASK_WORD
                table[place, feature] = table.get((place, feature), np.zeros(len(CLASSES))) + added
        scale = max(float(np.abs(weight).max()) for weight in table.values()) / 127
        lines = [f"{scale:.8f} {threshold:.2f}"]
        for (place, feature), weight in sorted(table.items(), key=lambda item: (item[0][0], str(item[0][1]))):
            steps = [round(float(value) / scale) for value in weight[:-1]]
            if any(steps):
                words = feature if isinstance(feature, str) else " ".join(feature)
                lines.append(f"{place}\t{words.replace(chr(10), chr(92) + 'n')}\t{' '.join(map(str, steps))}")
        return "\n".join(lines) + "\n"


def model(rows: Iterable[Sample], threshold: float = 0.0) -> str:
    """Trains on these rows; returns the weights as the run time reads them, so that they are judged quantised."""
    concepts = lexicon()
    known = list(rows)
    known += _in_harness([row for row in known if not row.words.system])
    known += [Sample("", Words(text), len(CLASSES) - 1, GREETINGS.stem, None, False) for text in _lines(GREETINGS)]
    fitted = Fitted([features(row.words, concepts) for row in known], np.array([row.label for row in known]),
                    [row.source for row in known])  # fmt: skip
    return fitted.written(concepts, threshold)


def _in_harness(rows: list[Sample]) -> list[Sample]:
    prompts = _lines(HARNESS)
    return [row._replace(words=row.words._replace(system=prompts[at % len(prompts)]))
            for at, row in enumerate(rows[::4])]  # fmt: skip


def _lines(path: Path) -> list[str]:
    return [line.replace("\\n", "\n") for line in path.read_text("utf-8").splitlines()]


def _counts(matrix: Any) -> Any:
    return np.asarray(matrix.sum(0)).ravel()


def _logistic(matrix: Any, labels: Any, weight: Any) -> tuple[Any, Any]:
    fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=150, class_weight="balanced", tol=1e-3)
    fitted.fit(matrix, labels, sample_weight=weight)
    return fitted.coef_, fitted.intercept_
