"""A measured series: one number for each period (a year or a month), and its CSV form."""

import csv
import io
import math
import re
from dataclasses import dataclass
from typing import Final

FIRST_YEAR: Final = 1600
LAST_YEAR: Final = 2100
_PERIOD: Final = re.compile(r"(\d{4})(?:-(\d{2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement. `period` is `YYYY` or `YYYY-MM`, so that text order is time order."""

    period: str
    value: float

    @property
    def years(self) -> float:
        """Return the period on a number line: 1958-07 is 1958.5."""
        year, _, month = self.period.partition("-")
        return int(year) + (int(month) - 1) / 12 if month else float(year)


@dataclass(frozen=True, slots=True)
class Series:
    """The measurements of one measure, oldest first."""

    measure: str
    rows: tuple[Row, ...]

    @property
    def values(self) -> list[float]:
        return [row.value for row in self.rows]


def parse_row(fields: list[str]) -> Row:
    """Return the row that two CSV fields hold; raise ValueError with the reason in words if they hold none."""
    if len(fields) != 2:
        raise ValueError(f"{len(fields)} field{'s' * (len(fields) != 1)} where 2 are expected")
    return Row(_parse_period(fields[0].strip()), _parse_value(fields[1].strip()))


def to_csv(series: Series) -> bytes:
    """Return the series as UTF-8 CSV with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["period", series.measure])
    writer.writerows([row.period, row.value] for row in series.rows)
    return text.getvalue().encode()


def from_csv(data: bytes) -> Series:
    """Return the series of `to_csv`; raise ValueError on a row that is not valid."""
    header, *records = csv.reader(io.StringIO(data.decode()))
    return Series(header[1], tuple(parse_row(fields) for fields in records))


def _parse_period(text: str) -> str:
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is neither a year (YYYY) nor a month (YYYY-MM)")
    year, month = match.groups()
    if not FIRST_YEAR <= int(year) <= LAST_YEAR:
        raise ValueError(f"year {year} is not between {FIRST_YEAR} and {LAST_YEAR}")
    if month is not None and not 1 <= int(month) <= 12:
        raise ValueError(f"there is no month {month}")
    return text


def _parse_value(text: str) -> float:
    if not text:
        raise ValueError("the value is missing")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(value):  # float() takes 'nan' and 'inf', a chart does not
        raise ValueError(f"{text!r} is not a finite number")
    return value
