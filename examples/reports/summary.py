"""The figures of a series that fit on half a page."""

import statistics
from typing import Final

from examples.reports.series import Row, Series
from examples.reports.trend import Trend

YEARS_PER_DECADE: Final = 10


def summary_table(series: Series, trend: Trend) -> list[tuple[str, str]]:
    """Return the figures of a series of at least one row, as pairs of label and text."""
    rows, values = series.rows, series.values
    slope, low, high = (YEARS_PER_DECADE * rate for rate in (trend.slope, trend.low, trend.high))
    return [
        ("Rows", str(len(rows))),
        ("First", _dated(rows[0])),
        ("Last", _dated(rows[-1])),
        ("Lowest", _dated(min(rows, key=lambda row: row.value))),
        ("Highest", _dated(max(rows, key=lambda row: row.value))),
        ("Mean", f"{statistics.fmean(values):,.2f}"),
        ("Median", f"{statistics.median(values):,.2f}"),
        ("Standard deviation", f"{statistics.pstdev(values):,.2f}"),
        ("Trend per decade", f"{slope:+,.2f}"),
        ("95 % of resampled trends", f"{low:+,.2f} to {high:+,.2f}"),
    ]


def _dated(row: Row) -> str:
    return f"{row.value:,.2f}  ({row.period})"
