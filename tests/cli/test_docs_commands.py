"""Every `kubectl forebay` line of the docs is one that the program understands."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from forebay.cli.__main__ import COMMANDS, app

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
LINES = [
    (page.name, line.strip())
    for page in PAGES
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.S)
    for line in block.splitlines()
    if line.strip().startswith("kubectl forebay ")
]


COMMAND: Any = typer.main.get_command(app)
ASIDE = {"--help", *(option for parameter in COMMAND.params for option in parameter.opts)}


@pytest.mark.parametrize(("page", "line"), LINES)
def test_it_is_understood(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[2:]
    if words[0].startswith("--"):
        assert words[0] in ASIDE, f"{page}: no option {words[0]}"
    else:
        command = COMMAND.get_command(None, words[0])
        assert command is not None, f"{page}: no command {words[0]}"
        command.make_context(words[0], words[1:])


def test_the_docs_show_every_command() -> None:
    assert set(COMMANDS) <= {shlex.split(line, comments=True)[2] for _, line in LINES}
