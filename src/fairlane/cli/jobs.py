"""`fairlane jobs`: look at jobs, submit, change, cancel, retry and delete them."""

import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.table import Column, Table
from rich.text import Text

from fairlane import FairlaneError, Job, JobStatus, OrganizationNotFound
from fairlane.cli import bulk, retrying, showing, submitting, waiting
from fairlane.cli import options as o
from fairlane.cli.lookup import breakers_on, find, find_id, refuse_stranger, refuse_unknown
from fairlane.cli.output import (
    age,
    console,
    moment,
    one_line,
    plain,
    print_json,
    say,
    status_text,
    table,
)
from fairlane.cli.session import engine
from fairlane.domain.bulk import BulkVerb
from fairlane.domain.jobs import LogLine, Page
from fairlane.domain.reasons import Reason
from fairlane.domain.statuses import PASSING, TERMINAL

if TYPE_CHECKING:
    from fairlane import Fairlane

_LOOK = 0.5  # seconds between two looks of `log --follow`
_LINES = 1000  # per look
_ANY_WIDTH = 10_000  # columns

app = typer.Typer()
app.command("submit")(submitting.submit)
app.command("run-now")(waiting.run_now)
app.command("reschedule")(waiting.reschedule)
app.command("set-priority")(waiting.set_priority)
app.command("retry")(retrying.retry)
app.command("show")(showing.show)
app.command("artifact")(showing.artifact)


@app.command("list")
def list_jobs(
    context: typer.Context,
    organization: o.Organization,
    status: bulk.Status = None,
    job_type: bulk.JobType = None,
    submitted_by: Annotated[
        str | None, typer.Option("--user", "-u", "--submitted-by", metavar="USER", help="Only what they submitted.")
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
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; the job's history keeps it.")] = "",
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
    """Cancel a waiting job at once, or ask a running one to stop; or all that fit filters.

    Filters are those of `jobs list`. It says how many jobs fit and asks; workers go on with what takes long.
    The exit code is 1 if a job was refused, or somebody stopped it.

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
    if as_json:
        print_json(canceled)
    elif canceled.status in TERMINAL:
        say(f"Job {canceled.id} is {canceled.status}.")
    else:
        say(f"Job {canceled.id} is {canceled.status} and was asked to stop.")


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
    """Delete a job that has ended: its parameters, result, history and artifacts; or all dead letters that fit filters.

    Filters are those of `jobs list`. Of many jobs, only dead letters are deleted; others go with their retention.
    It says how many fit and asks; workers go on with what takes long.
    The exit code is 1 if a job was refused, or somebody stopped it.

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
    refuse_to_delete_live(job_id, found.status)  # before the question, which would be in vain
    o.confirmed(f"Delete job {job_id} of {organization} with all that is kept of it?", yes=yes)
    fl.delete(job_id, organization=organization, user=user)
    if as_json:
        print_json({"deleted": job_id})
    else:
        say(f"Job {job_id} is deleted.")


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
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
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
        # The status first: what was written before it is among the lines.
        ended = fl.reads.get(found.id, organization, with_parameters=False).status in TERMINAL
        lines = _lines(fl, found, seen)
        for line in lines:
            say(f"{moment(line.at)}  {line.level:<7}  {line.message}")
        seen += len(lines)
        if ended or not follow:
            return
        time.sleep(_LOOK)


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
    """Return which type is meant, if none is registered by this name and one by a name like it."""
    if name is None:
        return ""
    with suppress(FairlaneError):  # a login of an organization may not look at all types
        known = [one.name for one in fl.job_types.list()]
        close = get_close_matches(name, known, n=1) if name not in known else []
        if close:
            return f" Job type {name} is not registered; did you mean {close[0]}?"
    return ""


def _where_they_went(statuses: list[JobStatus]) -> str:
    """Say where jobs are to be found that came to these statuses, if they are some that no job rests in."""
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
