"""The command: prepares the place, submits the plan, runs a worker in a thread, watches, and judges the end."""

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, NoReturn, Self
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text

from fairlane import Fairlane, IllegalTransition, Job
from fairlane.cli.demo.board import board_on
from fairlane.cli.demo.place import Example, Place, example_in, prepared, require
from fairlane.cli.demo.results import (
    print_dead_letters,
    print_files,
    print_next_steps,
    print_summary,
    shown,
    write_reports,
)
from fairlane.cli.demo.site import Site, site_of
from fairlane.cli.output import complain, console, number_of, say
from fairlane.cli.session import target_of
from fairlane.domain.events import Event, WorkerStarted
from fairlane.domain.statuses import TERMINAL

_LOOK: Final = 0.15  # seconds between two looks at the jobs
_LONGEST: Final = 120.0  # seconds, where 20 will do; what has not ended by then will not
_CONCURRENCY: Final = 8
_TERMINATED: Final = 143  # what shells report for a process that SIGTERM ended
_PAGE: Final = 1000


def demo(
    context: typer.Context,
    postgres: Annotated[
        bool, typer.Option("--postgres", help="On a PostgreSQL server of its own, not SQLite.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave that server running.")] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the dashboard and the REST API, and work on until Ctrl-C.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Where the dashboard is; 0: any that is free.")
    ] = 0,
    directory: Annotated[
        Path, typer.Option(metavar="DIRECTORY", help="Made if need be; an earlier demo's is emptied.")
    ] = Path(".demo"),
) -> None:
    """Run three firms' reports, and show their jobs live: retries, a dead letter, a cancel, PDFs at the end.

    It takes a quarter of a minute or so. Where the dashboard is built, it shows them, too, at the address that is
    printed first. With --serve it prints two commands that submit a job over HTTP and watch it. The exit code is 0 if
    every job ended as planned.

    \b
    Examples:
        fairlane demo
        fairlane demo --serve
        fairlane demo --postgres --directory /tmp/fairlane-demo
    """
    if target_of(context).url_is_explicit:
        raise typer.BadParameter("The demo makes a database of its own; leave --url out.", param_hint="--url")
    if keep and not postgres:
        raise typer.BadParameter("It is PostgreSQL that can be kept running; add --postgres.", param_hint="--keep")
    require(postgres=postgres)
    # So that a server is stopped and the terminal is put right then, too.
    signal.signal(signal.SIGTERM, _terminated)
    with prepared(directory, postgres=postgres, keep=keep) as place:
        logging.basicConfig(filename=place.directory / "demo.log", level=logging.INFO)
        example = example_in(place)
        fl: Fairlane = example.app.fl
        with fl:
            fl.migrate()
            with site_of(fl, wanted=serve, port=port) as site:
                problems = _run(fl, example, place, console(), site, stay=serve)
    for problem in problems:
        complain(problem)
    if problems:
        complain(f"The demo did not end as planned; {shown(place.directory / 'demo.log')} has the worker's log.")
        raise typer.Exit(1)


def _run(fl: Fairlane, example: Example, place: Place, out: Console, site: Site | None, *, stay: bool) -> Sequence[str]:
    """Run all of it; return the sentences of the verdict."""
    names = {firm.id: firm.name for firm in example.plan.FIRMS}
    say(f"Three firms submit their jobs to {'SQLite' if place.url.startswith('sqlite') else 'PostgreSQL'} …")
    if site is not None:
        say(site.invitation())
    with example.flaky.FlakyService() as service, BackgroundWorker(fl):
        planned = example.plan.submit_all(fl, service.url)
        if stay and site is not None:
            _say_commands(site, planned[0])
        jobs = _watch(fl, example, planned, names, out)
        problems = _told(fl, example, place, out, planned, jobs)
        if stay and site is not None:
            _stay(out, site)
    return problems


def _told(
    fl: Fairlane, example: Example, place: Place, out: Console, planned: Sequence[Any], jobs: Mapping[UUID, Job]
) -> Sequence[str]:
    """Write the reports and print what has become of the jobs; the sentences of the verdict."""
    names = {firm.id: firm.name for firm in example.plan.FIRMS}
    written = write_reports(fl, jobs, place.output)
    out.print()
    print_summary(out, jobs, names)
    out.print()
    print_dead_letters(out, fl, names)
    out.print()
    print_files(out, written)
    out.print()
    print_next_steps(out, place, planned, jobs)
    problems: list[str] = example.plan.verdict(planned, jobs.values())
    if not problems:
        out.print()
        out.print(Text(f"✓ All {number_of(len(planned), 'job')} ended as planned.", "green"))
    return problems


def _say_commands(site: Site, planned: Any) -> None:
    say("Submit a job of your own from another terminal, and watch what becomes of it:")
    for command in site.commands(planned.organization, planned.user):
        say(f"  {command}", whole=True)


def _stay(out: Console, site: Site) -> None:
    """Stay until Ctrl-C, which is how this ends."""
    served = "dashboard is" if site.has_dashboard else "REST API is"
    out.print()
    out.print(f"The {served} still served, and a worker runs what you submit or retry there. Ctrl-C ends it.")
    if site.has_dashboard:
        say(f"Another link that logs you in, once: {site.new_link()}")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _watch(
    fl: Fairlane, example: Example, planned: Sequence[Any], names: Mapping[str, str], out: Console
) -> dict[UUID, Job]:
    """Show the jobs until all have ended, and cancel what the plan says; how they stand then."""
    deadline = time.monotonic() + _LONGEST
    canceled: set[UUID] = set()
    with board_on(out, planned, names) as board:
        while True:
            jobs = {job.id: job for organization in names for job in _jobs_of(fl, organization)}
            board.show(jobs)
            for one in example.plan.due_for_cancel(planned, jobs.values()):
                if one.job_id not in canceled:
                    canceled.add(one.job_id)
                    # It may have ended since.
                    with suppress(IllegalTransition):
                        fl.cancel(one.job_id, organization=one.organization, user=one.user, reason="half is enough")
            if all(job.status in TERMINAL for job in jobs.values()) or time.monotonic() > deadline:
                return jobs
            time.sleep(_LOOK)


def _jobs_of(fl: Fairlane, organization: str) -> tuple[Job, ...]:
    return fl.list(organization=organization, limit=_PAGE).items


class BackgroundWorker:
    """A worker on a loop of its own, in a thread, while it is entered. After an error there it gives no grace."""

    def __init__(self, fl: Fairlane) -> None:
        self._worker = fl.worker(queues=None, concurrency=_CONCURRENCY, name="demo", subscribers=[self._hear])
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fairlane-worker")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        self._raise_error()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.stop(at_once=kind is not None)
        self._thread.join()
        if kind is None:
            self._raise_error()

    def _hear(self, event: Event) -> None:
        if isinstance(event, WorkerStarted):
            self._started.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._worker.run_async())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._error = error
        finally:
            self._started.set()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _terminated(*_: object) -> NoReturn:
    sys.exit(_TERMINATED)
