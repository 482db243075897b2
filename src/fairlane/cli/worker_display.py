"""The display of a worker on a terminal: a line for each running job, and above them the jobs that have ended.

It subscribes to the worker's events, which come on any thread. A separate thread prints a few times a second, so that
the terminal does not slow down thousands of jobs a second.
"""

import logging
import math
import os
import shlex
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Final, Self
from uuid import UUID

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from fairlane.cli.output import STATUS_STYLES, brief, number_of, plain, short, time_of_day
from fairlane.domain import events as e

_REFRESH: Final = 0.125  # seconds
_LINES_PER_REFRESH: Final = 25
_WIDE: Final = 100  # columns from which on bars are long
_STDERR: Final = 2
_LAST_WORDS: Final = 1.0  # seconds to wait for the last lines


@dataclass(slots=True)
class _Running:
    organization: str
    job_id: UUID
    job_type: str
    since: float
    percent: float | None = None
    message: str = ""


class WorkerDisplay:
    """The display of one worker, shown while the context is entered."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._running: dict[UUID, _Running] = {}
        self._most = math.inf
        self._lines: deque[Text] = deque(maxlen=_LINES_PER_REFRESH)
        self._unprinted = 0
        self._ended: dict[str, int] = {}
        self._head = "starting"
        self._live = Live(console=console, get_renderable=self.render, auto_refresh=False, transient=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="fairlane-display", daemon=True)

    def __enter__(self) -> Self:
        self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Print the last lines and restore the terminal; from any thread but its own."""
        self._over.set()
        self._thread.join()
        self._print_lines()
        self._live.stop()
        if self._ended:
            self._console.print(Text(self._totals()))

    def __call__(self, event: e.Event) -> None:
        """Handle an event, on any thread."""
        with self._lock:
            self._take(event)

    def _take(self, event: e.Event) -> None:
        match event:
            case e.JobStarted():
                if len(self._running) >= self._most:
                    # An attempt whose job was taken back has no end event: the oldest is such an attempt.
                    del self._running[next(iter(self._running))]
                self._running[event.job_id] = _Running(
                    event.organization, event.job_id, event.job_type, time.monotonic()
                )
            case e.JobProgressed() if event.job_id in self._running:
                running = self._running[event.job_id]
                running.percent, running.message = event.percent, plain(event.message or "")
            case e.LeaseLost():
                self._running.pop(event.job_id, None)
            case e.JobEnded():
                self._running.pop(event.job_id, None)
                end = _end_of(event)
                self._ended[end] = self._ended.get(end, 0) + 1
                self._add(_ended_line(event))
            case e.WorkerStarted():
                self._most = 2 * event.slots  # running jobs, and jobs whose result is being written
                queues = "all queues" if event.queues is None else ", ".join(event.queues)
                self._head = f"{event.worker} serves {queues} with {number_of(event.slots, 'slot')}"
            case e.WorkerStopping():
                self._head = f"stopping: jobs have {event.grace:g} s to finish, Ctrl-C again ends them now"
            case _:
                pass

    def print_line(self, line: Text) -> None:
        """Print a line above the jobs, from any thread."""
        with self._lock:
            self._add(line)

    def _add(self, line: Text) -> None:
        self._lines.append(line)
        self._unprinted += 1

    def _refresh(self) -> None:
        while not self._over.wait(_REFRESH):
            self._print_lines()
            self._live.refresh()

    def _print_lines(self) -> None:
        with self._lock:
            lines, left_out = list(self._lines), self._unprinted - len(self._lines)
            self._lines.clear()
            self._unprinted = 0
        if left_out:
            self._console.print(Text(f"… and {number_of(left_out, 'more line')}", "dim"))
        for line in lines:
            self._console.print(line)

    def render(self) -> RenderableType:
        """Render the running jobs as of now, and a last line about the worker."""
        with self._lock:
            running = list(self._running.values())
            foot = f"{self._head} · {self._totals()}"
        room = max(self._console.height - 3, 1)
        rows: list[RenderableType] = [_table(running[:room], self._console.width)] if running else []
        if len(running) > room:
            rows.append(Text(f"… and {len(running) - room:,} more", "dim"))
        last = Text(foot, "dim")
        # The terminal shows a Ctrl-C as "^C" at the end of the last line. Without room for it all lines would move.
        last.truncate(self._console.width - 3, overflow="ellipsis")
        return Group(*rows, last)

    def _totals(self) -> str:
        ended = [f"{size:,} {end.replace('_', ' ')}" for end, size in sorted(self._ended.items())]
        return ", ".join([f"{len(self._running):,} running", *ended])


