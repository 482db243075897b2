"""`make demo`: runs the application of examples/reports, and shows three firms' jobs live.

There are retries, a dead letter and a cancel, and PDFs at the end. It takes a quarter of a minute or so. Where the
dashboard is built, it shows them, too, at the address that is printed first. With --serve it prints two commands that
submit a job over HTTP and watch it. The exit code is 0 if every job ended as planned.
"""

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn
from uuid import UUID

from rich.console import Console
from rich.text import Text

from examples.demo.board import board_on
from examples.demo.place import Place, application_on, prepared
from examples.demo.results import (
    print_dead_letters,
    print_files,
    print_next_steps,
    print_summary,
    shown,
    write_reports,
)
from examples.demo.site import Site, site_of
from examples.demo.worker import BackgroundWorker
from examples.reports.flaky import FlakyService
from examples.reports.plan import FIRMS, submit_all
from examples.reports.verdict import Planned, due_for_cancel, verdict
from fairlane import Fairlane, FairlaneError, IllegalTransition, Job
from fairlane.cli import INTERRUPTED
from fairlane.cli.output import complain, console, number_of, say
from fairlane.domain.statuses import TERMINAL

_LOOK: Final = 0.15  # seconds between two looks at the jobs
_LONGEST: Final = 120.0  # seconds, where 20 will do; what has not ended by then will not
_TERMINATED: Final = 143  # what shells report for a process that SIGTERM ended
_PAGE: Final = 1000


def main() -> None:
    """Read the command line, run the demo, and exit with its code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own, not SQLite")
    parser.add_argument("--keep", action="store_true", help="leave that server running")
    parser.add_argument(
        "--serve", action="store_true", help="serve the dashboard and the REST API, and work on until Ctrl-C"
    )
    parser.add_argument("--port", type=int, default=0, help="where the dashboard is (default: any that is free)")
    parser.add_argument(
        "--directory", type=Path, default=Path(".demo"), help="made if need be; an earlier demo's is emptied"
    )
    asked = parser.parse_args()
    if asked.keep and not asked.postgres:
        parser.error("It is PostgreSQL that can be kept running; add --postgres.")
    # So that a server is stopped and the terminal is put right then, too.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(_demo(asked))
    except FairlaneError as error:
        complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _demo(asked: argparse.Namespace) -> int:
    """Run all of it; return the exit code."""
    with prepared(asked.directory, postgres=asked.postgres, keep=asked.keep) as place:
        logging.basicConfig(filename=place.directory / "demo.log", level=logging.INFO)
        with application_on(place) as fl:
            fl.migrate()
            with site_of(fl, wanted=asked.serve, port=asked.port) as site:
                problems = _run(fl, place, console(), site, stay=asked.serve)
    for problem in problems:
        complain(problem)
    if problems:
        complain(f"The demo did not end as planned; {shown(place.directory / 'demo.log')} has the worker's log.")
    return 1 if problems else 0


def _run(fl: Fairlane, place: Place, out: Console, site: Site | None, *, stay: bool) -> Sequence[str]:
    """Run the jobs; return the sentences of the verdict."""
    say(f"Three firms submit their jobs to {'SQLite' if place.url.startswith('sqlite') else 'PostgreSQL'} …")
    if site is not None:
        say(site.invitation())
    with FlakyService() as service, BackgroundWorker(fl):
        planned = submit_all(fl, service.url)
        if stay and site is not None:
            _say_commands(site, planned[0])
        jobs = _watch(fl, planned, out)
        problems = _told(fl, place, out, planned, jobs)
        if stay and site is not None:
            _stay(out, site)
    return problems


def _told(
    fl: Fairlane, place: Place, out: Console, planned: Sequence[Planned], jobs: Mapping[UUID, Job]
) -> Sequence[str]:
    """Write the reports and print what has become of the jobs; return the sentences of the verdict."""
    written = write_reports(fl, jobs, place.output)
    out.print()
    print_summary(out, jobs)
    out.print()
    print_dead_letters(out, fl)
    out.print()
    print_files(out, written)
    out.print()
    print_next_steps(out, place, planned, jobs)
    problems = verdict(planned, jobs.values())
    if not problems:
        out.print()
        out.print(Text(f"✓ All {number_of(len(planned), 'job')} ended as planned.", "green"))
    return problems


def _say_commands(site: Site, planned: Planned) -> None:
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


def _watch(fl: Fairlane, planned: Sequence[Planned], out: Console) -> dict[UUID, Job]:
    """Show the jobs until all have ended, and cancel what the plan says; return how they stand then."""
    deadline = time.monotonic() + _LONGEST
    canceled: set[UUID] = set()
    with board_on(out, planned) as board:
        while True:
            jobs = {job.id: job for firm in FIRMS for job in _jobs_of(fl, firm.id)}
            board.show(jobs)
            for one in due_for_cancel(planned, jobs.values()):
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


def _terminated(*_: object) -> NoReturn:
    sys.exit(_TERMINATED)


if __name__ == "__main__":
    main()
