"""The heuristic, row by row."""

import pytest

from forebay.resources.reasons import Capability
from forebay.rules.classify import Hints, classify
from forebay.rules.learned import Words


@pytest.mark.parametrize(
    ("hints", "capability"),
    [
        (Hints(max_tokens=10), Capability.CLASSIFICATION),
        (Hints(max_tokens=199), Capability.CLASSIFICATION),
        (Hints(max_tokens=200), Capability.GENERAL),
        (Hints(max_tokens=10, has_context=True), Capability.GENERAL),
        (Hints(max_tokens=10, task_type="extract-fields"), Capability.CLASSIFICATION),
        (Hints(max_tokens=500, task_type="Extraction"), Capability.EXTRACTION),
        (Hints(task_type="extract", complexity_score=0.9), Capability.EXTRACTION),
        (Hints(complexity_score=0.71), Capability.REASONING),
        (Hints(complexity_score=0.7), Capability.GENERAL),
        (Hints(), Capability.GENERAL),
    ],
)
def test_each_line_of_the_heuristic(hints: Hints, capability: Capability) -> None:
    assert classify(hints, Words("")) is capability
