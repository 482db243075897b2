"""A series as a PDF: title page, summary with chart, data pages.

Needs reportlab, so code that works without it imports this module late. The output depends on the input only, without
a date or a random id: a job that ran twice leaves the same bytes.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from examples.reports.chart import GREY, PALE, line_chart
from examples.reports.series import Row, Series
from examples.reports.summary import summary_table
from examples.reports.trend import Trend

COLUMNS: Final = 3  # pairs of period and value side by side on a data page
LINES: Final = 30
ROWS_PER_PAGE: Final = COLUMNS * LINES
MARGIN: Final = 22 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
_LINE_HEIGHT: Final = 7 * mm

OnPage = Callable[[int, int], None]  # (page begun, from 1; pages in all)


@dataclass(frozen=True, slots=True)
class Report:
    """The content of one PDF. `accent` is a colour like #1f4e79."""

    firm: str
    title: str
    accent: str
    series: Series
    trend: Trend

    @property
    def pages(self) -> int:
        return 2 + math.ceil(len(self.series.rows) / ROWS_PER_PAGE)


def render_pdf(report: Report, on_page: OnPage = lambda _page, _pages: None) -> bytes:
    """Render a report of at least one row as PDF.

    `on_page` is called as each page begins; what it raises ends it all.
    """

    def title(canvas: Canvas, _document: SimpleDocTemplate) -> None:
        on_page(1, report.pages)
        _draw_title_page(canvas, report)

    def inner(canvas: Canvas, document: SimpleDocTemplate) -> None:
        on_page(document.page, report.pages)
        _draw_frame(canvas, report, document.page)

    pdf = io.BytesIO()
    document = SimpleDocTemplate(
        pdf,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        title=report.title,
        author=report.firm,
        invariant=1,  # no creation date, no random id
    )
    document.build([PageBreak(), *_summary_page(report), *_data_pages(report)], onFirstPage=title, onLaterPages=inner)
    return pdf.getvalue()


def _draw_title_page(canvas: Canvas, report: Report) -> None:
    width, height = A4
    canvas.setFillColor(HexColor(report.accent))
    canvas.rect(0, height * 0.45, width, height * 0.55, stroke=0, fill=1)
    canvas.setFillColor(white)
    canvas.setFont("Helvetica", 14)
    canvas.drawString(MARGIN, height - 30 * mm, report.firm)
    canvas.setFont("Helvetica-Bold", 32)
    canvas.drawString(MARGIN, height * 0.45 + 22 * mm, report.title)
    rows = report.series.rows
    canvas.setFillColor(GREY)
    canvas.setFont("Helvetica", 12)
    canvas.drawString(MARGIN, height * 0.45 - 14 * mm, report.series.measure)
    canvas.drawString(MARGIN, height * 0.45 - 21 * mm, f"{rows[0].period} to {rows[-1].period}, {len(rows)} rows")


def _draw_frame(canvas: Canvas, report: Report, page: int) -> None:
    """Draw the head and foot of every page but the first."""
    width, height = A4
    canvas.setFont("Helvetica", 8)
    canvas.setFillColor(GREY)
    canvas.drawString(MARGIN, height - 14 * mm, f"{report.firm}  ·  {report.title}")
    canvas.drawRightString(width - MARGIN, 12 * mm, f"page {page} of {report.pages}")
    canvas.setStrokeColor(HexColor(report.accent))
    canvas.line(MARGIN, height - 16 * mm, width - MARGIN, height - 16 * mm)


def _heading(text: str, accent: str) -> Paragraph:
    style = ParagraphStyle("heading", fontName="Helvetica-Bold", fontSize=16, spaceAfter=12, textColor=HexColor(accent))
    return Paragraph(text, style)


def _summary_page(report: Report) -> list[Flowable]:
    style = TableStyle([*_ruled(), ("ALIGN", (1, 0), (1, -1), "RIGHT")])
    table = Table(summary_table(report.series, report.trend), colWidths=WIDTH / 2, rowHeights=_LINE_HEIGHT, style=style)
    chart = line_chart(report.series, report.accent, WIDTH, 110 * mm)
    return [_heading("In figures", report.accent), table, Spacer(0, 12 * mm), chart]


def _data_pages(report: Report) -> list[Flowable]:
    rows, pages = report.series.rows, list[Flowable]()
    for start in range(0, len(rows), ROWS_PER_PAGE):
        cells = [["Period", "Value"] * COLUMNS, *_side_by_side(rows[start : start + ROWS_PER_PAGE])]
        width = WIDTH / (2 * COLUMNS)
        table = Table(cells, colWidths=width, rowHeights=_LINE_HEIGHT, hAlign="LEFT", style=_data_style(report.accent))
        pages += [PageBreak(), _heading("Data", report.accent), table]
    return pages


def _side_by_side(rows: tuple[Row, ...]) -> list[list[str]]:
    """Arrange rows in columns of `LINES`, read downwards as in a newspaper; the rest of the last column is blank."""
    pairs = [(row.period, f"{row.value:,.2f}") for row in rows]
    lines = min(LINES, len(pairs))
    pairs += [("", "")] * (COLUMNS * lines - len(pairs))
    return [[text for pair in pairs[line::lines] for text in pair] for line in range(lines)]


def _ruled() -> list[tuple[object, ...]]:
    return [("FONT", (0, 0), (-1, -1), "Helvetica", 9), ("LINEBELOW", (0, 0), (-1, -1), 0.25, PALE)]


def _data_style(accent: str) -> TableStyle:
    head: list[tuple[object, ...]] = [
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 9),
        ("LINEBELOW", (0, 0), (-1, 0), 0.75, HexColor(accent)),
    ]
    values = range(1, 2 * COLUMNS, 2)
    right = [("ALIGN", (column, 0), (column, -1), "RIGHT") for column in values]
    gutter = [("RIGHTPADDING", (column, 0), (column, -1), 20) for column in values]
    return TableStyle([*_ruled(), *head, *right, *gutter])
