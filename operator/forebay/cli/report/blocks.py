"""What a report is made of, besides plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from xml.etree.ElementTree import Element

from forebay.cli.report.markup import element


class ReportBlock(Protocol):
    """A part of a report."""

    def html(self) -> Element:
        """The block as an element."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a section."""

    text: str

    def html(self) -> Element:
        """A second-level heading."""
        return element("h2", self.text)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph."""

    text: str

    def html(self) -> Element:
        """A paragraph."""
        return element("p", self.text)


@dataclass(frozen=True, slots=True)
class Notice:
    """A paragraph that must not be missed: what was guessed, left out, or cannot be known."""

    text: str

    def html(self) -> Element:
        """A paragraph with a mark."""
        return element("p", self.text, class_="notice")


@dataclass(frozen=True, slots=True)
class Figure:
    """One large number: `82 %`, what it is of, and how sure it is."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """The few numbers that answer the question, side by side."""

    figures: Sequence[Figure]

    def html(self) -> Element:
        """Tiles."""
        return element("div", *map(_tile, self.figures), class_="figures")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells as they are to be read. `left` columns hold words, the others numbers; row `strong` stands out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    strong: int | None = None
    note: str = ""

    def html(self) -> Element:
        """A table that scrolls sideways where it is too wide."""
        rows = [
            element("tr", *map(self._cell, range(len(row)), row), class_="strong" if place == self.strong else "")
            for place, row in enumerate(self.rows)
        ]
        head = element("thead", element("tr", *map(self._title, range(len(self.columns)), self.columns)))
        table = element("div", element("table", head, element("tbody", *rows)), class_="wide-content")
        return element("figure", table, *([element("figcaption", self.note)] if self.note else []))

    def _cell(self, place: int, text: str) -> Element:
        return element("td", text, class_="" if place < self.left else "number")

    def _title(self, place: int, text: str) -> Element:
        return element("th", text, scope="col", class_="" if place < self.left else "number")


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the numbers rest on: name, value, and where it comes from or how to change it."""

    rows: Sequence[tuple[str, str, str]]

    def html(self) -> Element:
        """A list of terms."""
        items = [
            element("div", element("dt", name), element("dd", value, *([element("small", note)] if note else [])))
            for name, value, note in self.rows
        ]
        return element("dl", *items)


def _tile(figure: Figure) -> Element:
    note = [element("small", figure.note)] if figure.note else []
    return element("div", element("strong", figure.value), element("span", figure.label), *note)
