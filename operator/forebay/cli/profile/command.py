"""The command: options to a question, a log to an answer, an answer to terminal, data or page."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from forebay.cli.console import FormatOption, OutputFormat, emit, err, out
from forebay.cli.prices import prices
from forebay.cli.problem import Problem
from forebay.cli.profile.answer import ProfileAnswer, Question, answer
from forebay.cli.profile.asked_pool import AskedPool, from_manifest
from forebay.cli.profile.formats import LogFormat
from forebay.cli.profile.formats_text import FORMATS
from forebay.cli.profile.html import html
from forebay.cli.profile.log_lines import Source, opened
from forebay.cli.profile.reading import read
from forebay.cli.profile.show import data, show
from forebay.resources.reasons import Capability
from forebay.rules.cost import BasisName, Hardware

_POOL: Final = AskedPool()
_HARDWARE: Final = Hardware()
_ASKED: Final = "Pool"
_MONEY: Final = "Money"
_LOG: Final = "Log"
_KNOWN: Final = ", ".join(form.name for form in FORMATS)


def profile(
    log: Annotated[str, typer.Argument(metavar="LOG", help="A file, plain or packed (gz, zst), or - for a pipe.")],
    form: Annotated[str, typer.Option("--format", help=f"auto, {_KNOWN}.", rich_help_panel=_LOG)] = "auto",
    days: Annotated[
        float | None, typer.Option(min=0.01, help="Days that the log covers; by its times.", rich_help_panel=_LOG)
    ] = None,
    pool: Annotated[
        Path | None, typer.Option(help="Manifest of a LocalModelPool to ask about.", rich_help_panel=_ASKED)
    ] = None,
    capabilities: Annotated[
        str | None, typer.Option(help="What its model is good for, with commas.", rich_help_panel=_ASKED)
    ] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Its context, in tokens.", rich_help_panel=_ASKED)] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Requests at a time, of a replica.", rich_help_panel=_ASKED)
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, max=64, help="GPUs of a replica.", rich_help_panel=_ASKED)] = None,
    gpu: Annotated[
        str | None, typer.Option(help="Kind of GPU, as a100-80gb: slots and speed by a table.", rich_help_panel=_ASKED)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Its model, for that table.", rich_help_panel=_ASKED)] = None,
    token_ms: Annotated[
        float | None, typer.Option(min=0.01, help="Time for a token when it is full.", rich_help_panel=_ASKED)
    ] = None,
    prefill: Annotated[
        float | None, typer.Option(min=1, help="Prompt tokens a second.", rich_help_panel=_ASKED)
    ] = None,
    basis: Annotated[
        BasisName, typer.Option(help="What own hardware counts as.", rich_help_panel=_MONEY)
    ] = BasisName.OWNED,
    displaced: Annotated[
        str | None, typer.Option(help="Model that local replaces; else the ones in the log.", rich_help_panel=_MONEY)
    ] = None,
    price_table: Annotated[
        Path | None,
        typer.Option("--prices", help="Table of prices instead of the shipped one.", rich_help_panel=_MONEY),
    ] = None,
    gpu_price: Annotated[
        float, typer.Option(min=0, help="US dollars a GPU, with its share of the server.", rich_help_panel=_MONEY)
    ] = _HARDWARE.gpu_price,
    months: Annotated[
        float, typer.Option(min=1, help="Months that it is used.", rich_help_panel=_MONEY)
    ] = _HARDWARE.months,
    people: Annotated[
        float, typer.Option(min=0, help="US dollars a month for people.", rich_help_panel=_MONEY)
    ] = _HARDWARE.people_month,
    watts: Annotated[
        float, typer.Option(min=0, help="A GPU's draw at the wall, mean.", rich_help_panel=_MONEY)
    ] = _HARDWARE.watts,
    kwh_price: Annotated[
        float, typer.Option(min=0, help="US dollars a kWh.", rich_help_panel=_MONEY)
    ] = _HARDWARE.kwh_price,
    gpu_hour_price: Annotated[
        float | None,
        typer.Option(min=0, help="Rent of a GPU, US dollars an hour: the pool's, else 2.", rich_help_panel=_MONEY),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--html", help="Write a page with plots here.", rich_help_panel="Output")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Play the busiest stretch through the queue, too.", rich_help_panel=_ASKED)
    ] = False,
    output: FormatOption = OutputFormat.TABLE,
    seed: Annotated[int, typer.Option(help="Of the draws behind the bounds.", rich_help_panel="Output")] = 0,
) -> None:
    """What a request log would cost all-cloud, all-local and local-first, and the size of pool that is worth it.

    Nothing leaves this machine, and no prompt is written anywhere. No cluster is needed.
    """
    said = {
        "capabilities": None if capabilities is None else _capabilities(capabilities),
        "context_tokens": context,
        "slots": slots,
        "gpus": gpus,
        "token_seconds": None if token_ms is None else token_ms / 1000,
        "prefill": prefill,
        "gpu": gpu,
        "model": model,
        "name": model,
    }
    chosen = _pool(pool, {name: value for name, value in said.items() if value is not None})
    rent = gpu_hour_price if gpu_hour_price is not None else chosen.gpu_hour_price
    hardware = Hardware(gpu_price, months, watts, kwh_price, people, _HARDWARE.gpu_hour_price if rent is None else rent)
    question = Question(chosen, hardware, basis, prices(price_table), displaced, days, seed, replay)
    found = _answer(log, _format(form), question)
    if report is not None:
        _write(report, html(found))
    if output is OutputFormat.TABLE:
        show(found, out())
    else:
        emit(data(found), output)
    if report is not None:
        err().print(f"wrote {report}", markup=False)


def _answer(log: str, form: LogFormat | None, question: Question) -> ProfileAnswer:
    with opened(log) as source, _watched(source) as (tick, say):
        return answer(read(source, form, tick), question, say)


@contextmanager
def _watched(source: Source) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """A bar over the bytes read, on a terminal; then what is being done."""
    console = err()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"reading {source.name}", total=source.size)

        def tick(read_bytes: int) -> None:
            progress.update(bar, completed=read_bytes)

        def say(what: str) -> None:
            progress.update(bar, description=what, total=None)

        yield tick, say


def _format(name: str) -> LogFormat | None:
    if name == "auto":
        return None
    for form in FORMATS:
        if form.name == name:
            return form
    raise Problem(f"there is no format {name!r}: take auto, {_KNOWN}", 2)


def _pool(manifest: Path | None, said: Mapping[str, Any]) -> AskedPool:
    """The manifest's pool, or the usual one; options win, over tables too."""
    chosen = from_manifest(manifest, _POOL) if manifest is not None else _POOL
    return replace(chosen, **said, fixed=chosen.fixed | said.keys())


def _capabilities(words: str) -> frozenset[Capability]:
    try:
        return frozenset(Capability(word.strip().lower()) for word in words.split(",") if word.strip())
    except ValueError:
        known = ", ".join(Capability)
        raise Problem(f"--capabilities {words}: take some of {known}, with commas", 2) from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror or error}") from None
