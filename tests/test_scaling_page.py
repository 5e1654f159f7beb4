"""What docs/scaling.md says is so."""

import re
from pathlib import Path

import yaml

from bench.scaling.money import GPU_HOUR, GPUS, POINTS
from bench.scaling.play import Setup
from bench.scaling.settings import KINDS
from forebay.resources.pool import Scaling
from forebay.rules.marginal_value import PAYBACK_SECONDS
from forebay.rules.scale import LOCAL_ONLY, PRICED, SPILLING

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "scaling.md").read_text()


def test_its_example_is_a_pools_scaling() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    found = Scaling.model_validate(yaml.safe_load(example)["scaling"])
    assert found.behavior.scale_up.stabilization_window_seconds == 180


def test_the_rules_numbers_are_the_codes() -> None:
    assert (SPILLING.up_load, SPILLING.down_load) == (0.9, 0.7)
    assert (SPILLING.up_window, SPILLING.down_window) == (60.0, 1800.0)
    assert (LOCAL_ONLY.up_load, LOCAL_ONLY.down_load, LOCAL_ONLY.up_window) == (0.75, 0.6, 30.0)
    assert (PRICED.up_window, PRICED.down_window, PAYBACK_SECONDS) == (180.0, 1800.0, 3600.0)


def test_the_benchs_numbers_are_the_codes() -> None:
    for point in POINTS:
        assert point.model in PAGE
        assert point.as_of in PAGE
    assert (GPUS, GPU_HOUR) == (2, 2.0)
    assert (Setup().slots, Setup().reserved, Setup().minimum, Setup().maximum) == (10, 1, 1, 16)
    assert {len(kind.grid) for kind in KINDS.values()} == {0, 12}
