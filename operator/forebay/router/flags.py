"""The flags of forebay-router, as the table of options has them."""

import argparse
from collections.abc import Callable, Sequence

from forebay.resources.option import Option, OptionError, build, read, rows
from forebay.resources.options import SIDECAR, RouterOptions


def settings(arguments: Sequence[str]) -> RouterOptions:
    """What the flags say. Flags that make no sense end the process with a sentence and status 2."""
    parser = _parser()
    made = build(RouterOptions, vars(parser.parse_args(arguments)))
    if made.role == SIDECAR and not made.pool:
        parser.error("a sidecar needs --pool")
    return made


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "forebay-router",
        description="forebay-router: gateway or sidecar; `forebay-router drain` is the preStop hook of both.",
        argument_default=argparse.SUPPRESS,
    )
    for row in rows(RouterOptions):
        parser.add_argument(
            row.flag, dest=row.name, type=_reader(row), required=row.required, metavar=_metavar(row), help=_help(row)
        )
    return parser


def _metavar(row: Option) -> str | None:
    """The words that may be said, where they are few; else argparse's own."""
    words = ("on", "off") if row.type is bool else row.choices
    return f"{{{','.join(words)}}}" if words else None


def _help(row: Option) -> str:
    only = f" ({row.role} only)" if row.role else ""
    return f"{row.description}{only}" + ("" if row.required else f" Default: {row.said_default or 'none'}")


def _reader(row: Option) -> Callable[[str], object]:
    def value(text: str) -> object:
        try:
            return read(row, text)
        except OptionError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error

    return value
