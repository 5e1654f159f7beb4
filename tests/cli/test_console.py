"""What commands write, and where."""

import io
import json

import pytest
import yaml

from forebay.cli import console
from forebay.cli.console import OutputFormat
from forebay.resources.reasons import ConditionType

ANSWER = {"pools": [{"name": "chat", "load": "3/8", "words": "läuft"}]}


def test_a_pipe_gets_no_colours_and_no_wrapped_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = console.table("name", "message")
    table.add_row("[red]chat[/red]", "word " * 40)
    console.out().print(table)
    written = capsys.readouterr().out
    assert "\x1b" not in written
    assert written.splitlines()[1].startswith("chat")
    assert len(written.splitlines()) == 2


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_unless_no_color_is_set(
    no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    console.out().print("[red]full[/red]")
    assert ("\x1b[31m" in terminal.getvalue()) is coloured


@pytest.mark.parametrize(("form", "read"), [(OutputFormat.JSON, json.loads), (OutputFormat.YAML, yaml.safe_load)])
def test_data_comes_out_as_it_went_in(form: OutputFormat, read: object, capsys: pytest.CaptureFixture[str]) -> None:
    console.emit(ANSWER, form)
    written = capsys.readouterr().out
    assert callable(read) and read(written) == ANSWER
    assert "läuft" in written


def test_progress_without_a_terminal_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress() as bar:
        bar.advance(bar.add_task("reading", total=3))
    assert capsys.readouterr().err == ""


def test_words_of_an_enumeration_are_words_in_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"issues": [{"condition": ConditionType.READY}]}
    for form, read in ((OutputFormat.JSON, json.loads), (OutputFormat.YAML, yaml.safe_load)):
        console.emit(answer, form)
        assert read(capsys.readouterr().out) == {"issues": [{"condition": "Ready"}]}
