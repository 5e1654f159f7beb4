"""Bounds hold the truth about as often as they say, and errors of the classifier are in them."""

import re
from pathlib import Path
from random import Random

import pytest

from forebay.cli.profile.confidence import CONFUSION, Span, TimeBlock, corrected_shares, shares

REPO = Path(__file__).resolve().parents[3]
THREE = (True, True, False, True)  # all but reasoning
EXACT = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))


def block(told: list[int], guessed: list[int], served: int, unknown: int = 0) -> TimeBlock:
    both = [one + other for one, other in zip(told, guessed, strict=True)]
    capable = both[0] + both[1] + both[3]
    total = sum(both) + unknown
    return TimeBlock(told, guessed, unknown, total, capable + unknown, served, float(total), float(served))


def test_the_confusion_is_the_published_one() -> None:
    page = (REPO / "docs" / "classifier.md").read_text()
    rows = re.findall(r"^\| (?:classification|extraction|reasoning|general) \|((?: \d+ \|){4})", page, re.M)
    assert tuple(tuple(map(int, re.findall(r"\d+", row))) for row in rows) == CONFUSION


def test_labels_are_taken_at_their_word() -> None:
    found = shares([block([30, 30, 10, 30], [0, 0, 0, 0], 90)] * 20, THREE, unknown_fits=True)
    assert (found.local.low, found.local.high) == (pytest.approx(0.9), pytest.approx(0.9))
    assert found.classes[2] == Span(0.1, 0.1, 0.1)


def test_guesses_are_less_sure_than_labels() -> None:
    found = shares([block([0, 0, 0, 0], [30, 30, 10, 30], 90)] * 20, THREE, unknown_fits=True)
    assert found.local.low < 0.88 < 0.9 <= found.local.high
    assert found.classes[2].high - found.classes[2].low > 0.05


def test_what_has_neither_words_nor_label_may_be_anything() -> None:
    found = shares([block([25, 25, 0, 25], [0, 0, 0, 0], 100, unknown=25)] * 20, THREE, unknown_fits=True)
    assert (found.local.low, found.local.high) == (pytest.approx(0.75), pytest.approx(1.0))


def test_uneven_traffic_is_less_sure_than_even_traffic() -> None:
    even = shares([block([10, 0, 10, 0], [0] * 4, 10)] * 24, THREE, unknown_fits=True)
    easy, hard = block([20, 0, 0, 0], [0] * 4, 20), block([0, 0, 20, 0], [0] * 4, 0)
    uneven = shares([easy, hard] * 12, THREE, unknown_fits=True)
    assert uneven.local.value == even.local.value == 0.5
    assert uneven.local.high - uneven.local.low > 0.2
    assert even.local.high - even.local.low < 1e-9


def test_money_varies_with_the_blocks() -> None:
    quiet, busy = block([1, 0, 0, 0], [0] * 4, 1), block([99, 0, 0, 0], [0] * 4, 0)
    found = shares([quiet, busy] * 12, THREE, unknown_fits=True)
    assert found.usd.low < found.usd.value == 1200 < found.usd.high
    assert found.left.value == 1188


def test_a_perfect_classifier_needs_no_correction() -> None:
    assert corrected_shares([10, 20, 30, 40], EXACT) == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_correction_finds_the_truth_behind_known_errors() -> None:
    matrix = [[count / sum(row) for count in row] for row in CONFUSION]
    truth = [0.5, 0.3, 0.05, 0.15]
    seen = [sum(share * row[taken] for share, row in zip(truth, matrix, strict=True)) for taken in range(4)]
    found = corrected_shares([1000 * share for share in seen], matrix)
    assert found == pytest.approx(truth, abs=0.03)


@pytest.mark.slow
def test_bounds_hold_the_truth_as_often_as_they_say() -> None:
    """Logs of 40 blocks whose true share of reasoning is 20 %: nine bounds in ten hold it."""
    random, held = Random(7), 0
    for seed in range(60):
        blocks = []
        for _ in range(40):
            hard = sum(random.random() < 0.2 for _ in range(25))
            blocks.append(block([25 - hard, 0, hard, 0], [0] * 4, 25 - hard))
        found = shares(blocks, THREE, unknown_fits=True, seed=seed)
        held += found.local.low <= 0.8 <= found.local.high
    assert 47 <= held <= 60


def test_the_same_seed_gives_the_same_bounds() -> None:
    blocks = [block([0, 0, 0, 0], [3, 4, 5, 6], 10)] * 9
    assert shares(blocks, THREE, True, 1) == shares(blocks, THREE, True, 1)
