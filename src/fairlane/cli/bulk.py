"""Filters of `fairlane jobs list`, `cancel`, `retry` and `delete`, and the bulk actions of these commands."""

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from fairlane import JobStatus
from fairlane.cli import options as o
from fairlane.cli.lookup import refuse_unknown
from fairlane.cli.output import number_of, print_json, remark, say
from fairlane.domain.bulk import BulkAction, BulkState, BulkVerb, fitting

if TYPE_CHECKING:
    from fairlane import Fairlane

_LOOK: Final = 0.2  # seconds between two looks at the progress
_DONE: Final = {BulkVerb.CANCEL: JobStatus.CANCELED, BulkVerb.DELETE: "deleted", BulkVerb.RETRY: "queued again"}

OneJob = Annotated[
    str | None,
    typer.Argument(
        metavar="JOB",
        help="The job's id, or at least four characters of its beginning or end. Omitted: filters select the jobs.",
    ),
]
Status = Annotated[
    list[JobStatus] | None,
    typer.Option("--status", "-s", metavar="STATUS", help=f"Only these, of {', '.join(JobStatus)}; may be repeated."),
]
JobType = Annotated[
    str | None,
    typer.Option("--type", "-t", metavar="TYPE", autocompletion=o.complete_types, help="Only this type."),
]
SubmittedBy = Annotated[str | None, typer.Option(metavar="USER", help="Only jobs that this user submitted.")]
Queue = Annotated[
    str | None, typer.Option("--queue", "-q", metavar="QUEUE", autocompletion=o.complete_queues, help="Only these.")
]
Label = Annotated[
    list[str] | None, typer.Option("--label", "-l", metavar="K=V", help="With this label; may be repeated.")
]
WaitingFor = Annotated[
    Literal["retry"] | None, typer.Option(help="Only queued jobs that wait for the time of their next attempt.")
]
Text = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="The beginning or the end of an id, or part of a type or an error."),
]
After = Annotated[str | None, typer.Option(metavar="TIME", help="Submitted at or after this time.")]
Before = Annotated[str | None, typer.Option(metavar="TIME", help="Submitted before this time.")]
Every = Annotated[bool, typer.Option("--all", help="All of the organization, in place of filters.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="For many jobs: whether to wait until all are done.")]


def filters(
    status: list[JobStatus] | None,
    job_type: str | None,
    submitted_by: str | None,
    queue: str | None,
    label: list[str] | None,
    waiting_for: Literal["retry"] | None,
    text: str | None,
    after: str | None,
    before: str | None,
) -> dict[str, Any]:
    """Return the given filters, in the form that `fl.list` takes."""
    given = {
        "status": status or None,
        "job_type": job_type,
        "user": submitted_by,
        "queue": queue,
        "label": o.pairs("--label", label or ()) or None,
        "waiting_for": waiting_for,
        "text": text,
        "created_after": o.optional(o.local_time, "--after", after),
        "created_before": o.optional(o.local_time, "--before", before),
    }
    return {name: value for name, value in given.items() if value is not None}


def refuse_both_or_none(job: str | None, given: Mapping[str, Any], *, every: bool) -> None:
    """Refuse arguments that do not select jobs in exactly one way: one by its id, several by filters, or all.

    Raises:
        typer.BadParameter
    """
    if sum((job is not None, bool(given), every)) != 1:
        raise typer.BadParameter("Say which jobs in one way: one by its id, several by filters, or --all.")
    # An unset variable of a script must not turn some jobs into all jobs.
    if "" in given.values():
        raise typer.BadParameter("A filter is empty; give it a value, or leave it out.")


def carry_out(
    fl: "Fairlane",
    verb: BulkVerb,
    given: Mapping[str, Any],
    organization: str,
    user: str | None,
    *,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Run a bulk action on all jobs that match, after showing their number and asking.

    Raises:
        InvalidParameters: jobs of these statuses can't be changed in this way.
        typer.Exit: a job was refused, or the action was stopped.
    """
    refuse_unknown(fl, organization)
    statuses = fitting(verb, given)
    counts = fl.reads.matching.counts(organization, **{**given, "status": statuses})
    matching = sum(counts.by_status.values())
    action = None
    if matching:
        what = "dead letter" if statuses == {JobStatus.DEAD_LETTER} else "job"
        more = "More than " if counts.capped else ""
        fit = f"{more}{number_of(matching, what)} of {organization} can be {_DONE[verb]}."
        remark(fit)
        o.confirmed(f"{verb.capitalize()} all of them?", yes=yes)
        begin = fl.bulk.start if wait else partial(fl.bulk.start, seconds=0.0)
        action = begin(verb, given, organization=organization, user=user)
        action = _ended(fl, action) if wait else action
    if as_json:
        print_json({"matching": matching, "matching_is_capped": bool(counts.capped), "action": action})
    elif action is None:
        say(f"No jobs match that can be {_DONE[verb]}.")
    else:
        # A capped number does not say how many jobs were missed.
        _tell(action, 0 if counts.capped else matching, runs=JobStatus.RUNNING in statuses)
    if action is not None and (action.refused or action.state is BulkState.STOPPED):
        raise typer.Exit(1)


def _ended(fl: "Fairlane", action: BulkAction) -> BulkAction:
    """Wait for the end of a bulk action, and say once if no worker works on it."""
    was_told = False
    try:
        while action.state is BulkState.WORKING:
            if action.is_waiting and not was_told:
                remark("No worker works on it; start one: fairlane worker")
                was_told = True
            time.sleep(_LOOK)
            action = fl.bulk.get(action.id, organization=action.organization)
    except KeyboardInterrupt:
        remark(f"Bulk action {action.id} goes on without this command.")
        raise
    return action


def _tell(action: BulkAction, matching: int, *, runs: bool) -> None:
    said = f"{number_of(action.changed, 'job')} {_DONE[action.verb]}"
    if action.verb is BulkVerb.CANCEL and action.changed:
        said += " or asked to stop"
    if action.refused:
        said += f", {action.refused:,} refused"
    if action.passed_over:
        said += f", {action.passed_over:,} passed over, as they changed meanwhile"
    missed = matching - action.changed - action.refused - action.passed_over
    if action.verb is BulkVerb.CANCEL and action.state is BulkState.DONE and missed > 0:
        said += f", {missed:,} had {'ended' if runs else 'started or ended'} before their turn"
    if action.state is BulkState.WORKING:
        said += f" so far; workers go on with bulk action {action.id}"
    if action.state is BulkState.STOPPED:
        said += f"; {action.stopped_by} stopped it" + (f": {action.problem}" if action.problem else "")
    say(f"{said.removesuffix('.')}.")
    for one in action.refusals:
        remark(f"Job {one.job}: {one.detail}")
