"""`fairlane queues`, `fairlane types` and `fairlane maintenance`: what is there, and switching it off and on."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from fairlane import JobStatus
from fairlane.cli import options as o
from fairlane.cli.limits import limit_type, list_limits
from fairlane.cli.lookup import acting
from fairlane.cli.output import (
    age,
    breaker_state,
    cell,
    console,
    facts,
    limit_text,
    maintenance_text,
    number_of,
    one_line,
    print_json,
    rate_text,
    say,
    table,
    unlimited,
)
from fairlane.cli.session import engine

if TYPE_CHECKING:
    from fairlane import Fairlane
    from fairlane.jobtypes.verbs import JobTypeView

queues = typer.Typer()
types = typer.Typer()
maintenance = typer.Typer()

types.command("limit")(limit_type)
types.command("limits")(list_limits)

Reason = Annotated[
    str, typer.Option(metavar="TEXT", help="Why; `fairlane jobs explain` shows it for a job that waits.")
]


@queues.command("list")
def list_queues(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List the queues that have live jobs or are paused.

    READY jobs may start; LIMITED ones wait since as many run, or have started, as a limit allows (`fairlane types
    limits`, `fairlane orgs list`); HELD ones wait since something is paused, a circuit breaker is open, or no worker
    can run them (`fairlane jobs explain JOB` says which); RETRYING ones wait for their next attempt, PENDING ones for
    parents or their time. PAUSED says whether the queue itself is.

    \b
    Example:
        fairlane queues list
    """
    found = engine(context).reads.queues()
    if as_json:
        print_json(found)
        return
    if not found:
        say("No queue has live jobs.")
        return
    numbers = ("READY", "LIMITED", "HELD", "RETRYING", "RUNNING", "PENDING")
    rows = table(Column("QUEUE", overflow="fold"), *(Column(one, justify="right") for one in numbers), "PAUSED")
    for one in found:
        sizes = (one.ready - one.held, one.limited, one.held, one.retrying, one.running, one.pending)
        rows.add_row(cell(one.queue), *(f"{size:,}" for size in sizes), "yes" if one.paused else "")
    console().print(rows)


@queues.command("pause")
def pause_queue(context: typer.Context, queue: o.QueueArgument, user: o.User = None, reason: Reason = "") -> None:
    """Start nothing of a queue until it is resumed; running jobs finish.

    \b
    Example:
        fairlane queues pause bulk --reason "storage is nearly full"
    """
    fl = acting(context, user)
    fl.queues.pause(queue, user=user, reason=reason)
    # Afterwards: it may be an emergency.
    known = {one.options.queue for one in fl.job_types.list()} | {one.queue for one in fl.reads.queues() if one.live}
    note = "" if queue in known else " No job is in it and no job type goes to it, so look if its name is right."
    say(f"Queue {queue} is paused.{note}")


@queues.command("resume")
def resume_queue(context: typer.Context, queue: o.QueueArgument, user: o.User = None) -> None:
    """End a pause.

    \b
    Example:
        fairlane queues resume bulk
    """
    was_paused = acting(context, user).queues.resume(queue, user=user)
    say(f"Queue {queue} {'goes on' if was_paused else 'was not paused'}.")


@maintenance.command("on")
def turn_on(context: typer.Context, user: o.User = None, reason: Reason = "") -> None:
    """Start no job of any organization; running jobs finish, submissions go on.

    Once it returns, no worker starts a job.

    \b
    Example:
        fairlane maintenance on --reason "a new release"
    """
    fl = acting(context, user)
    fl.maintenance.on(reason=reason, user=user)
    say(f"Maintenance mode is on. {_still_running(fl)}")


@maintenance.command("off")
def turn_off(context: typer.Context, user: o.User = None) -> None:
    """Let jobs start again.

    \b
    Example:
        fairlane maintenance off
    """
    was_on = acting(context, user).maintenance.off(user=user)
    say("Maintenance mode is off; jobs start again." if was_on else "Maintenance mode was not on.")


@maintenance.command("show")
def show(context: typer.Context, as_json: o.AsJson = False) -> None:
    """Say whether it is on, since when, by whom and why, and how many jobs still run.

    \b
    Example:
        fairlane maintenance show
    """
    fl = engine(context)
    found = fl.maintenance.get()
    if as_json:
        told = asdict(found) if found is not None else dict.fromkeys(("by", "since", "reason"))
        print_json({"is_on": found is not None, **told})
    elif found is None:
        say("Maintenance mode is off.")
    else:
        say(f"{maintenance_text(found)}. {_still_running(fl)}")


def _still_running(fl: "Fairlane") -> str:
    size = fl.reads.by_status()[JobStatus.RUNNING]
    return f"{number_of(size, 'job')} still {'runs' if size == 1 else 'run'}." if size else "No job runs."


