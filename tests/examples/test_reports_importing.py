"""CSV validation: every bad row is found, with its line and the reason."""

import pytest

from examples.reports.importing import Checked, check, read_data, read_records, why_unusable
from examples.reports.series import Row, Series, from_csv, parse_row, to_csv


def checked_file(file: str) -> Checked:
    return check(*read_records(read_data(file)))


@pytest.mark.parametrize(
    ("file", "rows", "first", "last"),
    [
        ("sunspots.csv", 309, "1700", "2008"),
        ("nile.csv", 100, "1871", "1970"),
        ("elnino.csv", 732, "1950-01", "2010-12"),
        ("co2.csv", 521, "1958-03", "2001-12"),
    ],
)
def test_the_published_files_are_valid_throughout(file: str, rows: int, first: str, last: str) -> None:
    checked = checked_file(file)
    assert checked.bad == ()
    assert why_unusable(checked) is None
    assert len(checked.series.rows) == rows
    assert (checked.series.rows[0].period, checked.series.rows[-1].period) == (first, last)


def test_the_broken_file_reports_each_bad_row_by_line() -> None:
    checked = checked_file("nile-broken.csv")
    assert [str(bad) for bad in checked.bad] == [
        "line 11: 'n/a' is not a number",
        "line 21: 1 field where 2 are expected",
        "line 31: '19000' is neither a year (YYYY) nor a month (YYYY-MM)",
        "line 41: year 3910 is not between 1600 and 2100",
        "line 51: 'nan' is not a finite number",
        "line 61: period 1929 is there already",
        "line 71: the value is missing",
    ]
    assert len(checked.series.rows) == 93


def test_a_file_without_a_valid_row_is_refused_in_a_sentence() -> None:
    checked = checked_file("minutes.csv")
    assert why_unusable(checked) == "none of the 8 rows is valid; the first is line 2: 3 fields where 2 are expected"


def test_an_empty_file_is_refused() -> None:
    assert why_unusable(check(*read_records(b""))) == "the file has no rows"


@pytest.mark.parametrize("file", ["../app.py", "/etc/passwd", "SOURCES.md", ""])
def test_only_the_examples_own_csv_files_can_be_read(file: str) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        read_data(file)


def test_lines_are_counted_across_blank_lines_and_quoted_line_breaks() -> None:
    _, records = read_records(b'period,x\n1900,1\n\n"19\n01",2\n1902,3\n')
    assert [record.line for record in records] == [2, 4, 6]


def test_undecodable_bytes_make_one_bad_row_not_a_bad_file() -> None:
    checked = check(*read_records(b"period,x\n1900,\xff\n1901,2\n"))
    assert [bad.line for bad in checked.bad] == [2]
    assert checked.series.rows == (Row("1901", 2.0),)


@pytest.mark.parametrize("period", ["1900-00", "1900-13", "1599", "2101", "190", "1900-1", "١٩٠٠", ""])
def test_impossible_periods_are_refused(period: str) -> None:
    with pytest.raises(ValueError, match=r"year|month"):
        parse_row([period, "1"])


def test_cleaned_csv_reads_back_as_the_same_series() -> None:
    series = Series("level, in m", (Row("1900-01", 0.1), Row("1900-02", -3e-07)))
    assert from_csv(to_csv(series)) == series


def test_rows_come_out_in_time_order() -> None:
    checked = check("x", read_records(b"period,x\n1902,2\n1900,0\n1901,1\n")[1])
    assert checked.series.values == [0.0, 1.0, 2.0]
