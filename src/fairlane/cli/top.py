"""`fairlane top`: queues, organizations, running jobs and workers, live."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from fairlane import Fairlane, StorageUnavailable
from fairlane.cli import options as o
from fairlane.cli.output import (
    age,
    breaker_state,
    brief,
    console,
    maintenance_text,
    number_of,
    one_line,
    plain,
    print_json,
    short,
    table,
    time_of_day,
)
from fairlane.cli.session import engine
from fairlane.cli.workers import worker_table
from fairlane.domain.breaker import Breaker
from fairlane.domain.metrics import OrganizationView, PauseView, QueueView, RunningJob, WorkerView

_MOST_JOBS: Final = 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of all that the display shows."""

    queues: tuple[QueueView, ...]
    organizations: tuple[OrganizationView, ...]
    running: tuple[RunningJob, ...]
    workers: tuple[WorkerView, ...]
    breakers: tuple[Breaker, ...]
    maintenance: PauseView | None


def top(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print once, as if the output were no terminal.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Seconds between two updates.")] = 1.0,
    as_json: o.AsJson = False,
) -> None:
    """Show queues, workers, organizations and running jobs, until Ctrl-C.

    A worker that is silent for most of its lease was killed or cut off; it and its jobs are shown until the lease ends.
    LIMITED counts ready jobs that limits would not let start now: see `fairlane types limits` and `fairlane orgs list`.
    OLDEST WAIT says how long an organization's next job has been ready.

    \b
    Examples:
        fairlane top
        fairlane top --once
        fairlane top --json
    """
    fl = engine(context)
    out = console()
    first = _look(fl)
    if as_json:
        print_json(first)
    elif once or not out.is_terminal:
        out.print(Group(*sections(first, None)))
    else:
        with _until_interrupted() as interrupted, suppress(KeyboardInterrupt):
            _watch(fl, out, first, interval, interrupted)


def _look(fl: Fairlane) -> Snapshot:
    found = fl.reads.overview(limit=_MOST_JOBS)
    return Snapshot(
        found.queues, found.organizations, found.jobs, found.workers, fl.job_types.breakers(), fl.maintenance.get()
    )


@contextmanager
def _until_interrupted() -> Iterator[Event]:
    """Yield an event that Ctrl-C sets to end the display: an exception in a query would make the driver complain.

    A second Ctrl-C raises KeyboardInterrupt as usual, because the database may not answer the query.
    """
    interrupted = Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(fl: Fairlane, out: Console, snapshot: Snapshot, interval: float, interrupted: Event) -> None:
    note = ""
    with Live(console=out, screen=True, auto_refresh=False) as live:
        live.update(Group(*sections(snapshot, out.height, note)), refresh=True)
        while not interrupted.wait(interval):
            try:
                snapshot, note = _look(fl), ""
            except StorageUnavailable as error:
                note = str(error)
            live.update(Group(*sections(snapshot, out.height, note)), refresh=True)


def sections(snapshot: Snapshot, height: int | None, note: str = "") -> Iterator[RenderableType]:
    """Return the tables below each other; `height` None: at full length."""
    jobs = sum(one.running for one in snapshot.queues)
    busy = sum(one.running for one in snapshot.workers)
    slots = sum(one.slots for one in snapshot.workers)
    head = f"{number_of(jobs, 'job')} running, {busy:,} of {number_of(slots, 'slot')} taken"
    title = "fairlane top" if height is None else "fairlane top (Ctrl-C to leave)"
    yield Text(f"{title}  {time_of_day()}  {head}", "bold", no_wrap=True, overflow="ellipsis")
    if note:
        yield Text(note, "red")
    if snapshot.maintenance is not None:
        yield Text(plain(maintenance_text(snapshot.maintenance)), "yellow", no_wrap=True, overflow="ellipsis")
    yield Text("")
    yield _queues(snapshot.queues)
    yield Text("")
    yield worker_table(snapshot.workers)
    yield Text("")
    if snapshot.breakers:
        yield _breakers(snapshot.breakers)
        yield Text("")
    waiting, running = _rows(snapshot, height)
    if snapshot.organizations:
        yield _organizations(snapshot.organizations[:waiting])
        yield from _more(len(snapshot.organizations) - waiting)
        yield Text("")
    yield _running(snapshot.running[:running])
    yield from _more(jobs - min(running, len(snapshot.running)))


def _rows(snapshot: Snapshot, height: int | None) -> tuple[int, int]:
    """Return how many organizations and running jobs fit; each gets half of the lines if both need them."""
    organizations, jobs = len(snapshot.organizations), len(snapshot.running)
    if height is None:
        return organizations, jobs
    fixed = len(snapshot.queues) + len(snapshot.workers) + 8
    fixed += snapshot.maintenance is not None
    fixed += (len(snapshot.breakers) + 2) * bool(snapshot.breakers) + 3 * bool(organizations)
    room = max(height - fixed, 2)
    shown = min(organizations, max(room // 2, room - jobs))
    return shown, room - shown


def _more(number: int) -> Iterator[RenderableType]:
    if number > 0:
        yield Text(f"… and {number:,} more", "dim")


def _queues(queues: tuple[QueueView, ...]) -> RenderableType:
    if not queues:
        return Text("No queue has live jobs.", "dim")
    names = ("READY", "LIMITED", "HELD", "RETRYING", "RUNNING", "PENDING")
    numbers = (Column(one, justify="right") for one in names)
    rows = table(Column("QUEUE"), *numbers, Column("PAUSED"))
    for one in queues:
        sizes = (
            f"{size:,}"
            for size in (one.ready - one.held, one.limited, one.held, one.retrying, one.running, one.pending)
        )
        rows.add_row(one_line(one.queue), *sizes, Text("paused", "yellow") if one.paused else "")
    return rows


def _organizations(organizations: tuple[OrganizationView, ...]) -> RenderableType:
    numbers = (Column(one, justify="right") for one in ("RUNNING", "READY", "LIMITED", "OLDEST WAIT"))
    rows = table(Column("ORGANIZATION"), *numbers)
    for one in organizations:
        sizes = (f"{size:,}" for size in (one.running, one.ready, one.limited))
        rows.add_row(
            one_line(one.organization), *sizes, "" if one.waiting_seconds is None else brief(one.waiting_seconds)
        )
    return rows


def _breakers(breakers: tuple[Breaker, ...]) -> RenderableType:
    rows = table(Column("BREAKER"), "OPEN", "")
    for one in breakers:
        what = one_line(f"{one.job_type} of {one.organization}")
        rows.add_row(what, age(one.opened_at), Text(breaker_state(one), "yellow"))
    return rows


def _running(running: tuple[RunningJob, ...]) -> RenderableType:
    if not running:
        return Text("No job is running.", "dim")

    rows: Table = table(
        Column("ORGANIZATION"),
        Column("TYPE"),
        "JOB",
        Column("%", justify="right", no_wrap=True, min_width=4),
        Column("PROGRESS"),
        "FOR",
    )
    for one in running:
        percent = f"{one.progress:.0f}%" if one.progress is not None else ""
        told = "asked to stop" if one.cancel_requested_at is not None else one.progress_message
        identity = (one_line(one.organization), one_line(one.job_type), short(one.id))
        rows.add_row(*identity, percent, one_line(told), age(one.started_at))
    return rows
