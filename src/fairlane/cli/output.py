"""Output of commands: consoles, tables, times, JSON. Colours only on a terminal, and not if NO_COLOR is set.

All text that a tenant may have written goes through `plain`: an escape sequence in a progress message must not control
the operator's terminal.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final
from uuid import UUID

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fairlane.domain.statuses import JobStatus
from fairlane.domain.texts import time_of

if TYPE_CHECKING:
    from fairlane import Breaker, JobTypeLimit, Metrics, PauseView, Spread

# A reader of a pipe wants whole lines.
_PIPE_WIDTH: Final = 500

STATUS_STYLES: Final = {
    JobStatus.PENDING: "dim",
    JobStatus.QUEUED: "blue",
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "yellow",
    JobStatus.TIMED_OUT: "yellow",
    JobStatus.DEAD_LETTER: "red",
    JobStatus.CANCELED: "magenta",
}
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SHORT: Final = 8
_MOST_TYPES: Final = 10
_NAMED: Final = 5
_MOST_SHOWN: Final = 1000  # characters of parameters before a history


class _Output(Console):
    """A console that strips blanks at the ends of lines if it is no terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console.print` does."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as captured:
            super().print(*objects, **options)
        lines = (line.rstrip(" ") for line in captured.get().split("\n"))
        super().print("\n".join(lines), end="", soft_wrap=True)


def console(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """Return a console on the current standard output or error, or on a file."""
    made = _Output(stderr=stderr, file=file, highlight=False, markup=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _PIPE_WIDTH
    return made


def say(text: str, *, whole: bool = False) -> None:
    """Print a sentence on standard output, wrapped to the terminal's width unless it is `whole`, for copying."""
    out = console()
    out.print(Text(plain(text)), soft_wrap=whole or not out.is_terminal)


def complain(text: str) -> None:
    """Print a sentence on standard error."""
    out = console(stderr=True)
    out.print(Text.assemble(("Error: ", "bold red"), plain(text)), soft_wrap=not out.is_terminal)


def remark(text: str, *, on: Console | None = None, whole: bool = False) -> None:
    """Print a note on standard error, wrapped to the terminal's width unless it is `whole`, for copying.

    Args:
        on: the console of a live display, which prints above itself; any other would write into its last line.
    """
    out = on or console(stderr=True)
    out.print(Text(plain(text)), soft_wrap=whole or not out.is_terminal)


def print_json(document: object) -> None:
    """Print one JSON document, and nothing else."""
    print(json_text(document, indent=2))


def tell(document: object, sentence: str, *, as_json: bool) -> None:
    """Print the result: as JSON with --json, else as a sentence."""
    if as_json:
        print_json(document)
    else:
        say(sentence)


def is_told(found: Sequence[object], none: str, *, as_json: bool) -> bool:
    """Print a list as JSON, or the sentence for an empty one; return False if the caller has to print its table."""
    if as_json or not found:
        tell(found, none, as_json=as_json)
    return as_json or not found


def json_text(document: object, *, indent: int | None = None) -> str:
    """Return a JSON document for a terminal, with control characters escaped."""
    from pydantic_core import to_jsonable_python

    text = json.dumps(to_jsonable_python(document), ensure_ascii=False, indent=indent)
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in line)


def table(*columns: str | Column) -> Table:
    """Make a table without lines.

    Columns given as text keep their width; a `Column` may shrink or wrap.
    """
    made = [one if isinstance(one, Column) else Column(one, no_wrap=True) for one in columns]
    return Table(*made, box=None, pad_edge=False, header_style="bold")


def plain(text: str) -> str:
    """Return the text without control characters; a line break or a tab becomes a space."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else (" " if one in "\n\t" else "�") for one in text.strip())


def plain_lines(text: str) -> Text:
    """Return a text without control characters but with its lines, for example a traceback, each line indented."""
    lines = (line.expandtabs().rstrip() for line in text.splitlines())
    safe = ("".join(one if one.isprintable() else "�" for one in line) for line in lines)
    return Text("\n".join(f"  {line}" if line else "" for line in safe))


def cell(value: object) -> Text:
    """Return a value for a table: nothing for None, a list with commas."""
    if value is None:
        return Text("")
    if isinstance(value, str):
        return Text(plain(value))
    if isinstance(value, datetime):
        return Text(moment(value))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, Mapping):
        from pydantic_core import to_jsonable_python

        return Text(plain(json.dumps(to_jsonable_python(value), ensure_ascii=False))) if value else Text("")
    if isinstance(value, Iterable):
        return Text(plain(", ".join(map(str, value))))
    return Text(str(value))


def clipped(value: object) -> Text:
    """Return a value for a table, cut after its beginning if it is large."""
    text = cell(value)
    if len(text) > _MOST_SHOWN:
        return Text(f"{text.plain[:_MOST_SHOWN]}… ({len(text):,} characters; --json shows all)")
    return text


def one_line(value: object) -> Text:
    """Return a cell that is cut, not wrapped, if its column is too narrow.

    The column itself must not be `no_wrap`: rich shrinks the last such columns until they vanish.
    """
    text = cell(value)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def status_text(status: JobStatus, progress: float | None = None, retry_at: datetime | None = None) -> Text:
    """Return a status in its colour, for a running job with its progress, for a queued one with its next attempt."""
    wait = (retry_at - datetime.now(UTC)).total_seconds() if retry_at is not None else 0
    if status is JobStatus.QUEUED and wait > 0:
        return Text(f"{status}, again in {brief(wait)}", STATUS_STYLES[status])
    if status is JobStatus.RUNNING and progress is not None:
        return Text(f"{status} {progress:.0f}%", STATUS_STYLES[status])
    return Text(status, STATUS_STYLES[status])


def short(job_id: UUID) -> str:
    """Return the end of an id. Its beginning is a time, and equal for jobs that were submitted together."""
    return str(job_id)[-_SHORT:]


def moment(value: datetime) -> str:
    """Return a date and time in UTC, the zone of all that commands print."""
    return time_of(value.astimezone(UTC))


def time_of_day() -> str:
    """Return the current time in UTC, for the beginning of a line."""
    return f"{datetime.now(UTC):%H:%M:%S}Z"


def breaker_state(breaker: "Breaker") -> str:
    """Say what an open breaker waits for."""
    if breaker.trial is not None:
        return f"tries job {short(breaker.trial.job_id)}"
    return f"tries a job from {moment(breaker.until)} on"


def maintenance_text(state: "PauseView") -> str:
    """Return since when maintenance mode is on, by whom and why, without a full stop."""
    why = f" ({state.reason})" if state.reason else ""
    return f"Maintenance mode is on: {state.by} turned it on at {moment(state.since)}{why}"


def age(value: datetime | None) -> str:
    """Say how long ago, in one unit: `14s`, `3m`, `5h`, `12d`."""
    if value is None:
        return ""
    return brief(seconds_since(value))


def seconds_since(moment: datetime) -> float:
    """Return how many seconds ago a time was; 0 for a future time."""
    return max((datetime.now(UTC) - moment).total_seconds(), 0.0)


def brief(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return "0s"


def unlimited(bound: int | None) -> str:
    """Return a limit as text."""
    return "unlimited" if bound is None else f"{bound:,}"


def rate_text(limit: "JobTypeLimit") -> str:
    """Return a limit of starts as text: their number and the time."""
    if limit.execution_rate is None:
        return "unlimited"
    return f"{limit.execution_rate:,} in {limit.execution_rate_window:g}s"


def limit_text(limit: "JobTypeLimit") -> str:
    """Return the limits of a job type in a line."""
    return f"{unlimited(limit.max_running)} running, {rate_text(limit)} started"


def recent_facts(metrics: "Metrics") -> Iterator[tuple[str, str]]:
    """Return the recent metrics of all jobs, and those of the types with most attempts."""
    time = f"last {metrics.minutes} min"
    for name, told in (("waited", metrics.wait_seconds), ("ran", metrics.processing_seconds)):
        yield f"{name}, {time}", ", ".join(_figures(told))
    for job_type, attempts in islice(metrics.attempts_by_type.items(), _MOST_TYPES):
        failed, ran = metrics.failure_rate_by_type[job_type], metrics.processing_seconds_by_type[job_type]
        ended = [number_of(attempts, "attempt"), f"{failed:.1%} failed", *_figures(ran)]
        yield plain(f"{job_type}, {time}"), ", ".join(ended)


def _figures(told: "Spread") -> list[str]:
    figures = (("average", told.average), ("p95", told.p95))
    return [f"{figure} {value:g}s" for figure, value in figures if value is not None]


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Return names and values below each other, without the empty ones."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        shown = value if isinstance(value, Text) else cell(value)
        if shown.plain:
            grid.add_row(name, shown)
    return grid


def some_of(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = [f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])


def number_of(count: int, what: str) -> str:
    """Return `1 job`, `2 jobs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
