"""`fairlane jobs show` and `artifact`: a job with its history, and the files that it left."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column

from fairlane import Job, JobNotFound, JobStatus, LogEntry, OrganizationSuspended
from fairlane.cli import options as o
from fairlane.cli.lookup import breakers_on, find, find_id
from fairlane.cli.output import (
    cell,
    clipped,
    console,
    facts,
    moment,
    number_of,
    plain_lines,
    print_json,
    remark,
    say,
    status_text,
    table,
)
from fairlane.cli.session import engine
from fairlane.domain.jobs import Result

if TYPE_CHECKING:
    from fairlane import Fairlane


def show(context: typer.Context, job: o.JobId, organization: o.Organization, as_json: o.AsJson = False) -> None:
    """Show a job: what it is, its history, and what it left.

    \b
    Examples:
        fairlane jobs show 01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6 -o acme
        fairlane jobs show c3d4e5f6 -o acme --json
    """
    from fairlane.tenancy.directory import refuse_suspended

    fl = engine(context)
    found = find(fl, job, organization)
    history = fl.history(found.id, organization=organization)
    locked = ""
    try:
        refuse_suspended(fl.directory, organization)
        result = fl.reads.result(found.id, organization)
    except OrganizationSuspended as error:
        result, locked = None, str(error)
    if as_json:
        print_json({"job": found, "history": history, "result": result})
    else:
        held = [one.advice for one in breakers_on(fl, [found]).values()]
        _print_job(_facts(found, _parents(fl, found), held), found, history, result)
    if locked:
        remark(locked)


def artifact(
    context: typer.Context,
    job: o.JobId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The artifact's, as `jobs show` lists it.")],
    organization: o.Organization,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FILE", help="Where to write it; - for standard output. [default: NAME]"),
    ] = None,
) -> None:
    """Download a file that a job left. A file that is there already is not overwritten unless --to names it.

    \b
    Examples:
        fairlane jobs artifact c3d4e5f6 report.pdf -o acme
        fairlane jobs artifact c3d4e5f6 report.csv -o acme --to - | wc -l
    """
    fl = engine(context)
    pieces = fl.stream_artifact(find_id(fl, job, organization), name, organization=organization)
    if to == "-":
        sys.stdout.buffer.writelines(pieces)
        return
    path = Path(name if to is None else to)
    try:
        with path.open("xb" if to is None else "wb") as file:
            file.writelines(pieces)
    except FileExistsError:
        raise typer.BadParameter(f"{path} is there already; say --to {path} to overwrite it.") from None
    except OSError as error:
        raise typer.BadParameter(f"{path} can't be written ({error.strerror}); name another file: --to FILE.") from None
    say(f"{number_of(path.stat().st_size, 'byte')} in {path}.")


def _parents(fl: "Fairlane", job: Job) -> list[str]:
    """Return the job's parents, each with its status; one that replaced another says which."""
    from fairlane.domain.explain import NAMED_PARENTS
    from fairlane.domain.transitions import SUBMITTED

    named = [str(parent) for parent in job.depends_on]
    for place, parent in enumerate(job.depends_on[:NAMED_PARENTS]):
        with suppress(JobNotFound):  # it may be deleted
            status = fl.get(parent, organization=job.organization).status
            first = fl.history(parent, organization=job.organization)[0].message
            named[place] += f" ({status})" if first == SUBMITTED else f" ({status}, {first})"
    return named


def _print_job(told: list[tuple[str, Any]], job: Job, history: tuple[LogEntry, ...], result: Result | None) -> None:
    out = console()
    out.print(facts(told))
    out.print()
    entries = table("TIME", "STATUS", Column("BY", overflow="fold"), Column("WHAT", overflow="fold", ratio=1))
    for entry in history:
        entries.add_row(moment(entry.at), status_text(entry.to_status), cell(entry.actor), cell(entry.message))
    out.print(entries)
    last = next((entry.traceback for entry in reversed(history) if entry.traceback), None)
    if last and job.status is not JobStatus.COMPLETED:
        out.print()
        # Not wrapped by us: what is copied from a terminal keeps its lines.
        out.print(plain_lines(last.rstrip()), style="dim", soft_wrap=True)
    if result is None:
        return
    if result.value is not None:
        out.print()
        out.print(facts([("result", result.value if isinstance(result.value, dict) else str(result.value))]))
    if result.artifacts:
        out.print()
        files = table("ARTIFACT", Column("SIZE", justify="right"), "KIND")
        for one in result.artifacts:
            files.add_row(cell(one.name), f"{one.size:,}", cell(one.content_type))
        out.print(files)


def _facts(job: Job, parents: list[str], held: list[str]) -> list[tuple[str, Any]]:
    # What a completed job said last, such as 50 %, would look as if it were not done.
    told = "" if job.status is JobStatus.COMPLETED else _progress(job)
    retries = "unlimited" if job.max_retries is None else job.max_retries
    error = ": ".join(part for part in (job.error_type, job.error_message) if part)
    return [
        ("job", str(job.id)),
        ("organization", job.organization),
        ("type", job.job_type),
        ("status", status_text(job.status, retry_at=job.next_retry_at)),
        ("held back", held),
        ("user", job.user or "system"),
        ("queue", f"{job.queue}, priority {job.priority}"),
        ("parameters", clipped(job.parameters)),
        ("labels", job.labels),
        ("attempt", f"{job.attempt}, {job.retry_count} of {retries} retries spent"),
        ("progress", told),
        ("next attempt", job.next_retry_at),
        ("error", error),
        ("depends on", parents),
        ("submitted", job.created_at),
        ("due", job.run_at if job.run_at > job.created_at else None),
        ("started", job.started_at),
        ("ended", job.finished_at),
        ("cancel asked", job.cancel_requested_at),
        ("canceled by", job.canceled_by),
    ]


def _progress(job: Job) -> str:
    percent = f"{job.progress:.0f} %" if job.progress is not None else ""
    return f"{percent} {job.progress_message or ''}".strip()