@types.command("list")
def list_types(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List the job types that applications and workers have registered.

    \b
    Example:
        fairlane types list
    """
    fl = engine(context)
    found = fl.job_types.list()
    if as_json:
        print_json(found)
        return
    if not found:
        say("No job types are registered; `fairlane migrate --app …` and every worker register theirs.")
        return
    limits = {one.job_type: one for one in fl.job_types.limits() if one.organization is None}
    numbers = (Column(one, justify="right") for one in ("TIMEOUT", "RETRIES", "MAX RUNNING", "MAX STARTED"))
    rows = table(Column("TYPE", overflow="fold"), "STATE", Column("QUEUE"), *numbers)
    for one in found:
        bounds = (_seconds(one.options.timeout), unlimited(one.options.max_retries))
        more = (unlimited(limits[one.name].max_running), rate_text(limits[one.name])) if one.name in limits else ()
        rows.add_row(cell(one.name), _state(one), one_line(one.options.queue), *bounds, *more)
    console().print(rows)


@types.command("show")
def show_type(context: typer.Context, job_type: o.TypeArgument, as_json: o.AsJson = False) -> None:
    """Show a job type, with what of it may run.

    \b
    Example:
        fairlane types show report.pdf
    """
    fl = engine(context)
    every, *own = fl.job_types.limits(name=job_type)
    one = next(one for one in fl.job_types.list() if one.name == job_type)
    if as_json:
        print_json({"job_type": one, "limits": [every, *own]})
        return
    console().print(
        facts(
            [
                ("type", one.name),
                ("state", _state(one)),
                ("queue", one.options.queue),
                ("isolation", one.options.isolation),
                ("timeout", _seconds(one.options.timeout)),
                ("retries", unlimited(one.options.max_retries)),
                ("may run", limit_text(every)),
                *((f"of {limit.organization}", limit_text(limit)) for limit in own),
                ("registered", one.registered_at),
            ]
        )
    )


@types.command("enable")
def enable(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """Let the type be submitted again.

    \b
    Example:
        fairlane types enable report.pdf
    """
    acting(context, user).job_types.enable(job_type, user=user)
    say(f"Job type {job_type} is enabled.")


@types.command("disable")
def disable(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """Refuse submissions of the type; jobs that are there run.

    \b
    Example:
        fairlane types disable report.pdf
    """
    acting(context, user).job_types.disable(job_type, user=user)
    say(f"Job type {job_type} is disabled.")


@types.command("delete")
def delete(context: typer.Context, job_type: o.TypeArgument, user: o.User = None, yes: o.Yes = False) -> None:
    """Delete a type that no job is of, with its limits. Applications that have its handler register it again.

    \b
    Example:
        fairlane types delete report.pdf
    """
    fl = acting(context, user)
    fl.job_types.limits(name=job_type)  # before it asks, this refuses a type that is not there
    o.confirmed(f"Delete job type {job_type} with its limits?", yes=yes)
    fl.job_types.delete(job_type, user=user)
    say(f"Job type {job_type} is deleted.")


@types.command("pause")
def pause_type(context: typer.Context, job_type: o.TypeArgument, user: o.User = None, reason: Reason = "") -> None:
    """Start nothing of the type until it is resumed; submissions go on.

    \b
    Example:
        fairlane types pause report.pdf --reason "the printer is out of paper"
    """
    fl = acting(context, user)
    fl.job_types.pause(job_type, user=user, reason=reason)
    say(f"Job type {job_type} is paused.")


@types.command("resume")
def resume_type(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """End a pause.

    \b
    Example:
        fairlane types resume report.pdf
    """
    was_paused = acting(context, user).job_types.resume(job_type, user=user)
    say(f"Job type {job_type} {'goes on' if was_paused else 'was not paused'}.")


@types.command("breakers")
def list_breakers(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List what is not started since too much of it failed: job types in organizations whose breaker is open.

    \b
    Example:
        fairlane types breakers
    """
    found = engine(context).job_types.breakers()
    if as_json:
        print_json(found)
        return
    if not found:
        say("No breaker is open.")
        return
    rows = table(Column("TYPE", overflow="fold"), Column("ORGANIZATION", overflow="fold"), "SINCE", "STATE")
    for one in found:
        rows.add_row(cell(one.job_type), cell(one.organization), age(one.opened_at), breaker_state(one))
    console().print(rows)


@types.command("close-breaker")
def close_breaker(
    context: typer.Context, job_type: o.TypeArgument, organization: o.Organization, user: o.User = None
) -> None:
    """Let jobs of a type start again in an organization, before its breaker has tried one.

    \b
    Example:
        fairlane types close-breaker report.pdf -o acme
    """
    fl = acting(context, user)
    was_open = fl.job_types.close_breaker(job_type, organization=organization, user=user)
    state = "starts again" if was_open else "was not held back by a breaker"
    say(f"Job type {job_type} {state} in organization {organization}.")


def _state(one: "JobTypeView") -> str:
    return ", ".join([*([] if one.enabled else ["disabled"]), *(["paused"] if one.paused else [])]) or "enabled"


def _seconds(number: float | None) -> str:
    return "unlimited" if number is None else f"{number:g}s"
