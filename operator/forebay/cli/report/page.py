"""The page: blocks between one head and one foot."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from xml.etree.ElementTree import tostring

from forebay import __version__
from forebay.cli.report.blocks import ReportBlock
from forebay.cli.report.markup import element

NOTHING_FROM_OUTSIDE = "default-src 'none'; style-src 'unsafe-inline'"
"""The page's own policy: a browser would refuse a script, or anything from elsewhere."""


def page(title: str, blocks: Iterable[ReportBlock], lead: str = "") -> str:
    """A whole HTML document. `lead` says under the title what was looked at, and when."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=NOTHING_FROM_OUTSIDE),
        element("title", title),
        element("style", _style()),
    )
    top = element("header", element("h1", title), *([element("p", lead)] if lead else []))
    foot = element("footer", f"Made by kubectl forebay {__version__}. This page is complete: it loads nothing.")
    body = element("body", element("main", top, *(block.html() for block in blocks), foot))
    return "<!doctype html>\n" + tostring(element("html", head, body, lang="en"), "unicode", method="html") + "\n"


@cache
def _style() -> str:
    return files(__package__).joinpath("style.css").read_text("utf-8")
