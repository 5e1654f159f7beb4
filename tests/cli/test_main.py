"""The command line itself."""

import subprocess
import sys

from forebay import __version__


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
