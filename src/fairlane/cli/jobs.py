"""`fairlane jobs`: look at jobs, submit, change, cancel, retry and delete them."""

import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.table import Column, Table
from rich.text import Text

from fairlane import FairlaneError, Job, JobNotFound, JobStatus, LogEntry, OrganizationNotFound, OrganizationSuspended
from fairlane.cli import bulk, dead_letters, submitting, waiting
from fairlane.cli import options as o
from fairlane.cli.lookup import breakers_on, find, find_id, refuse_stranger, refuse_unknown
from fairlane.cli.output import (
    age,
    cell,
    clipped,
    console,
    facts,
    moment,
    number_of,
    one_line,
    plain,
    plain_lines,
    print_json,
    remark,
    say,
    status_text,
    table,
    tell,
)
from fairlane.cli.session import engine
from fairlane.domain.bulk import BulkVerb
from fairlane.domain.jobs import LogLine, Page, Result
from fairlane.domain.reasons import Reason
from fairlane.domain.statuses import PASSING, TERMINAL
from fairlane.domain.timing import SLOWEST_LOOK

if TYPE_CHECKING:
    from fairlane import Fairlane

_LINES = 1000  # per look
_ANY_WIDTH = 10_000  # columns

app = typer.Typer()
app.command("submit")(submitting.submit)
app.command("run-now")(waiting.run_now)
app.command("reschedule")(waiting.reschedule)
app.command("set-priority")(waiting.set_priority)
app.command("retry")(dead_letters.retry)


@app.command("show")
def show(context: typer.Context, job: o.JobId, organization: o.Organization, as_json: o.AsJson = False) -> None:
    """Show a job, its history and its results.

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


@app.command("artifact")
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
    """Download a file that a job stored. An existing file is overwritten only if --to names it.

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


@app.command("list")
def list_jobs(
    context: typer.Context,
    organization: o.Organization,
    status: bulk.Status = None,
    job_type: bulk.JobType = None,
    submitted_by: Annotated[
        str | None,
        typer.Option("--user", "-u", "--submitted-by", metavar="USER", help="Only jobs that this user submitted."),
    ] = None,
    queue: bulk.Queue = None,
    label: bulk.Label = None,
    waiting_for: bulk.WaitingFor = None,
    text: bulk.Text = None,
    after: bulk.After = None,
    before: bulk.Before = None,
    limit: o.Limit = 20,
    cursor: o.Cursor = None,
    as_json: o.AsJson = False,
) -> None:
    """List an organization's jobs, newest first.

    \b
    Examples:
        fairlane jobs list -o acme
        fairlane jobs list -o acme -s running -s queued --type report.pdf
        fairlane jobs list -o acme --waiting-for retry
        fairlane jobs list -o acme --label doc=42 --json
    """
    fl = engine(context)
    chosen = bulk.filters(status, job_type, submitted_by, queue, label, waiting_for, text, after, before)
    try:
        page = fl.reads.list(organization, **chosen, limit=limit, cursor=cursor, with_parameters=as_json)
    except OrganizationNotFound:
        refuse_unknown(fl, organization)  # which knows those of another case
        raise
    if as_json:
        print_json(page)
    elif page.items:
        _print_page(page, breakers_on(fl, page.items))
    else:
        say(f"No jobs.{_where_they_went(status or [])}{_meant(fl, job_type)}")


