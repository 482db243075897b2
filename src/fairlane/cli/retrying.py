"""`fairlane jobs retry`, which is `fairlane dead-letters retry` too."""

from typing import Annotated

import typer

from fairlane.cli import options as o
from fairlane.cli.lookup import find, refuse_stranger
from fairlane.cli.output import print_json, say
from fairlane.cli.session import engine
from fairlane.cli.submitting import given_parameters, hinting, remark_on_breakers


def retry(
    context: typer.Context,
    job: o.JobId,
    organization: o.Organization,
    user: o.User = None,
    parameter: o.Parameter = None,
    parameters: Annotated[
        str | None, typer.Option(metavar="JSON", help="Run it with these parameters instead of its own.")
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Queue a dead letter again, and revive the jobs that it took down.

    A parameter that -p gives takes the place of the job's own; the others stay.

    \b
    Examples:
        fairlane jobs retry c3d4e5f6 -o acme
        fairlane dead-letters retry c3d4e5f6 -o acme -p month=2026-11-01
    """
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    found = find(fl, job, organization)
    is_edited = bool(parameter) or parameters is not None
    with hinting(parameter or []):
        retried = fl.retry(
            found.id,
            organization=organization,
            user=user,
            parameters=given_parameters(parameter or [], parameters, found.parameters) if is_edited else None,
        )
    if as_json:
        print_json(retried)
    else:
        say(f"Job {retried.id} is {retried.status} again.")
        remark_on_breakers(fl, organization, {retried.job_type})
