"""What the engines of a pool say they are: as heard of, as the status keeps it, and what of it is news. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from forebay.engines.version import Support, Versions
from forebay.resources.report import Report, SidecarReport

UNKNOWN: Final = "unknown"
"""What the status says of an engine that says no version."""
MOST: Final = 4


def said(reports: Iterable[Report]) -> tuple[str, ...]:
    """The versions of these routers' engines, each once; empty for an engine that says none. Who was not asked yet, or
    has an older sidecar, is left out."""
    found = {report.engine_version for report in reports if isinstance(report, SidecarReport)}
    return tuple(sorted(version for version in found if version is not None))


def written(versions: Sequence[str]) -> str:
    """As the status holds them."""
    return ", ".join(version or UNKNOWN for version in versions[:MOST])


def read(text: str) -> tuple[str, ...]:
    """What an earlier operator has written."""
    return tuple("" if word == UNKNOWN else word for word in text.split(", ") if word)


def outside(supported: Versions, versions: Iterable[str]) -> tuple[str, ...]:
    """Those that are not supported, each with what is."""
    words = {Support.OLDER: "older", Support.NEWER: "newer"}
    found = ((version, words.get(supported.judge(version))) for version in versions)
    return tuple(f"{version}, {word} than what is supported: {supported}" for version, word in found if word)
