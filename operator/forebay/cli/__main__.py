"""`kubectl forebay`, also `kubectl-forebay` and `python -m forebay.cli`."""

import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from forebay import __version__
from forebay.cli.problem import Problem

COMMANDS: Final = {
    "status": "running.status",
    "top": "running.top",
    "explain": "running.explain",
    "budget": "running.budget",
    "cost": "cost.command",
    "profile": "profile.command",
    "replay": "replay.command",
}
"""Where each command lives: a function of its name. Loaded when it is asked for, because Kubernetes' client and the
replayed router take longer to load than most answers take to find."""


class OnDemand(TyperGroup):
    """A group that loads its commands one by one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of them; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(cmd_name)(getattr(import_module(f"forebay.cli.{COMMANDS[cmd_name]}"), cmd_name))
        return typer.main.get_command(alone)


app = typer.Typer(
    name="kubectl forebay",
    cls=OnDemand,
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


def main() -> None:
    """Run a command; a Problem becomes one sentence on standard error."""
    try:
        app()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(problem.status) from None


if __name__ == "__main__":
    main()
