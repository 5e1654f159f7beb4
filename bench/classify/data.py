"""Labelled requests, and how they are split: by source, never by row."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

from forebay.rules.learned import CLASSES

FOLDS: Final = 10
_WHOLE = ("bigscience-workshop", "danielmiessler", "yizhongw", "google-research", "Yale-LILY")
"""Repositories whose parts share their wording, so that they are left out together."""


class Sample(NamedTuple):
    """One request: what its user wrote last, whose label, from where."""

    name: str
    text: str
    label: int
    source: str
    limit: int | None
    context: bool
    system: str


def samples(path: Path) -> list[Sample]:
    """All rows, in the order of the file."""
    return [_sample(json.loads(line)) for line in path.read_text("utf-8").splitlines() if line]


def fingerprint(path: Path) -> str:
    """SHA-256 of the data, its first sixteen digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def source(name: str) -> str:
    """Where the wording comes from. The document in it (behind `+`) may be of another source."""
    instruction = name.partition("+")[0]
    repository, _, part = instruction.partition(":")
    return f"{repository}:{part.partition('/')[0]}" if part and not repository.startswith(_WHOLE) else repository


def folds(names: list[str]) -> list[int]:
    """The fold of each row: a source is in one fold, folds are about equally large."""
    load, at = [0] * FOLDS, {}
    for name, rows in Counter(names).most_common():
        at[name] = load.index(min(load))
        load[at[name]] += rows
    return [at[name] for name in names]


def _sample(row: dict[str, Any]) -> Sample:
    request = row["request"]
    said = {
        role: [m["content"] for m in request["messages"] if m["role"] == role]
        for role in ("system", "user", "assistant")
    }
    label = CLASSES.index(row["label"])
    return Sample(row["id"], said["user"][-1], label, source(row["source"]), request["max_tokens"],
                  bool(said["assistant"]), "\n".join(said["system"]))  # fmt: skip