@contextmanager
def stderr_shown(display: WorkerDisplay, terminal: IO[str]) -> Iterator[None]:
    """Show in the display what is written to standard error: handlers' processes would write into its last lines.

    Args:
        terminal: the former standard error, to which the display writes.
    """
    ours, theirs = os.pipe()
    os.dup2(theirs, _STDERR)
    os.close(theirs)
    reader = threading.Thread(target=_show, args=[display, ours], name="fairlane-stderr", daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(terminal.fileno(), _STDERR)
        # A process that a handler left behind may still hold the pipe open.
        reader.join(_LAST_WORDS)


def _show(display: WorkerDisplay, descriptor: int) -> None:
    with open(descriptor, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            display.print_line(Text(plain(line.rstrip())))


class DisplayHandler(logging.Handler):
    """A log handler that prints through the display."""

    def __init__(self, display: WorkerDisplay) -> None:
        super().__init__()
        self._display = display
        formatter = logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%SZ")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, unless the display has its own line for the event."""
        if isinstance(getattr(record, "event", None), e.JobEnded):
            return
        style = "red" if record.levelno >= logging.ERROR else "yellow" if record.levelno >= logging.WARNING else ""
        for line in self.format(record).splitlines():
            self._display.print_line(Text(plain(line), style))


def _table(running: list[_Running], width: int) -> Table:
    def column(**options: object) -> Column:
        return Column(no_wrap=True, overflow="ellipsis", **options)  # type: ignore[arg-type]

    rows = Table.grid(
        column(max_width=width // 6),
        column(max_width=width // 5),
        column(),
        column(),
        column(justify="right", min_width=4),
        column(ratio=1),
        column(justify="right"),
        padding=(0, 1),
        expand=True,
    )
    bar = 20 if width >= _WIDE else 10
    now = time.monotonic()
    for one in running:
        percent = f"{one.percent:.0f}%" if one.percent is not None else ""
        rows.add_row(
            Text(plain(one.organization)),
            Text(plain(one.job_type)),
            Text(short(one.job_id), "dim"),
            ProgressBar(total=100, completed=one.percent, width=bar) if one.percent is not None else "",
            percent,
            Text(one.message, "dim"),
            brief(now - one.since),
        )
    return rows


def _end_of(event: e.JobEnded) -> str:
    return event.status if event.snoozed is None else "snoozed"


def _ended_line(event: e.JobEnded) -> Text:
    line = Text(f"{time_of_day()}  ")
    line.append(f"{_end_of(event):<9}", STATUS_STYLES[event.status])
    line.append(f"  {plain(event.organization)}  {plain(event.job_type)}  ")
    line.append(short(event.job_id), "dim")
    line.append(f"  {event.seconds:.2f} s")
    if event.failed is not None:
        line.append(f"  {event.failed}")
    if event.snoozed is not None:
        line.append(f"  again in {event.snoozed:g} s")
    if event.error_type is not None:
        line.append(
            f"\n{'':11}{plain(event.error_type)}  "
        )  # below the name, because one long line would be broken anywhere
        line.append(f"fairlane jobs show {short(event.job_id)} -o {shlex.quote(plain(event.organization))}", "dim")
    return line
