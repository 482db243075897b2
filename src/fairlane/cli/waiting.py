"""`fairlane jobs run-now`, `reschedule` and `set-priority`: for jobs that have not started."""

from typing import TYPE_CHECKING, Annotated

import typer

from fairlane import Priority
from fairlane.cli import options as o
from fairlane.cli.lookup import find_id, refuse_stranger
from fairlane.cli.output import moment, tell
from fairlane.cli.session import engine
from fairlane.cli.submitting import remark_on_holds

if TYPE_CHECKING:
    from fairlane import Fairlane


def run_now(
    context: typer.Context, job: o.JobId, organization: o.Organization, user: o.User = None, as_json: o.AsJson = False
) -> None:
    """Let a job that waits for its time, or for its next attempt, start at once.

    \b
    Example:
        fairlane jobs run-now c3d4e5f6 -o acme
    """
    fl = _engine(context, organization, user)
    made = fl.run_now(find_id(fl, job, organization), organization=organization, user=user)
    tell(made, f"Job {made.id} is {made.status}.", as_json=as_json)
    if not as_json:
        remark_on_holds(fl, made.id, organization)


def reschedule(
    context: typer.Context,
    job: o.JobId,
    run_at: Annotated[
        str,
        typer.Argument(
            metavar="TIME", help="Not before: 2026-11-01T08:00 in this machine's zone, or …+01:00; or 2h from now."
        ),
    ],
    organization: o.Organization,
    user: o.User = None,
    as_json: o.AsJson = False,
) -> None:
    """Let a job that has not started, or waits for its next attempt, start no earlier than a time.

    \b
    Examples:
        fairlane jobs reschedule c3d4e5f6 2027-01-01T06:00 -o acme
        fairlane jobs reschedule c3d4e5f6 2h -o acme
    """
    fl = _engine(context, organization, user)
    at = o.time_or_delay("TIME", run_at, lambda: fl.database.read(fl.database.clock.now))
    made = fl.reschedule(find_id(fl, job, organization), at, organization=organization, user=user)
    sentence = f"Job {made.id} is {made.status} and starts no earlier than {moment(made.run_at)}."
    tell(made, sentence, as_json=as_json)


def set_priority(
    context: typer.Context,
    job: o.JobId,
    priority: Annotated[Priority, typer.Argument(help="How urgent it is within the organization.")],
    organization: o.Organization,
    user: o.User = None,
    as_json: o.AsJson = False,
) -> None:
    """Give a job that has not started, or waits for its next attempt, another priority.

    \b
    Example:
        fairlane jobs set-priority c3d4e5f6 high -o acme
    """
    fl = _engine(context, organization, user)
    made = fl.prioritize(find_id(fl, job, organization), priority, organization=organization, user=user)
    tell(made, f"Job {made.id} is {made.status}, of priority {made.priority}.", as_json=as_json)


def _engine(context: typer.Context, organization: str, user: str | None) -> "Fairlane":
    fl = engine(context)
    refuse_stranger(fl, organization, user)
    return fl
