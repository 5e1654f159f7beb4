"""Labelled requests, and how they are split: by family of sources, never by row."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

from forebay.rules.learned import CLASSES, Words

FOLDS: Final = 8
UNTOUCHED: Final = ("bigscience-workshop", "yizhongw", "danielmiessler", "authored/clinic", "authored/job", "openai")
"""Families that nothing is chosen by: they are judged once, when the weights are written."""
_WHOLE: Final = ("bigscience-workshop", "danielmiessler", "yizhongw", "google-research", "Yale-LILY")
"""Repositories whose parts share their wording."""
_FAMILIES: Final = {
    "authored/multilingual": "authored/multilingual", "clinc": "intents", "xliuhw": "intents", "sonos": "intents",
    "PolyAI-LDN": "intents", "lm-sys/RouteLLM:gsm8k": "school sums", "google-research": "school sums",
}  # fmt: skip
"""Sources that say the same in other words or languages, by how their names begin."""


class Sample(NamedTuple):
    """One request: where it may say its task, whose label, from where."""

    name: str
    words: Words
    label: int
    source: str
    limit: int | None
    context: bool

    @property
    def family(self) -> str:
        """What is left out together: sources that share wording or subject."""
        for begins, family in _FAMILIES.items():
            if self.source.startswith(begins):
                return family
        return self.source

    @property
    def untouched(self) -> bool:
        """Whether nothing may be chosen by it."""
        return self.source.startswith(UNTOUCHED)


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


def folds(families: list[str]) -> list[int]:
    """The fold of each row: a family is in one fold, folds are about equally large."""
    load, at = [0] * FOLDS, {}
    for family, rows in Counter(families).most_common():
        at[family] = load.index(min(load))
        load[at[family]] += rows
    return [at[family] for family in families]


def _sample(row: dict[str, Any]) -> Sample:
    request = row["request"]
    said = {
        role: [m["content"] for m in request["messages"] if m["role"] == role]
        for role in ("system", "user", "assistant")
    }
    words = Words(said["user"][-1], "\n".join(said["system"]))
    label = CLASSES.index(row["label"])
    return Sample(row["id"], words, label, source(row["source"]), request["max_tokens"], bool(said["assistant"]))
