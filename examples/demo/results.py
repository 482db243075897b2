"""The demo's results: the reports as files, a table of the jobs, the dead letter, and what to try next."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import UUID

from rich.console import Console
from rich.table import Column
from rich.text import Text

from examples.demo.board import begun_at
from examples.demo.place import Place
from examples.reports.plan import FIRMS
from examples.reports.verdict import Planned
from fairlane import Fairlane, Job, JobStatus
from fairlane.cli.output import plain, short, table

_KEPT: Final = (".pdf", ".zip")


def write_reports(fl: Fairlane, jobs: Mapping[UUID, Job], output: Path) -> list[Path]:
    """Write the PDFs and ZIPs that the jobs left into a folder for each organization."""
    written = []
    for job in jobs.values():
        if job.status is not JobStatus.COMPLETED:
            continue
        for one in fl.result(job.id, organization=job.organization).artifacts:
            name = PurePosixPath(one.name)
            if name.suffix not in _KEPT:
                continue
            path = output / job.organization / f"{job.labels.get('report', name.stem)}{name.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(fl.artifact(job.id, one.name, organization=job.organization))
            written.append(path)
    return sorted(written)


def print_summary(console: Console, jobs: Mapping[UUID, Job]) -> None:
    """Print a line for each organization; its seconds end with its last job."""
    ends = (JobStatus.COMPLETED, JobStatus.DEAD_LETTER, JobStatus.CANCELED)
    heads = (*(status.replace("_", " ").upper() for status in ends), "RETRIES", "SECONDS")
    rows = table(
        Column("ORGANIZATION", overflow="ellipsis"), *(Column(head, justify="right", no_wrap=True) for head in heads)
    )
    for firm in FIRMS:
        mine = [job for job in jobs.values() if job.organization == firm.id]
        finished = [job.finished_at for job in mine if job.finished_at is not None]
        lasted = f"{(max(finished) - begun_at(jobs.values())).total_seconds():.1f}" if finished else ""
        sizes = [str(sum(job.status is status for job in mine)) for status in ends]
        rows.add_row(firm.id, *sizes, str(sum(job.retry_count for job in mine)), lasted)
    console.print(rows)


def print_dead_letters(console: Console, fl: Fairlane) -> None:
    """Print each with its reason: of the job that no retry can save."""
    for firm in FIRMS:
        for letter in fl.dead_letters.list(organization=firm.id).items:
            head = Text("dead letter", "red").append(f"  {firm.id}, {letter.job_type} {short(letter.job_id)}: ")
            console.print(head.append(plain(letter.reason), "default"))


def print_files(console: Console, written: Sequence[Path]) -> None:
    """Print where the reports are."""
    for path in written:
        console.print(Text(str(shown(path))), soft_wrap=True)


def print_next_steps(console: Console, place: Place, planned: Sequence[Planned], jobs: Mapping[UUID, Job]) -> None:
    """Print commands that work now."""
    console.print(Text("Try next", "bold"))
    for command in _next_steps(place, planned, jobs):
        console.print(Text(f"  {command}", "cyan"), soft_wrap=True)


def _next_steps(place: Place, planned: Sequence[Planned], jobs: Mapping[UUID, Job]) -> Iterator[str]:
    if not place.stays:
        yield 'make demo ARGS="--postgres --keep"   # leaves PostgreSQL running, to look at its jobs'
        yield "make demo                            # the same on SQLite"
        yield "make demo ARGS=--serve               # and the dashboard, for as long as you look at it"
        yield f"ls {shlex.quote(str(shown(place.output)))}/*"
        return
    program = _program()
    ended = {status: job for job in jobs.values() for status in [job.status]}
    first = planned[0].organization
    yield f"export FAIRLANE_URL={shlex.quote(_shown_url(place))}"
    yield f"{program} jobs list -o {first}"
    if (dead := ended.get(JobStatus.DEAD_LETTER)) is not None:
        yield f"{program} jobs explain {short(dead.id)} -o {dead.organization}"
    retried = next((job for job in jobs.values() if job.retry_count), None)
    if retried is not None:
        yield f"{program} jobs show {short(retried.id)} -o {retried.organization}"
    if find_spec("uvicorn") is not None:
        yield f"{program} serve   # the dashboard with these jobs; `make demo ARGS=--serve` keeps it open by itself"
    if not place.url.startswith("sqlite"):
        pid = shown(place.directory / "postgres" / "postmaster.pid")
        yield f"kill -INT $(head -1 {shlex.quote(str(pid))})   # stops PostgreSQL"


def _program() -> str:
    """Return what to type for `fairlane`."""
    if shutil.which("fairlane") is not None:
        return "fairlane"
    return shlex.quote(str(shown(Path(sys.executable).with_name("fairlane"))))


def _shown_url(place: Place) -> str:
    return f"sqlite:///{shown(place.directory / 'demo.db')}" if place.url.startswith("sqlite") else place.url


def shown(path: Path) -> Path:
    """Return the path as seen from the working directory, if it is below it."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
