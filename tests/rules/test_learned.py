"""The learned classifier: what it must always do, and that weights and page belong together."""

import hashlib
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import Capability
from forebay.rules import learned
from forebay.rules.classify import Hints, classify
from forebay.rules.learned import LONGEST, READ, TOOLS, Words, guess

REPO = Path(__file__).resolve().parents[2]
WEIGHTS = files("forebay.rules").joinpath(learned.WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    ("words", "capability"),
    [
        ("Classify the sentiment of this review as positive, negative or neutral.\n\nI liked it.", "classification"),
        ("Ist dieser Kommentar positiv oder negativ? Antworte mit einem Wort.\n\nGerne wieder!", "classification"),
        ("Extract all names and dates from the text as JSON.\n\nAnn met Bob on 3 May 2021.", "extraction"),
        ("Lista todos los nombres y las fechas del texto.\n\nAna llegó el 3 de mayo.", "extraction"),
        (
            "A train travels 60 km in 45 minutes. How many km does it travel in 3 hours? Think step by step.",
            "reasoning",
        ),
        ("Write a short poem about the sea.", "general"),
        ("Übersetze diesen Satz ins Englische: Guten Morgen.", "general"),
    ],
)
def test_plain_tasks_are_told_apart(words: str, capability: str) -> None:
    assert classify(Hints(max_tokens=500), Words(words)) == capability


def test_a_hint_of_the_client_passes_the_model_by() -> None:
    words = Words("Write a short poem about the sea.", "Classify the message.", (TOOLS,))
    assert classify(Hints(task_type="extract"), words) is Capability.EXTRACTION
    assert classify(Hints(complexity_score=0.9), words) is Capability.REASONING
    assert classify(Hints(task_type="chat", max_tokens=10), words) is Capability.CLASSIFICATION


@pytest.mark.parametrize("words", ["", " \n\t", "\x00", "ᚠᚢᚦ"])
def test_where_the_model_knows_nothing_the_heuristic_decides(words: str) -> None:
    assert classify(Hints(max_tokens=10), Words(words, words)) is Capability.CLASSIFICATION
    assert classify(Hints(max_tokens=500), Words(words, words)) is Capability.GENERAL


TEXTS = st.text(st.characters(exclude_categories=[])) | st.text(
    st.sampled_from("Éíßßßİß\u0130aA1 .,?\n\t分类한แ\u0301\ud800"), max_size=2000
)


@given(TEXTS, TEXTS)
def test_any_text_has_an_answer_and_always_the_same(one: str, two: str) -> None:
    found = guess(Words(one, two))
    assert found == guess(Words(one, two))
    assert found.capability in Capability
    assert 0 <= found.confidence <= 1


@given(TEXTS, st.integers(0, 10_000))
def test_what_is_read_is_bounded(text: str, more: int) -> None:
    long = text + "x y " * more + text
    passages, _ = learned.read(Words(long, long))
    assert len(passages) <= 6
    assert all(len(passage) <= LONGEST + 1 for _, passage in passages)


@given(st.text("abc \n", min_size=2 * READ, max_size=3 * READ).map(lambda text: f"a{text}b"), TEXTS, TEXTS)
def test_the_middle_of_a_long_text_changes_nothing(end: str, one: str, two: str) -> None:
    filler = "m" * 4 * READ
    first, second = end + one + filler + end, end + two + filler + end
    assert guess(Words(first)) == guess(Words(second))
    assert guess(Words(end, first)) == guess(Words(end, second))


def test_no_sum_of_weights_can_spill_into_its_neighbour() -> None:
    largest = max(abs(int(one)) for line in WEIGHTS.decode().splitlines()[1:] for one in line.split("\t")[2].split())
    assert largest < 128
    assert 2 * largest * 2 * (LONGEST + 1) < 1 << 19  # shared and own


def test_the_answer_does_not_depend_on_the_hash_seed() -> None:
    asked = "from forebay.rules.learned import *; print(guess(Words('Which fits: spam, ham?', 'Say why.')))"
    said = {
        subprocess.run(
            [sys.executable, "-c", asked],
            env={"PYTHONHASHSEED": seed},
            cwd=REPO / "operator",
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_the_record_is_that_of_the_weights() -> None:
    (recorded,) = re.findall(r"\| weights \(SHA-256\) \| (\w+) \|", (REPO / "docs" / "classifier.md").read_text())
    assert hashlib.sha256(WEIGHTS).hexdigest() == recorded, "train anew: make bench-classify DATA=... TRAIN=1"
    assert len(WEIGHTS) < 300 * 1024


def test_without_data_the_bench_says_so_and_stops() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "bench.classify", "nowhere.jsonl"], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "make bench-classify DATA=" in ended.stderr