@app.command("cancel")
def cancel(
    context: typer.Context,
    organization: o.Organization,
    job: bulk.OneJob = None,
    user: o.User = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="The reason; the job's history keeps it.")] = "",
    status: bulk.Status = None,
    job_type: bulk.JobType = None,
    submitted_by: bulk.SubmittedBy = None,
    queue: bulk.Queue = None,
    label: bulk.Label = None,
    waiting_for: bulk.WaitingFor = None,
    text: bulk.Text = None,
    after: bulk.After = None,
    before: bulk.Before = None,
    every: bulk.Every = False,
    wait: bulk.Wait = True,
    yes: o.Yes = False,
    as_json: o.AsJson = False,
) -> None:
    """Cancel a waiting job at once, or ask a running one to stop; or all jobs that match filters.

    Filters are those of `jobs list`. The command says how many jobs match and asks; workers carry on a long action.
    The exit code is 1 if a job was refused, or a user stopped the action.

    \b
    Examples:
        fairlane jobs cancel 01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6 -o acme --reason "wrong month"
        fairlane jobs cancel -o acme --status queued --type report.pdf
    """
    chosen = bulk.filters(status, job_type, submitted_by, queue, label, waiting_for, text, after, before)
    bulk.refuse_both_or_none(job, chosen, every=every)
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    if job is None:
        if reason:
            raise typer.BadParameter("Many jobs are canceled without a reason; leave it out.", param_hint="--reason")
        bulk.carry_out(fl, BulkVerb.CANCEL, chosen, organization, user, yes=yes, wait=wait, as_json=as_json)
        return
    canceled = fl.cancel(find_id(fl, job, organization), organization=organization, user=user, reason=reason)
    more = "" if canceled.status in TERMINAL else " and was asked to stop"
    tell(canceled, f"Job {canceled.id} is {canceled.status}{more}.", as_json=as_json)


@app.command("delete")
def delete(
    context: typer.Context,
    organization: o.Organization,
    job: bulk.OneJob = None,
    user: o.User = None,
    status: bulk.Status = None,
    job_type: bulk.JobType = None,
    submitted_by: bulk.SubmittedBy = None,
    queue: bulk.Queue = None,
    label: bulk.Label = None,
    waiting_for: bulk.WaitingFor = None,
    text: bulk.Text = None,
    after: bulk.After = None,
    before: bulk.Before = None,
    every: bulk.Every = False,
    wait: bulk.Wait = True,
    yes: o.Yes = False,
    as_json: o.AsJson = False,
) -> None:
    """Delete a job that has ended: its parameters, result, history and artifacts; or dead letters that match filters.

    Filters are those of `jobs list`. They delete dead letters only; other jobs are deleted after their retention.
    The command says how many jobs match and asks; workers carry on a long action.
    The exit code is 1 if a job was refused, or a user stopped the action.

    \b
    Examples:
        fairlane jobs delete 01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6 -o acme
        fairlane jobs delete -o acme --type report.pdf --before 2026-11-01
    """
    chosen = bulk.filters(status, job_type, submitted_by, queue, label, waiting_for, text, after, before)
    bulk.refuse_both_or_none(job, chosen, every=every)
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    if job is None:
        bulk.carry_out(fl, BulkVerb.DELETE, chosen, organization, user, yes=yes, wait=wait, as_json=as_json)
        return
    from fairlane.domain.transitions import refuse_to_delete_live

    found = find(fl, job, organization)
    job_id = found.id
    refuse_to_delete_live(job_id, found.status)  # before the question
    o.confirmed(f"Delete job {job_id} of {organization} with all its data?", yes=yes)
    fl.delete(job_id, organization=organization, user=user)
    tell({"deleted": job_id}, f"Job {job_id} is deleted.", as_json=as_json)


@app.command("explain")
def explain(context: typer.Context, job: o.JobId, organization: o.Organization, as_json: o.AsJson = False) -> None:
    """Say why a job is not running, how it runs, or how it ended.

    \b
    Example:
        fairlane jobs explain 01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6 -o acme
    """
    fl = engine(context)
    found = find(fl, job, organization)
    explanation = fl.explain(found.id, organization=organization)
    if as_json:
        print_json({"job_id": found.id, **asdict(explanation)})
        return
    out = console()
    out.print(Text.assemble(plain(found.job_type), f" {found.id} is ", status_text(explanation.status), "."))
    for reason in explanation.reasons:
        out.print(Text(plain(reason.advice)))


