"""The line chart of a series, as a reportlab drawing."""

from typing import Final

from reportlab.graphics.charts.lineplots import LinePlot
from reportlab.graphics.shapes import Drawing, String
from reportlab.lib.colors import HexColor

from examples.reports.series import Series

GREY: Final = HexColor("#8a94a0")
PALE: Final = HexColor("#e3e7eb")


def line_chart(series: Series, accent: str, width: float, height: float) -> Drawing:
    """Draw the series over its years; `width` and `height` in points."""
    plot = LinePlot()
    plot.x, plot.y, plot.width, plot.height = 40, 24, width - 56, height - 52
    plot.data = [[(row.years, row.value) for row in series.rows]]
    plot.lines[0].strokeColor = HexColor(accent)
    plot.lines[0].strokeWidth = 0.9
    plot.xValueAxis.labelTextFormat = "%d"
    plot.xValueAxis.maximumTicks = 9
    for axis in (plot.xValueAxis, plot.yValueAxis):
        axis.labels.fontName, axis.labels.fontSize, axis.labels.fillColor = "Helvetica", 8, GREY
        axis.strokeColor = GREY
    plot.yValueAxis.visibleGrid, plot.yValueAxis.gridStrokeColor = True, PALE

    drawing = Drawing(width, height)
    drawing.add(plot)
    drawing.add(String(40, height - 14, series.measure, fontName="Helvetica-Bold", fontSize=9, fillColor=GREY))
    return drawing
