"""A report is one self-contained HTML page made of blocks: no script, no network, light and dark, phone and paper.

    page("What local is worth", [Figures(...), Curves(...), Table(...), Assumptions(...)])

Blocks are plain values; everything in them is text and is escaped when the page is written.
"""

from forebay.cli.report.axis import Axis, dollars, percent, plain, short
from forebay.cli.report.blocks import Assumptions, Figure, Figures, Heading, Notice, Paragraph, ReportBlock, Table
from forebay.cli.report.page import page
from forebay.cli.report.plot import Bar, Bars, Curves, Mark, PlotCurve

__all__ = [
    "Assumptions",
    "Axis",
    "Bar",
    "Bars",
    "Curves",
    "Figure",
    "Figures",
    "Heading",
    "Mark",
    "Notice",
    "Paragraph",
    "PlotCurve",
    "ReportBlock",
    "Table",
    "dollars",
    "page",
    "percent",
    "plain",
    "short",
]
