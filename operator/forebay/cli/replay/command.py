"""The command: options to a fleet, a trace through it, an answer to terminal, data or page."""

from pathlib import Path
from typing import Annotated, Final

import typer

from forebay.cli.console import FormatOption, OutputFormat, emit, err, out, progress
from forebay.cli.problem import Problem
from forebay.cli.replay.answer import ReplayAnswer, answer
from forebay.cli.replay.html import html
from forebay.cli.replay.manifests import fleet_of
from forebay.cli.replay.show import data, show
from forebay.replay import Fixed, FleetSetup, Forebay, ReplayResult, TraceRequest, play
from forebay.replay.readers import Trace, TraceError, read
from forebay.replay.scaler import PERIOD_SECONDS

_FLEET: Final = "Fleet"
_PLAY: Final = "Playing"


def replay(
    trace: Annotated[
        Path, typer.Argument(help="CSV or JSON lines, gzipped or not: a known trace, or forebay's access log.")
    ],
    pool: Annotated[
        list[Path],
        typer.Option(help="Manifest of LocalModelPools, and policies; may be given again.", rich_help_panel=_FLEET),
    ],
    policy: Annotated[
        list[Path] | None, typer.Option(help="Manifest of CloudFallbackPolicies.", rich_help_panel=_FLEET)
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help="What the replicas run on, as in H100 or L40S.", rich_help_panel=_FLEET)
    ] = None,
    cold_start: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds from wanted to serving.  [default: 300; simulated 15]", rich_help_panel=_FLEET
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=0, help="Always so many replicas, instead of scaling.", rich_help_panel=_FLEET)
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs that there are.  [default: enough]", rich_help_panel=_FLEET)
    ] = None,
    gateways: Annotated[int, typer.Option(min=1, max=64, help="Gateways.", rich_help_panel=_FLEET)] = 2,
    tempo: Annotated[
        float, typer.Option(min=0.001, max=1000, help="Requests come so many times as fast.", rich_help_panel=_PLAY)
    ] = 1.0,
    period: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds between two looks of the operator.", rich_help_panel=_PLAY)
    ] = PERIOD_SECONDS,
    exact: Annotated[
        bool, typer.Option("--exact", help="Take every step of every engine: slower.", rich_help_panel=_PLAY)
    ] = False,
    seed: Annotated[int, typer.Option(help="Of what chance decides.", rich_help_panel=_PLAY)] = 0,
    report: Annotated[
        Path | None, typer.Option("--out", help="Write a page with plots here.", rich_help_panel="Output")
    ] = None,
    output: FormatOption = OutputFormat.TABLE,
) -> None:
    """What size, spill, waits and cost a pool would have had, had it served this trace.

    The rules are those of router and operator, engines are simulated. No cluster is needed.
    """  # fmt: skip
    found = _read(trace)
    requests = found.faster(tempo)
    fleet = fleet_of(
        [*pool, *(policy or [])], requests, gpu=gpu, cold_start=cold_start, gpus=gpus, gateways=gateways, exact=exact
    )  # fmt: skip
    outcome = _played(requests, fleet.setup, size, period, seed)
    told = answer(trace.name, found, fleet.setup, outcome, fleet.assumptions)
    if output is OutputFormat.TABLE:
        show(told, out())
    else:
        emit(data(told), output)
    if report is not None:
        _write(report, told)


def _read(path: Path) -> Trace:
    try:
        return read(path)
    except TraceError as error:
        raise Problem(str(error), 2) from None


def _played(
    requests: list[TraceRequest], setup: FleetSetup, size: int | None, period: float, seed: int
) -> ReplayResult:
    scalers = {
        pool.name: Forebay.of(setup, pool, period) if size is None else Fixed(size, period) for pool in setup.pools
    }
    minutes = int(requests[-1].at // 60) + 1
    with progress() as bar:
        task = bar.add_task("minutes of the trace", total=minutes)
        return play(
            requests, setup, scalers, seed, lambda now: bar.update(task, completed=min(minutes, int(now // 60)))
        )


def _write(path: Path, told: ReplayAnswer) -> None:
    try:
        path.write_text(html(told), "utf-8")
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}") from None
    err().print(f"wrote {path}", markup=False)
