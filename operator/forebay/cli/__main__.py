"""`kubectl forebay`, also `kubectl-forebay` and `python -m forebay.cli`."""

import sys
from typing import Annotated

import typer

from forebay import __version__
from forebay.cli.cost.command import cost
from forebay.cli.problem import Problem
from forebay.cli.profile.command import profile
from forebay.cli.replay.command import replay
from forebay.cli.running import explain, status, top

app = typer.Typer(
    name="kubectl forebay",
    help="Ask a forebay fleet what it does, why, and what it is worth.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"forebay {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Options that stand before the command."""


app.command()(status.status)
app.command()(top.top)
app.command()(explain.explain)
app.command()(cost)
app.command()(profile)
app.command()(replay)


def main() -> None:
    """Run a command; a Problem becomes one sentence on standard error."""
    try:
        app()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(problem.status) from None


if __name__ == "__main__":
    main()
