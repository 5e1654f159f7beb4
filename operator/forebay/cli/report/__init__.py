"""A report is one self-contained HTML page made of blocks: no script, no network, light and dark, phone and paper.

    page("What local is worth", [Figures(...), Curves(...), Table(...), Assumptions(...)])

Blocks are plain values; everything in them is text and is escaped when the page is written.
"""

from forebay.cli.report.blocks import Assumptions, Block, Figure, Figures, Heading, Notice, Table, Text
from forebay.cli.report.page import page
from forebay.cli.report.plot import Bar, Bars, Curve, Curves, Mark
from forebay.cli.report.scale import Axis, dollars, percent, plain, short

__all__ = [
    "Assumptions",
    "Axis",
    "Bar",
    "Bars",
    "Block",
    "Curve",
    "Curves",
    "Figure",
    "Figures",
    "Heading",
    "Mark",
    "Notice",
    "Table",
    "Text",
    "dollars",
    "page",
    "percent",
    "plain",
    "short",
]
