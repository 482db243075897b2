"""`fairlane workers`: list live workers, and ask one to finish and end."""

from typing import Annotated, Final

import typer
from rich.console import RenderableType
from rich.table import Column
from rich.text import Text

from fairlane import WorkerView
from fairlane.cli import options as o
from fairlane.cli.lookup import acting
from fairlane.cli.output import age, brief, cell, console, number_of, one_line, print_json, say, table
from fairlane.cli.session import engine
from fairlane.domain.errors import WorkerNotFound
from fairlane.domain.timing import HEARTBEATS_A_LEASE

app = typer.Typer()
_MOST_ALIKE: Final = 4  # names in an error


@app.command("list")
def list_workers(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List the workers that are alive, on all machines.

    \b
    Example:
        fairlane workers list
    """
    found = engine(context).workers.list()
    if as_json:
        print_json(found)
    else:
        console().print(worker_table(found, with_ids=True))


@app.command("drain")
def drain_worker(
    context: typer.Context,
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="Its id or its name, as `workers list` shows them.")],
    user: o.User = None,
) -> None:
    """Ask a worker to claim no more, finish its running jobs and end.

    It gets the request with its next heartbeat, within a third of its lease. Its supervisor may start another one.

    \b
    Example:
        fairlane workers drain host-1:4711
    """
    fl = acting(context, user)
    alive = fl.workers.list()
    found = [one for one in alive if worker in (one.name, str(one.id))]
    if not found:
        alike = [one.name for one in alive if one.name.startswith(worker)]
        meant = f"did you mean {' or '.join(alike[:_MOST_ALIKE])}? " if alike else ""
        raise WorkerNotFound(f"There is no live worker {worker}; {meant}`fairlane workers list` shows which there are.")
    if len(found) > 1:
        raise WorkerNotFound(
            f"Several live workers are called {worker}; give the id that `fairlane workers list` shows."
        )
    fl.workers.drain(found[0].id, user=user)
    beat = (found[0].silent + found[0].lease_left) / HEARTBEATS_A_LEASE  # seconds between its heartbeats
    say(f"Worker {found[0].name} will claim no more within {beat:.0f} s, then finish what it runs and end.")


def worker_table(workers: tuple[WorkerView, ...], *, with_ids: bool = False) -> RenderableType:
    """Return a table of workers, or a line that says there is none."""
    if not workers:
        return Text("No worker is alive; start one: fairlane worker", "yellow")
    ids = ["ID"] if with_ids else []
    rows = table(*ids, Column("WORKER"), Column("SLOTS", justify="right"), Column("QUEUES"), "UP", "BEAT", "")
    for one in workers:
        served = one_line("all" if one.queues is None else one.queues)
        taken = f"{one.running:,}/{one.slots:,}"
        known = [cell(str(one.id))] if with_ids else []
        up, beat = age(one.started_at), age(one.heartbeat_at)
        rows.add_row(*known, one_line(one.name), taken, served, up, beat, Text(_state(one), "yellow"))
    return rows


def _state(worker: WorkerView) -> str:
    if worker.is_silent:
        return f"silent for {brief(worker.silent)}"
    if worker.stopping:
        return "stopping"
    return f"lacks the key of {number_of(worker.lacks_keys, 'organization')}" if worker.lacks_keys else ""
