"""`fairlane dead-letters`: the jobs that run again only if a user retries them."""

from functools import partial
from typing import Annotated

import typer
from rich.table import Column
from rich.text import Text

from fairlane import Resolution
from fairlane.cli import bulk
from fairlane.cli import options as o
from fairlane.cli.lookup import find, find_fingerprint, find_id, fingerprint_code, refuse_stranger, refuse_unknown
from fairlane.cli.output import age, cell, console, is_told, number_of, one_line, print_json, say, short, table
from fairlane.cli.session import engine
from fairlane.cli.submitting import given_parameters, hinting, remark_on_holds
from fairlane.domain.bulk import BulkVerb
from fairlane.domain.jobs import DeadLetter, RetriedGroup

app = typer.Typer()

Decided = Annotated[
    Resolution | None,
    typer.Option("--resolution", help="Only dead letters with this decision; default: undecided ones."),
]
Everything = Annotated[bool, typer.Option("--all", "-a", help="With any decision, or none.")]
Note = Annotated[str | None, typer.Option(metavar="TEXT", help="The reason; it is kept with the dead letter.")]
JobType = Annotated[
    str | None,
    typer.Option("--type", metavar="TYPE", help="Only dead letters of this job type.", autocompletion=o.complete_types),
]
Fingerprint = Annotated[str, typer.Argument(metavar="FINGERPRINT", help="As `dead-letters groups` shows it.")]


@app.command("retry")
def retry(
    context: typer.Context,
    organization: o.Organization,
    job: bulk.OneJob = None,
    user: o.User = None,
    parameter: o.Parameter = None,
    parameters: Annotated[
        str | None, typer.Option(metavar="JSON", help="Run it with these parameters instead of its own.")
    ] = None,
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
    """Queue a dead letter again, and revive the jobs that it took down; or all dead letters that match filters.

    A parameter that -p gives replaces the job's own; the others stay.
    Filters are those of `jobs list`. The command says how many jobs match and asks; workers carry on a long action.
    The exit code is 1 if a job was refused, or a user stopped the action.

    \b
    Examples:
        fairlane jobs retry c3d4e5f6 -o acme
        fairlane dead-letters retry c3d4e5f6 -o acme -p month=2026-11-01
        fairlane jobs retry -o acme --type report.pdf
    """
    chosen = bulk.filters(status, job_type, submitted_by, queue, label, waiting_for, text, after, before)
    bulk.refuse_both_or_none(job, chosen, every=every)
    is_edited = bool(parameter) or parameters is not None
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    if job is None:
        if is_edited:
            raise typer.BadParameter("Many jobs keep the parameters that they have; leave -p and --parameters out.")
        bulk.carry_out(fl, BulkVerb.RETRY, chosen, organization, user, yes=yes, wait=wait, as_json=as_json)
        return
    found = find(fl, job, organization)
    with hinting(parameter or []):
        retried = fl.retry(
            found.id,
            organization=organization,
            user=user,
            parameters=given_parameters(fl, found.job_type, parameter or [], parameters, found.parameters)
            if is_edited
            else None,
        )
    if as_json:
        print_json(retried)
    else:
        say(f"Job {retried.id} is {retried.status} again.")
        remark_on_holds(fl, retried.id, organization)


@app.command("list")
def list_letters(
    context: typer.Context,
    organization: o.Organization,
    resolution: Decided = None,
    everything: Everything = False,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="FINGERPRINT", help="Only dead letters with this error.")
    ] = None,
    job_type: JobType = None,
    limit: o.Limit = 20,
    cursor: o.Cursor = None,
    as_json: o.AsJson = False,
) -> None:
    """List an organization's dead letters, newest first.

    \b
    Example:
        fairlane dead-letters list -o acme
    """
    fl = engine(context)
    page = fl.dead_letters.list(
        organization=organization,
        resolution=_wanted(resolution, everything),
        fingerprint=find_fingerprint(fl, fingerprint, organization) if fingerprint is not None else None,
        job_type=job_type,
        limit=limit,
        cursor=cursor,
    )
    if not page.items:
        refuse_unknown(fl, organization)
    if as_json:
        print_json(page)
        return
    if not page.items:
        say("No dead letters.")
        return
    is_decided = any(letter.resolution is not Resolution.PENDING for letter in page.items)
    decided = [Column("DECIDED", overflow="fold")] if is_decided else []
    rows = table("ID", Column("TYPE", max_width=20), Column("REASON", overflow="fold"), *decided, "AGE")
    for letter in page.items:
        told = [_decision(letter)] if is_decided else []
        reason = cell(letter.reason)
        rows.add_row(short(letter.job_id), one_line(letter.job_type), reason, *told, age(letter.entered_at))
    console().print(rows)
    if page.next_cursor is not None:
        say(f"{len(page.items)} of {page.total:,} dead letters; the next page:")
        say(f"  --cursor {page.next_cursor}", whole=True)


def _decision(letter: DeadLetter) -> str | Text:
    """Return the decision with its user and its note."""
    if letter.resolution is Resolution.PENDING:
        return ""
    return cell(f"{letter.resolution} by {letter.resolved_by}" + (f": {letter.note}" if letter.note else ""))


