"""The demo's display: on a terminal a bar for each job, by organization; elsewhere a line per change."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self
from uuid import UUID

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from examples.reports.plan import FIRMS
from examples.reports.verdict import Planned
from fairlane import Job, JobStatus
from fairlane.cli.output import STATUS_STYLES, plain, seconds_since
from fairlane.domain.statuses import TERMINAL

_MARKS: Final = {
    JobStatus.PENDING: "·",
    JobStatus.QUEUED: "○",
    JobStatus.RUNNING: "●",
    JobStatus.COMPLETED: "✓",
    JobStatus.DEAD_LETTER: "✗",
    JobStatus.CANCELED: "⊘",
}
_BAR: Final = 20
_NAME: Final = 24  # characters; the longest name of the plan has 22


class Board(Protocol):
    """Shows jobs while it is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, jobs: Mapping[UUID, Job]) -> None:
        """Show how they stand."""


def begun_at(jobs: Iterable[Job]) -> datetime:
    """Return when the first job was submitted. The demo counts its seconds from there."""
    return min(job.created_at for job in jobs)


def board_on(console: Console, planned: Sequence[Planned]) -> Board:
    """Return the board that suits the console."""
    return LiveBoard(console, planned) if console.is_terminal else LineBoard(console, planned)


class LiveBoard:
    """Bars, redrawn in place. A terminal that is too low for all gets the jobs that run, and counts."""

    def __init__(self, console: Console, planned: Sequence[Planned]) -> None:
        self._console = console
        self._planned = planned
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, jobs: Mapping[UUID, Job]) -> None:
        """Draw anew."""
        low = self._console.height <= len(self._planned) + 2 * len(FIRMS)
        self._live.update(Group(*self._sections(jobs, low=low)), refresh=True)

    def _sections(self, jobs: Mapping[UUID, Job], *, low: bool) -> Iterable[RenderableType]:
        for firm in FIRMS:
            mine = [
                (one.name, jobs[one.job_id])
                for one in self._planned
                if one.organization == firm.id and one.job_id in jobs
            ]
            head = Text(firm.name, "bold")
            if low:
                head.append(f"  {_counts(job.status for _, job in mine)}", "not bold dim")
                mine = [(step, job) for step, job in mine if job.status is JobStatus.RUNNING]
            yield head
            yield _bars(mine)
            if not low:
                yield Text("")


def _bars(steps: Iterable[tuple[str, Job]]) -> Table:
    flexible = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    rows = Table.grid(Column(width=1), Column(width=_NAME, no_wrap=True), Column(width=_BAR), flexible, padding=(0, 1))
    rows.expand = True
    for name, job in steps:
        style = STATUS_STYLES[job.status]
        done = 100.0 if job.status is JobStatus.COMPLETED else job.progress or 0.0
        bar = ProgressBar(total=100, completed=done, width=_BAR, complete_style=style, finished_style=style)
        rows.add_row(Text(_MARKS[job.status], style), plain(name), bar, _told(job))
    return rows


def _told(job: Job) -> Text:
    """Say what goes on, in a few words."""
    if job.status is JobStatus.RUNNING:
        return Text(plain(job.progress_message)) if job.progress_message else Text(job.status, "dim")
    if job.status is JobStatus.QUEUED and job.retry_count:
        return Text(f"waits for retry {job.retry_count}: {plain(job.error_message or '')}", "yellow")
    if job.status is JobStatus.DEAD_LETTER:
        return Text(f"dead letter: {plain(job.error_message or '')}", "red")
    if job.status in TERMINAL and job.started_at is not None and job.finished_at is not None:
        return Text(f"{job.status} in {(job.finished_at - job.started_at).total_seconds():.1f} s", "dim")
    return Text(job.status, "dim")


def _counts(statuses: Iterable[JobStatus]) -> str:
    return ", ".join(f"{size} {status.replace('_', ' ')}" for status, size in sorted(Counter(statuses).items()))


class LineBoard:
    """A line for each change of a job's status."""

    def __init__(self, console: Console, planned: Sequence[Planned]) -> None:
        self._console = console
        self._planned = planned
        self._seen: dict[UUID, tuple[JobStatus, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put nothing back."""

    def show(self, jobs: Mapping[UUID, Job]) -> None:
        """Print what is new."""
        for one in self._planned:
            job = jobs.get(one.job_id)
            if job is None or self._seen.get(one.job_id) == (job.status, job.retry_count):
                continue
            self._seen[one.job_id] = (job.status, job.retry_count)
            if (told := self._told(job)) is not None:
                after = seconds_since(begun_at(jobs.values()))
                self._console.print(f"{after:5.1f} s  {one.organization:<16}  {one.name:<{_NAME}}  {told}")

    def _told(self, job: Job) -> str | None:
        """Say nothing about a first wait: that it ended is seen when the job starts."""
        if job.status is JobStatus.RUNNING:
            return f"{job.status}, attempt {job.attempt}" if job.attempt > 1 else job.status
        waits = job.status not in TERMINAL and not job.retry_count
        return None if waits else _told(job).plain
