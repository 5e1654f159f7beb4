"""Every seed of the fuzzer, and every input that once broke something, through the fuzzer's targets."""

from pathlib import Path

import pytest

from bench.fuzz.seeds import seeds
from bench.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(path for path in CORPUS.glob("*/*") if path.parent.name in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target: str) -> None:
    for seed in seeds(target):
        TARGETS[target](seed)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name[:8]}")
def test_once_broken(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())
