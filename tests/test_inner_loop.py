"""What `make unit` leaves out, `make test` runs: slow tests, an API server, and most examples of the properties."""

import re
from pathlib import Path

from hypothesis import settings

MAKEFILE = (Path(__file__).resolve().parents[1] / "Makefile").read_text()
NARROWER = ("-m ", "-k ", "--hypothesis-profile", "--ignore", "--deselect", "-x")


def recipe(target: str) -> str:
    """The commands of one target, on one line."""
    (found,) = re.findall(rf"^{target}:.*## .*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    return str(found).replace("\\\n", "").replace("\t", " ")


def test_unit_runs_all_but_what_is_slow_or_needs_an_api_server() -> None:
    command = recipe("unit")
    assert 'pytest tests -m "not apiserver and not slow" --hypothesis-profile=quick' in command
    assert [option for option in NARROWER if option in command] == ["-m ", "--hypothesis-profile"]


def test_test_runs_everything_with_all_examples() -> None:
    command = recipe("test")
    assert "pytest tests " in command
    assert not [option for option in NARROWER if option in command]


def test_the_quick_profile_differs_in_the_number_of_examples_alone() -> None:
    full, quick = settings.get_profile("full"), settings.get_profile("quick")
    assert quick.max_examples < full.max_examples == settings.get_profile("default").max_examples
    assert repr(settings(quick, max_examples=full.max_examples)) == repr(full)
