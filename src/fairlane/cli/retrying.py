"""`fairlane jobs retry`, which is `fairlane dead-letters retry` too."""

from typing import Annotated

import typer

from fairlane.cli import bulk
from fairlane.cli import options as o
from fairlane.cli.lookup import find, refuse_stranger
from fairlane.cli.output import print_json, say
from fairlane.cli.session import engine
from fairlane.cli.submitting import given_parameters, hinting, remark_on_holds
from fairlane.domain.bulk import BulkVerb


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
    """Queue a dead letter again, and revive the jobs that it took down; or all dead letters that fit filters.

    A parameter that -p gives takes the place of the job's own; the others stay.
    Filters are those of `jobs list`. It says how many jobs fit and asks; workers go on with what takes long.
    The exit code is 1 if a job was refused, or somebody stopped it.

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
