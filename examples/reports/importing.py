"""Reading a CSV that somebody uploaded: which rows are good, and why the others are not."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from examples.reports.series import Row, Series, parse_row

DATA: Final = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of one CSV record and the line of the file on which it starts, from 1."""

    line: int
    fields: list[str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was skipped, and why."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The content of a checked file: its good rows, oldest first, and its bad ones by line."""

    series: Series
    bad: tuple[BadRow, ...]


def read_data(file: str) -> bytes:
    """Return the bytes of one of the example's files.

    A name is looked up, never joined to a path: `../` gets nowhere.
    """
    files = {path.name: path for path in DATA.glob("*.csv")}
    if file not in files:
        raise ValueError(f"there is no file {file!r}; there are {', '.join(sorted(files))}")
    return files[file].read_bytes()


def read_records(data: bytes) -> tuple[str, list[Record]]:
    """Return the measure's name from the header, and the records below it.

    Undecodable bytes end up in a bad row's reason.
    """
    reader = csv.reader(io.StringIO(data.decode("utf-8-sig", errors="replace"), newline=""))
    header = next(reader, [])
    records, line = [], reader.line_num + 1
    for fields in reader:
        if fields:  # the csv module gives [] for a blank line
            records.append(Record(line, fields))
        line = reader.line_num + 1  # a quoted field may span lines, so the next record starts here
    return (header[1].strip() if len(header) > 1 else "value"), records


def check(measure: str, records: Iterable[Record]) -> Checked:
    """Sort the records into good and bad rows. Takes any iterable, so a caller can watch the progress."""
    good: dict[str, Row] = {}
    bad: list[BadRow] = []
    for record in records:
        try:
            row = parse_row(record.fields)
            if row.period in good:
                raise ValueError(f"period {row.period} is there already")
            good[row.period] = row
        except ValueError as error:
            bad.append(BadRow(record.line, str(error)))
    return Checked(Series(measure, tuple(good[period] for period in sorted(good))), tuple(bad))


def why_unusable(checked: Checked) -> str | None:
    """Say in a sentence why nothing can be made of the file; None if something can."""
    if checked.series.rows:
        return None
    if not checked.bad:
        return "the file has no rows"
    return f"none of the {len(checked.bad)} rows is valid; the first is {checked.bad[0]}"
