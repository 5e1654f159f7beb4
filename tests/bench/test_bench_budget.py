"""The bench of budgets: a seed decides all, ours overspends nothing, and the other ways have their known faults."""

from pathlib import Path

import pytest

from bench.budget.measure import measure, play
from bench.budget.schedule import CALM, HELL, drawn
from bench.budget.ways import Forebay


def test_a_seed_decides_all(tmp_path: Path) -> None:
    schedule = drawn(3, HELL, seconds=120)
    found = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(play(schedule, Forebay(schedule, folder)))
    assert found[0] == found[1]


@pytest.mark.slow
def test_ours_never_overspends_and_the_others_do() -> None:
    found = measure([1, 2], [CALM, HELL])
    for weather in found.values():
        assert weather["forebay"]["overspent_most"] == 0
        assert weather["forebay"]["writes_per_second_most"] <= 1
        assert weather["shared counter, charged at the end"]["overspent_most"] > 0
        assert weather["cap in each gateway's memory"]["overspent_most"] > 0.2
    assert found["calm"]["forebay"]["unused_most"] < 0.05
