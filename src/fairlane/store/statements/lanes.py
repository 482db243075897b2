"""Which lanes have something to claim, from where on, and what runs."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, Integer, String, TextualSelect, bindparam, column, select

from fairlane.domain.fairness import Lane
from fairlane.domain.statuses import JobStatus
from fairlane.store.engine import DatabaseEngine, engine_of
from fairlane.store.line import Line
from fairlane.store.tables import live, organizations


@cache
def active(engine: DatabaseEngine, *, is_named: bool) -> TextualSelect:
    """Ask for the lanes with a ready job, of all queues or of those that `named` gives.

    Each comes with how its organization stands in Fairlane's own directory, and on PostgreSQL with its first ready job,
    as text: what is dead stands in no claim's way on SQLite. The cost goes by the number of these lanes.
    """
    read = engine.statement("lanes", without="all" if is_named else "named")
    named = read.bindparams(bindparam("queues", None, String())) if is_named else read
    return named.columns(
        *(live.c.queue, live.c.organization_id, live.c.job_type),
        *(organizations.c.status, organizations.c.max_running, organizations.c.weight),
        *(column("priority", Integer), column("run_at", String), column("id", String)),
    ).execution_options(fairlane_across="claim")


def named(queues: Collection[str] | None) -> dict[str, str]:
    """Return the parameters of `active`."""
    return {} if queues is None else {"queues": json.dumps(sorted({*queues}))}


def active_lanes(connection: Connection, queues: Collection[str] | None = None) -> list[Lane]:
    """Return the lanes of these queues, None: of all, with a ready job."""
    found = active(engine_of(connection), is_named=queues is not None).subquery()
    # Of no other columns, so that no organization is read for them.
    asked = select(found.c.queue, found.c.organization_id, found.c.job_type)
    rows = connection.execute(asked.execution_options(fairlane_across="claim"), named(queues))
    return [Lane(*row) for row in rows]


class Mark(NamedTuple):
    """Where the ready jobs of a lane begin: no job before it is ready. `run_at` and `id` are as in SQL."""

    priority: int
    run_at: str
    id: str


# How many jobs run on all workers together, by job type and organization.
Running: TypeAlias = Counter[tuple[str, str]]


class RunningRow(NamedTuple):
    """How many jobs of a type and an organization run on a worker."""

    worker: UUID
    job_type: str
    organization: str
    number: int


@cache
def who_runs(engine: DatabaseEngine) -> TextualSelect:
    """Ask for what `counted` reads. The status stands in the text: see `fixed`."""
    read = engine.statement("who_runs").bindparams(bindparam("status", JobStatus.RUNNING.value, literal_execute=True))
    columns = (live.c.worker_id, live.c.job_type, live.c.organization_id, column("number", Integer))
    return read.columns(*columns).execution_options(fairlane_across="claim")


def running(connection: Connection) -> Running:
    """Count all jobs that run."""
    return counted(running_rows(connection))


def running_rows(connection: Connection) -> list[RunningRow]:
    """Return all jobs that run, for `counted`."""
    return [RunningRow(*row) for row in connection.execute(who_runs(engine_of(connection)))]


async def running_rows_on(line: Line) -> list[RunningRow]:
    """Return all jobs that run, for `counted`; on the event loop."""
    return [RunningRow(*row) for row in await line.fetch(who_runs(line.database.kind), {})]


def counted(rows: Iterable[Iterable[Any]]) -> Running:
    """Count all jobs that run, from the rows of `who_runs`."""
    found: Running = Counter()
    for _, job_type, organization, number in rows:
        found[job_type, organization] += number
    return found
