"""The summary's figures and the trend."""

import pytest

from examples.reports.series import Row, Series
from examples.reports.summary import summary_table
from examples.reports.trend import Trend, resampled_slopes, trend


def series(*values: float) -> Series:
    return Series("x", tuple(Row(str(1900 + number), value) for number, value in enumerate(values)))


def test_the_summary_names_extremes_with_their_period() -> None:
    table = dict(summary_table(series(2.0, 9.0, 1.0), Trend(-0.5, -0.7, 0.1)))
    assert table["Rows"] == "3"
    assert table["Lowest"] == "1.00  (1902)"
    assert table["Highest"] == "9.00  (1901)"
    assert table["Mean"] == "4.00"
    assert table["Median"] == "2.00"
    assert table["Trend per decade"] == "-5.00"
    assert table["95 % of resampled trends"] == "-7.00 to +1.00"


def test_a_straight_line_has_a_certain_trend() -> None:
    line = series(*(2.0 * number for number in range(50)))
    found = trend(line, resampled_slopes(line, resamples=50))
    assert (found.slope, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_interval_holds_the_trend_of_a_wavering_line() -> None:
    wavering = series(*(number + 10 * (-1) ** number for number in range(60)))
    found = trend(wavering, resampled_slopes(wavering, resamples=200))
    assert found.low < found.slope < found.high


def test_resampling_is_the_same_each_time() -> None:
    wavering = series(3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0)
    assert list(resampled_slopes(wavering, 20)) == list(resampled_slopes(wavering, 20))


@pytest.mark.parametrize("rows", [1, 2])
def test_too_few_rows_have_no_trend(rows: int) -> None:
    short = series(*range(rows))
    assert trend(short, resampled_slopes(short)) == Trend(0.0, 0.0, 0.0)


def test_a_month_is_a_twelfth_of_a_year() -> None:
    assert Row("1958-07", 0.0).years == 1958.5
