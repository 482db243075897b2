"""`fairlane queues` and `fairlane types`: what is there, and switching it off and on, for all organizations."""

from typing import Annotated

import typer
from rich.table import Column

from fairlane import Fairlane, JobTypeNotFound
from fairlane.cli import options as o
from fairlane.cli.output import cell, console, print_json, say, table
from fairlane.cli.session import engine

queues = typer.Typer(help="Look at queues, pause and resume them.")
types = typer.Typer(help="Look at job types; pause, resume, disable and enable them.")

Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; whoever asks why a job waits will read it.")]


@queues.command("list")
def list_queues(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List the queues that have live jobs or are paused.

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
    numbers = ("READY", "RETRYING", "RUNNING", "PENDING")
    rows = table(Column("QUEUE", overflow="fold"), *(Column(one, justify="right") for one in numbers), "PAUSED")
    for one in found:
        sizes = (one.ready, one.retrying, one.running, one.pending)
        rows.add_row(cell(one.queue), *(f"{size:,}" for size in sizes), "yes" if one.paused else "")
    console().print(rows)


@queues.command("pause")
def pause_queue(context: typer.Context, queue: o.QueueArgument, user: o.User = None, reason: Reason = "") -> None:
    """Start nothing of a queue until it is resumed; running jobs finish.

    \b
    Example:
        fairlane queues pause bulk --reason "storage is nearly full"
    """
    engine(context).queues.pause(queue, user=user, reason=reason)
    say(f"Queue {queue} is paused.")


@queues.command("resume")
def resume_queue(context: typer.Context, queue: o.QueueArgument, user: o.User = None) -> None:
    """End a pause.

    \b
    Example:
        fairlane queues resume bulk
    """
    was_paused = engine(context).queues.resume(queue, user=user)
    say(f"Queue {queue} {'goes on' if was_paused else 'was not paused'}.")


@types.command("list")
def list_types(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List the job types that applications and workers have registered.

    \b
    Example:
        fairlane types list
    """
    found = engine(context).job_types.list()
    if as_json:
        print_json(found)
        return
    if not found:
        say("No job types are registered; `fairlane migrate --app …` and every worker register theirs.")
        return
    timeout = Column("TIMEOUT", justify="right")
    rows = table(Column("TYPE", overflow="fold"), "STATE", "QUEUE", "ISOLATION", timeout, Column("RETRIES"))
    for one in found:
        seconds = "unlimited" if one.options.timeout is None else f"{one.options.timeout:g}s"
        retries = "unlimited" if one.options.max_retries is None else str(one.options.max_retries)
        state = _state(enabled=one.enabled, paused=one.paused)
        rows.add_row(cell(one.name), state, cell(one.options.queue), one.options.isolation, seconds, retries)
    console().print(rows)


@types.command("enable")
def enable(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """Let the type be submitted again.

    \b
    Example:
        fairlane types enable report.pdf
    """
    engine(context).job_types.enable(job_type, user=user)
    say(f"Job type {job_type} is enabled.")


@types.command("disable")
def disable(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """Refuse submissions of the type; jobs that are there run.

    \b
    Example:
        fairlane types disable report.pdf
    """
    engine(context).job_types.disable(job_type, user=user)
    say(f"Job type {job_type} is disabled.")


@types.command("pause")
def pause_type(context: typer.Context, job_type: o.TypeArgument, user: o.User = None, reason: Reason = "") -> None:
    """Start nothing of the type until it is resumed; submissions go on.

    \b
    Example:
        fairlane types pause report.pdf --reason "the printer is out of paper"
    """
    fl = engine(context)
    _refuse_unknown(fl, job_type)
    fl.job_types.pause(job_type, user=user, reason=reason)
    say(f"Job type {job_type} is paused.")


@types.command("resume")
def resume_type(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """End a pause.

    \b
    Example:
        fairlane types resume report.pdf
    """
    was_paused = engine(context).job_types.resume(job_type, user=user)
    say(f"Job type {job_type} {'goes on' if was_paused else 'was not paused'}.")


def _refuse_unknown(fl: Fairlane, job_type: str) -> None:
    """A pause of a type that does not exist would be a slip that nobody notices."""
    if all(one.name != job_type for one in fl.job_types.list()):
        raise JobTypeNotFound(f"Job type {job_type} is not registered.")


def _state(*, enabled: bool, paused: bool) -> str:
    return ", ".join([*([] if enabled else ["disabled"]), *(["paused"] if paused else [])]) or "enabled"
