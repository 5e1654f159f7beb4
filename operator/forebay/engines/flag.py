"""A flag of an engine's command line, as Python's argparse reads it, and vLLM's parser on top of that."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SHARE = re.compile(r"\d*\.?\d+")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kmgtKMGT]?)")


@dataclass(frozen=True, slots=True)
class Flag:
    """One that takes a value. Underscores count as dashes, and the last of several counts."""

    name: str
    short: str = ""
    """Another name, with one dash."""
    least: str = ""
    """The shortest beginning of `name` that no other flag shares; empty: only the whole name will do."""

    def __str__(self) -> str:
        return self.name

    def said(self, args: Sequence[str]) -> bool:
        """Whether these arguments hold it."""
        return self.value(args) is not None

    def value(self, args: Sequence[str]) -> str | None:
        """What the last of it says, joined with `=` or not, empty where nothing follows; None where it is not said."""
        found: str | None = None
        for at, arg in enumerate(args):
            if arg == "--":
                break
            name, equals, value = arg.partition("=")
            if self._means(name):
                found = value if equals else "".join(args[at + 1 : at + 2])
        return found

    def number(self, args: Sequence[str]) -> int | None:
        """The whole number that the last of it says; k, m, g and t are thousands, K, M, G and T powers of 1,024."""
        parts = _NUMBER.fullmatch(self.value(args) or "")
        if parts is None:
            return None
        return int(Decimal(parts[1]) * _UNITS[parts[2]])

    def share(self, args: Sequence[str]) -> float | None:
        """The share that the last of it says, above 0 and up to 1; None where it says none."""
        said = self.value(args) or ""
        share = float(said) if _SHARE.fullmatch(said) else 0.0
        return share if 0 < share <= 1 else None

    def _means(self, name: str) -> bool:
        if not name.startswith("--"):
            return bool(self.short) and name == self.short
        long = name.replace("_", "-")
        return long == self.name or (bool(self.least) and long.startswith(self.least) and self.name.startswith(long))
