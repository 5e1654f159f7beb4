"""The benchmark of profile: its logs are the same for a seed, and the answer to a small one is near its truth."""

from itertools import islice
from pathlib import Path

import pytest

from bench.profile.__main__ import measure
from bench.profile.generate import FORMS, generate


@pytest.mark.parametrize("form", FORMS)
def test_a_seed_makes_the_same_log_again(form: str) -> None:
    once, again, other = (list(islice(generate(500, form, seed), 500)) for seed in (1, 1, 2))
    assert once == again
    assert once != other
    times = [truth.at for _, truth in once if truth is not None]
    assert times == sorted(times)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_answer_is_within_three_points_of_the_truth(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2] / "operator"))
    found = measure(form, 4000, 1, tmp_path)
    assert abs(found["points_off"]) <= 3
    assert found["malformed"] + found["failed"] > 0
