"""The command line itself."""

import re
import subprocess
import sys

import pytest

from forebay import __version__
from forebay.cli.__main__ import COMMANDS
from tests.cli import command


def forebay(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "forebay.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_it_says_its_version() -> None:
    assert forebay("--version").stdout == f"forebay {__version__}\n"


def test_an_unknown_command_exits_with_2_and_says_so() -> None:
    wrong = forebay("nonsense")
    assert wrong.returncode == 2
    assert "nonsense" in wrong.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_speaks_to_people_and_names_nothing_of_the_code(name: str) -> None:
    said = command.forebay(name, "--help")
    text = said.stdout.decode()
    assert said.returncode == 0 and name in text
    assert not re.findall(r"\b[a-z]+_[a-z_]+\b", text)
