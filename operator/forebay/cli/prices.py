"""List prices of cloud models: a small dated table of the package, or a file in the same form.

Tabs or commas, a line of titles first: provider, model, input, output, and, if known, cached, context_tokens, as_of,
source. Prices are US dollars for a million tokens. The first line's model is what is displaced unless said otherwise.
"""

import csv
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from forebay.cli.problem import Problem
from forebay.rules.cost import Price

TABLE: Final = "prices.tsv"
_TITLES: Final = {
    "input_usd_per_mtok": "input",
    "output_usd_per_mtok": "output",
    "cached_input_usd_per_mtok": "cached",
}
_DATE: Final = re.compile(r"[-@](?:20\d\d-?\d\d-?\d\d|latest|preview)$")


@cache
def shipped() -> tuple[Price, ...]:
    """The package's table."""
    return parse(files(__package__).joinpath(TABLE).read_text("utf-8"), TABLE)


def prices(path: Path | None) -> tuple[Price, ...]:
    """A file's prices, or the package's. Raises Problem for a file that cannot be used."""
    if path is None:
        return shipped()
    try:
        return parse(path.read_text("utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"cannot read prices from {path}: {error}", 2) from None


def parse(text: str, name: str) -> tuple[Price, ...]:
    """Prices from tab- or comma-separated text. Raises Problem that names the line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) < 2:
        raise Problem(f"{name} has no prices: give a line of titles (provider, model, input, output), then models", 2)
    rows = csv.DictReader(lines, delimiter="\t" if "\t" in lines[0] else ",")
    found = []
    for number, row in enumerate(rows, 2):
        said = {_TITLES.get(title or "", title or ""): (value or "").strip() for title, value in row.items() if title}
        try:
            found.append(_price(said))
        except (KeyError, ValueError) as error:
            wrong = f"no column {error}" if isinstance(error, KeyError) else str(error)
            raise Problem(f"{name}, line {number}: {wrong}; needed are provider, model, input and output", 2) from None
    return tuple(found)


def _price(row: Mapping[str, str]) -> Price:
    price = Price(
        row.get("provider", ""),
        row["model"],
        float(row["input"]),
        float(row["output"]),
        float(row["cached"]) if row.get("cached") else None,
        int(row["context_tokens"]) if row.get("context_tokens") else None,
        row.get("as_of", ""),
        row.get("source", ""),
    )
    if not price.model or not 0 <= price.input < 1e9 or not 0 <= price.output < 1e9:
        raise ValueError("a model needs a name, and prices of at least 0 dollars a million tokens")
    return price


def find(model: str, table: tuple[Price, ...]) -> Price | None:
    """The price of a model as a log spells it: `provider/model` and dated names (`-2026-03-17`) are found, too."""
    names = [model, model.partition("/")[2], model.rpartition("/")[2]]
    for name in (*names, *(_DATE.sub("", name) for name in names)):
        for price in table:
            if name and name in (price.model, price.model.rpartition("/")[2], f"{price.provider}/{price.model}"):
                return price
    return None


def asked(model: str, table: tuple[Price, ...]) -> Price:
    """The price of a model that a person named. Raises Problem that lists the models."""
    if (price := find(model, table)) is not None:
        return price
    known = ", ".join(price.model for price in table)
    raise Problem(f"there is no price for {model!r}: take one of {known}, or give a table with --prices", 2)