@app.command("log")
def log(
    context: typer.Context,
    job: o.JobId,
    organization: o.Organization,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the job has ended.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Print what the handler wrote with ctx.log, oldest first. The job's own history is in `jobs show`.

    \b
    Example:
        fairlane jobs log 01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6 -o acme --follow
    """
    if as_json and follow:
        raise typer.BadParameter("--json prints one document, so it can't follow; leave one of them out.")
    fl = engine(context)
    found = find(fl, job, organization)
    if as_json:
        print_json(_lines(fl, found, 0))
        return
    seen = 0
    while True:
        # The status is read first, so that the lines include all that was written before.
        ended = fl.reads.get(found.id, organization, with_parameters=False).status in TERMINAL
        lines = _lines(fl, found, seen)
        for line in lines:
            say(f"{moment(line.at)}  {line.level:<7}  {line.message}")
        seen += len(lines)
        if ended or not follow:
            return
        time.sleep(SLOWEST_LOOK)


def _lines(fl: "Fairlane", job: Job, seen: int) -> list[LogLine]:
    lines: list[LogLine] = []
    while True:
        page = fl.log_lines(job.id, organization=job.organization, after=seen + len(lines), limit=_LINES)
        lines += page
        if len(page) < _LINES:
            return lines


def _rows(page: Page[Job], held: Collection[UUID], *, with_user: bool) -> Table:
    user = [Column("USER")] if with_user else []
    rows = table("ID", "STATUS", Column("TYPE"), *user, "AGE")
    for job in page.items:
        who = [one_line(job.user)] if with_user else []
        status = status_text(job.status, job.progress, job.next_retry_at)
        if job.id in held:
            status.append(", held back")
        what = (str(job.id), status, one_line(job.job_type))
        rows.add_row(*what, *who, age(job.created_at))
    return rows


def _meant(fl: "Fairlane", name: str | None) -> str:
    """Return a hint with a similar job type, if no type of this name is registered."""
    if name is None:
        return ""
    with suppress(FairlaneError):  # a login of an organization may not read all types
        known = [one.name for one in fl.job_types.list()]
        close = get_close_matches(name, known, n=1) if name not in known else []
        if close:
            return f" Job type {name} is not registered; did you mean {close[0]}?"
    return ""


def _where_they_went(statuses: list[JobStatus]) -> str:
    """Say where to find the jobs, if the given statuses are passing ones in which no job stays."""
    passed = sorted(PASSING.intersection(statuses))
    if not passed:
        return ""
    return (
        f" None stays {' or '.join(passed)}: after such an attempt a job is queued for its retry or a dead letter; "
        f"look at --status {JobStatus.DEAD_LETTER} and --status {JobStatus.QUEUED}."
    )


def _print_page(page: Page[Job], held: dict[UUID, Reason]) -> None:
    out = console()
    rows = _rows(page, held, with_user=True)
    if out.measure(rows, options=out.options.update(max_width=_ANY_WIDTH)).maximum > out.width:
        rows = _rows(page, held, with_user=False)  # half a type says less than no user
    out.print(rows)
    for advice in dict.fromkeys(one.advice for one in held.values()):
        say(advice)
    if page.next_cursor is not None:
        total = f"{page.total:,}{'+' if page.total_is_capped else ''}"
        say(f"{len(page.items)} of {total} jobs; the next page:")
        say(f"  --cursor {page.next_cursor}", whole=True)


def _parents(fl: "Fairlane", job: Job) -> list[str]:
    """Return the job's parents, each with its status; a replacement names the job that it replaced."""
    from fairlane.domain.explain import NAMED_PARENTS
    from fairlane.domain.transitions import SUBMITTED

    named = [str(parent) for parent in job.depends_on]
    for place, parent in enumerate(job.depends_on[:NAMED_PARENTS]):
        with suppress(JobNotFound):  # it may be deleted
            status = fl.get(parent, organization=job.organization).status
            first = fl.history(parent, organization=job.organization)[0]
            is_told = first.sequence == 1 and first.message != SUBMITTED
            named[place] += f" ({status}, {first.message})" if is_told else f" ({status})"
    return named


def _print_job(told: list[tuple[str, Any]], job: Job, history: tuple[LogEntry, ...], result: Result | None) -> None:
    out = console()
    out.print(facts(told))
    out.print()
    entries = table("TIME", "STATUS", Column("BY", overflow="fold"), Column("WHAT", overflow="fold", ratio=1))
    for entry in history:
        entries.add_row(moment(entry.at), status_text(entry.to_status), cell(entry.actor), cell(entry.message))
    out.print(entries)
    if history and history[0].sequence > 1:
        out.print(f"Only the newest {len(history):,} steps are shown.")
    last = next((entry.traceback for entry in reversed(history) if entry.traceback), None)
    if last and job.status is not JobStatus.COMPLETED:
        out.print()
        # Not wrapped, so that text copied from a terminal keeps its lines.
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
    # A completed job's last progress, such as 50 %, would look as if the job were not done.
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
