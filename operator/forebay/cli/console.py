"""Where commands write: answers to standard output, everything else to standard error.

Colours only on a terminal, and never where NO_COLOR is set; a pipe gets plain text that is not wrapped, so that grep
finds whole lines. With `-o json|yaml` the answer is data, and nothing else goes to standard output.
"""

import json
import os
import sys
from typing import IO, Annotated, Any, Final

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from forebay.word_enum import WordEnum

PIPE_COLUMNS: Final = 240
"""Width of a table that no terminal bounds; COLUMNS overrides it."""


class OutputFormat(WordEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[
    OutputFormat,
    typer.Option("--output", "-o", help="table, json or yaml.", show_default=True, rich_help_panel="Output"),
]
"""The `-o` of every command that answers with data."""


def out() -> Console:
    """For answers."""
    return _console(sys.stdout)


def err() -> Console:
    """For progress, notes and warnings."""
    return _console(sys.stderr)


def _console(file: IO[str]) -> Console:
    """Made when it is asked for: a test, or a shell, may have replaced the stream since."""
    wide = None if file.isatty() or os.environ.get("COLUMNS") else PIPE_COLUMNS
    return Console(file=file, highlight=False, soft_wrap=False, width=wide, emoji=False)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table as kubectl writes one: capitals above, no lines. `right` names the columns of numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column.upper(), justify="right" if column in right else "left", overflow="fold")
    return made


def emit(answer: Any, form: OutputFormat) -> None:
    """Write plain data (dicts, lists, strings, numbers) to standard output as JSON or YAML."""
    text = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    if form is OutputFormat.YAML:  # by way of JSON: YAML knows no words of an enumeration
        text = yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True)
    sys.stdout.write(text)


def progress(total: bool = True) -> Progress:
    """A progress bar on standard error that leaves nothing behind; nothing at all without a terminal.

    `total`: how much there is to do is known; else a spinner turns.
    """
    shape = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) if total else ()
    console = err()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *shape)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