@app.command("groups")
def groups(
    context: typer.Context,
    organization: o.Organization,
    resolution: Decided = None,
    everything: Everything = False,
    as_json: o.AsJson = False,
) -> None:
    """Show dead letters by job type and error, the largest group first.

    Two errors are the same if their exception type and the place in the code that raised it are equal. The text is an
    example.

    \b
    Example:
        fairlane dead-letters groups -o acme
    """
    fl = engine(context)
    found = fl.dead_letters.groups(organization=organization, resolution=_wanted(resolution, everything))
    if not found:
        refuse_unknown(fl, organization)
    if is_told(found, "No dead letters.", as_json=as_json):
        return
    rows = table(
        Column("FINGERPRINT", overflow="fold"),
        Column("COUNT", justify="right", no_wrap=True),
        Column("TYPE"),
        Column("ERROR"),
        "LAST",
    )
    for group in found:
        rows.add_row(
            fingerprint_code(group.fingerprint),
            f"{group.count:,}",
            one_line(group.job_type),
            one_line(group.reason or group.error_type),
            age(group.last_at),
        )
    console().print(rows)


@app.command("retry-group")
def retry_group(
    context: typer.Context,
    fingerprint: Fingerprint,
    organization: o.Organization,
    job_type: JobType = None,
    user: o.User = None,
    per_second: Annotated[
        float, typer.Option(min=0.01, metavar="N", help="How many jobs become ready each second.")
    ] = 10.0,
    yes: o.Yes = False,
    as_json: o.AsJson = False,
) -> None:
    """Queue all dead letters with an error again, paced so that they do not fail all together again.

    The command says how many there are and asks. Its exit code is 1 if dead letters remain and it queued none.

    \b
    Example:
        fairlane dead-letters retry-group e0d3e952fdd0b997 -o acme --type report --per-second 2
    """
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    whole = find_fingerprint(fl, fingerprint, organization)
    group = partial(fl.dead_letters.list, organization=organization, fingerprint=whole, job_type=job_type, limit=1)
    found = group()
    if found.items:
        o.confirmed(f"Retry {number_of(found.total, 'dead letter')} of {organization} with this error?", yes=yes)
    done = fl.dead_letters.retry_group(
        whole, organization=organization, job_type=job_type, user=user, per_second=per_second
    )
    left = group().total
    if as_json:
        print_json({"retried": done.retried, "refused": done.refused, "left": left})
    else:
        _print_retried(done, left, organization, user)
        for newest in found.items:  # it is retried first
            of = f"What holds the newest of them, job {newest.job_id}:" if done.retried > 1 else ""
            remark_on_holds(fl, newest.job_id, organization, of=of)
    if left and not done.retried:
        raise typer.Exit(1)


def _print_retried(done: RetriedGroup, left: int, organization: str, user: str | None) -> None:
    say(f"{number_of(done.retried, 'job')} queued again.")
    if done.refused:
        say(f"{number_of(done.refused, 'job')} refused: not {user}'s own; an admin of {organization} can retry them.")
    if following := left - done.refused:
        say(
            f"{number_of(following, 'dead letter')} of the group left: a job that went down with its parent follows "
            "when the parent is retried, and a job that has failed again meanwhile waits for a decision. "
            "`fairlane jobs explain` says which it is, and names the parent."
        )


@app.command("resolve")
def resolve(
    context: typer.Context,
    job: o.JobId,
    organization: o.Organization,
    user: o.User = None,
    note: Note = None,
) -> None:
    """Record that the cause was fixed in another way.

    \b
    Example:
        fairlane dead-letters resolve 01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6 -o acme --note "sent by hand"
    """
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    fl.dead_letters.resolve(job_id := find_id(fl, job, organization), organization=organization, user=user, note=note)
    say(f"Dead letter {job_id} is {Resolution.RESOLVED}.")


@app.command("ignore")
def ignore(
    context: typer.Context,
    job: o.JobId,
    organization: o.Organization,
    user: o.User = None,
    note: Note = None,
) -> None:
    """Record that nothing needs to be done.

    \b
    Example:
        fairlane dead-letters ignore 01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6 -o acme --note "test data"
    """
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    fl.dead_letters.ignore(job_id := find_id(fl, job, organization), organization=organization, user=user, note=note)
    say(f"Dead letter {job_id} is {Resolution.IGNORED}.")


@app.command("delete")
def delete(
    context: typer.Context,
    job: o.JobId,
    organization: o.Organization,
    user: o.User = None,
    yes: o.Yes = False,
) -> None:
    """Delete a dead letter: the job, its history and its artifacts.

    \b
    Example:
        fairlane dead-letters delete 01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6 -o acme
    """
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    job_id = find_id(fl, job, organization)
    o.confirmed(f"Delete job {job_id} of {organization} with all its data?", yes=yes)
    fl.dead_letters.delete(job_id, organization=organization, user=user)
    say(f"Job {job_id} is deleted.")


def _wanted(resolution: Resolution | None, everything: bool) -> Resolution | None:
    if everything:
        return None
    return resolution if resolution is not None else Resolution.PENDING
