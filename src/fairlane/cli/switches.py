"""`fairlane queues` and `fairlane maintenance`: show queues, pause and resume them, and maintenance mode."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Column

from fairlane import JobStatus
from fairlane.cli import options as o
from fairlane.cli.lookup import acting
from fairlane.cli.output import cell, console, is_told, maintenance_text, number_of, print_json, say, table
from fairlane.cli.session import engine

if TYPE_CHECKING:
    from fairlane import Fairlane

queues = typer.Typer()
maintenance = typer.Typer()


@queues.command("list")
def list_queues(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List the queues that have live jobs or are paused.

    READY jobs may start; LIMITED ones wait because as many run, or have started, as a limit allows (`fairlane types
    limits`, `fairlane orgs list`); HELD ones wait because of a pause, an open circuit breaker, or a missing worker
    (`fairlane jobs explain JOB` says which); RETRYING ones wait for their next attempt, PENDING ones for parents or
    their time. PAUSED says whether the queue itself is paused.

    \b
    Example:
        fairlane queues list
    """
    found = engine(context).reads.queues()
    if is_told(found, "No queue has live jobs.", as_json=as_json):
        return
    numbers = ("READY", "LIMITED", "HELD", "RETRYING", "RUNNING", "PENDING")
    rows = table(Column("QUEUE", overflow="fold"), *(Column(one, justify="right") for one in numbers), "PAUSED")
    for one in found:
        sizes = (one.ready - one.held, one.limited, one.held, one.retrying, one.running, one.pending)
        rows.add_row(cell(one.queue), *(f"{size:,}" for size in sizes), "yes" if one.paused else "")
    console().print(rows)


@queues.command("pause")
def pause_queue(context: typer.Context, queue: o.QueueArgument, user: o.User = None, reason: o.Reason = "") -> None:
    """Pause a queue: none of its jobs start until it is resumed; running jobs finish.

    \b
    Example:
        fairlane queues pause bulk --reason "storage is nearly full"
    """
    fl = acting(context, user)
    fl.queues.pause(queue, user=user, reason=reason)
    # The pause comes first: it may be an emergency.
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
def turn_on(context: typer.Context, user: o.User = None, reason: o.Reason = "") -> None:
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
    """Show whether maintenance mode is on, since when, by whom and why, and how many jobs still run.

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
