"""A report is one page that loads nothing, runs nothing, and shows what it is told as text."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.report import (
    Assumptions,
    Axis,
    Bar,
    Bars,
    Curves,
    Figure,
    Figures,
    Heading,
    Mark,
    Notice,
    Paragraph,
    PlotCurve,
    ReportBlock,
    Table,
    dollars,
    page,
    percent,
    short,
)
from forebay.cli.report.axis import laid

EVIL = "<script>alert('x')</script>&\"</style>"
VOID = {"meta", "br"}


def every_block(word: str) -> list[ReportBlock]:
    axis = Axis(word, logarithmic=True, say=short)
    return [
        Heading(word),
        Paragraph(word),
        Notice(word),
        Figures([Figure(word, word, word)]),
        Table([word, word], [[word, word]], strong=0, note=word),
        Curves(word, axis, axis, [PlotCurve(word, [(1, 2), (10, 30)], "cloud", "dashed", [(1, 1, 3), (10, 2, 40)])],
               [Mark(2, 3, word)], [(5, word)], word),
        Bars(word, [Bar(word, 0.5, 0.4, 0.7, word)], rules=[(0.3, word)], note=word),
        Bars(word, [Bar(word, 5e6)], axis),
        Assumptions([(word, word, word)]),
    ]  # fmt: skip


class Reader(HTMLParser):
    """Collects elements and texts, and fails where they are not nested."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    text = page("Title", every_block("word"), "lead")
    assert "default-src 'none'" in text
    found = read(text)
    assert not found.tags & {"script", "link", "img", "iframe", "object", "image", "use", "a", "base"}
    assert not [name for name, _ in found.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert not re.search(r"url\(|@import|://", text)


def test_whatever_stands_in_a_block_is_text() -> None:
    found = read(page(EVIL, every_block(EVIL), EVIL))
    assert "script" not in found.tags
    assert found.texts.count(EVIL) > 15


def test_a_page_is_for_dark_rooms_phones_and_paper() -> None:
    text = page("Title", [])
    for what in ("prefers-color-scheme: dark", "max-width: 34rem", "@media print", "width=device-width"):
        assert what in text


def test_a_plot_is_drawn_for_the_desk_and_for_the_phone() -> None:
    text = page("Title", [every_block("word")[5]])
    assert text.count('class="desk"') == text.count('class="phone"') == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (7, "7"), (999, "999"), (1_000, "1k"), (8_212_500, "8.21M"), (12_300_000, "12.3M"), (1e9, "1B"),
     (123_456_789, "123M"), (0.25, "0.25")],
)  # fmt: skip
def test_large_numbers_are_said_in_three_digits(value: float, said: str) -> None:
    assert short(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "$0"), (1, "$1"), (0.001234, "$0.0012"), (2.5, "$2.50"), (66.4, "$66"), (1460, "$1,460"), (25_000, "$25k")],
)
def test_money_is_said_as_people_say_it(value: float, said: str) -> None:
    assert dollars(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 %"), (0.014, "1.4 %"), (0.5, "50 %"), (0.994, "99.4 %"), (1, "100 %")],
)
def test_shares_near_the_ends_have_a_decimal(value: float, said: str) -> None:
    assert percent(value) == said


@given(st.lists(st.floats(1e-3, 1e12), min_size=1), st.booleans())
def test_an_axis_shows_every_value_and_has_ticks_in_order(values: list[float], logarithmic: bool) -> None:
    scale = laid(Axis(logarithmic=logarithmic), values, 50, 500)
    assert all(50 - 1e-6 <= scale.at(value) <= 500 + 1e-6 for value in values)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 8
    assert ticks == sorted(ticks)
    assert all(scale.low - 1e-6 * scale.high <= tick <= scale.high * (1 + 1e-6) for tick in ticks)


def test_nothing_to_show_is_no_error() -> None:
    page("Title", [Curves("none", Axis(), Axis(logarithmic=True), []), Bars("none", []), Figures([]), Table([], [])])
