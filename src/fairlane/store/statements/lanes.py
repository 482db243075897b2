"""Reads of a claim round: lanes with claimable jobs, their sizes, running jobs, and restrictions.

A round takes one round trip for these reads before its transaction, and another at the transaction's beginning.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from math import ceil
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, Integer, String, TextualSelect, Uuid, bindparam, column, func, select, text, tuple_

from fairlane.domain.breaker import Breaker, Pair
from fairlane.domain.fairness import Lane
from fairlane.domain.limits import Subject
from fairlane.domain.statuses import PRIORITY_RANK, JobStatus
from fairlane.domain.timing import DAY
from fairlane.store.clock import Clock
from fairlane.store.engine import DatabaseEngine, Question, Rows, engine_of
from fairlane.store.line import Line
from fairlane.store.sql import as_given, given
from fairlane.store.statements import breakers, job_types, running_limits
from fairlane.store.tables import AnyRow, live, organizations


@cache
def active(engine: DatabaseEngine, *, is_named: bool) -> TextualSelect:
    """Return the statement for the lanes with a ready job, in all queues or in those that `named` gives.

    Each lane has its organization's standing in Fairlane's own directory. On PostgreSQL it also has its first ready
    job, as text; on SQLite dead index entries cost a claim nothing. The cost depends on the number of these lanes.
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
    """Return the lanes with a ready job in these queues; None = in all queues."""
    found = active(engine_of(connection), is_named=queues is not None).subquery()
    # Without other columns, so that organizations are not read.
    asked = select(found.c.queue, found.c.organization_id, found.c.job_type)
    rows = connection.execute(asked.execution_options(fairlane_across="claim"), named(queues))
    return [Lane(*row) for row in rows]


def ahead_in_lane(connection: Connection, job: AnyRow, *, up_to: int) -> int:
    """Count the ready jobs of the lane before this job, up to `up_to`, by the ready index."""
    order = (live.c.priority, live.c.run_at, live.c.id)
    earlier = (
        select(live.c.id)
        .where(
            live.c.ready,
            live.c.queue == job.queue,
            live.c.organization_id == job.organization_id,
            live.c.job_type == job.job_type,
            tuple_(*order) < tuple_(job.priority, job.run_at, job.id, types=[column.type for column in order]),
        )
        # In the order of the ready index: otherwise the planner may scan all jobs of the type.
        .order_by(*order)
        .limit(up_to)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(earlier)).scalar_one()


class InLine(NamedTuple):
    """The ready jobs of a lane: their number, up to a cap, and the time since when the next one could have started."""

    lane: Lane
    size: int
    since: datetime


_MINE: Final = "queue = given.queue AND organization_id = given.organization AND job_type = given.job_type"
_LANES: Final = f"""
SELECT given.queue, given.organization, given.job_type,
  (SELECT count(*) FROM (SELECT 1 FROM fairlane_live WHERE {{ready}} AND {_MINE} LIMIT :up_to) AS counted) AS size,
  (SELECT coalesce(next_retry_at, run_at) FROM fairlane_live WHERE {{ready}} AND {_MINE}
    ORDER BY priority, run_at, id LIMIT 1) AS since
FROM {{given}}
"""  # noqa: S608 - a constant


def in_line(connection: Connection, lanes: Iterable[Lane], *, up_to: int) -> list[InLine]:
    """Return the ready jobs in each of these lanes, by the ready index.

    Each lane is counted up to the cap, so a longer backlog costs no more.
    """
    rows = [[one.queue, one.organization, one.job_type] for one in lanes]
    found = connection.execute(_in_line(engine_of(connection)), {"given": as_given(rows), "up_to": up_to})
    # A lane may have become empty meanwhile.
    return [InLine(Lane(*lane), size, since) for *lane, size, since in found if since is not None]


@cache
def _in_line(engine: DatabaseEngine) -> TextualSelect:
    made = text(_LANES.format(ready=engine.ready, given=given("queue", "organization", "job_type")))
    since = column("since", live.c.run_at.type)
    return made.columns(column("queue"), column("organization"), column("job_type"), column("size", Integer), since)


# A lane's ready jobs lie by priority, and those of a priority by `run_at`: one probe of the index for each priority.
_FIRSTS: Final = " UNION ALL ".join(
    f"""SELECT (SELECT coalesce(next_retry_at, run_at) FROM fairlane_live
    WHERE {{ready}} AND {_MINE} AND priority = {rank} ORDER BY run_at, id LIMIT 1) AS due"""  # noqa: S608 - constants
    for rank in sorted(PRIORITY_RANK.values())
)
_OLDEST: Final = f"""
SELECT given.queue, given.organization, given.job_type, (SELECT min(due) FROM ({_FIRSTS}) AS firsts) AS since
FROM {{given}}
"""  # noqa: S608 - a constant


def oldest_in_line(connection: Connection, lanes: Iterable[Lane]) -> dict[Lane, datetime]:
    """Return since when the oldest ready job of each of these lanes could have started, by the ready index.

    Of a priority that is the first job by `run_at`: if it is a retry, an older one that never ran may stand behind it.
    """
    rows = [[one.queue, one.organization, one.job_type] for one in lanes]
    found = connection.execute(_oldest(engine_of(connection)), {"given": as_given(rows)})
    # A lane may have become empty meanwhile.
    return {Lane(*lane): since for *lane, since in found if since is not None}


@cache
def _oldest(engine: DatabaseEngine) -> TextualSelect:
    made = text(_OLDEST.format(ready=engine.ready, given=given("queue", "organization", "job_type")))
    since = column("since", live.c.run_at.type)
    return made.columns(column("queue"), column("organization"), column("job_type"), since)


class Mark(NamedTuple):
    """The start of a lane's ready jobs: no job before it is ready. `run_at` and `id` are in SQL's form."""

    priority: int
    run_at: str
    id: str


# The number of running jobs on all workers.
Running: TypeAlias = Counter[Pair]


class RunningRow(NamedTuple):
    """The number of running jobs of a type and an organization on a worker."""

    worker: UUID
    job_type: str
    organization: str
    number: int


@cache
def who_runs(engine: DatabaseEngine) -> TextualSelect:
    """Return the statement for the rows that `counted` reads. The status is part of its text: see `fixed`."""
    read = engine.statement("who_runs").bindparams(bindparam("status", JobStatus.RUNNING.value, literal_execute=True))
    columns = (live.c.worker_id, live.c.job_type, live.c.organization_id, column("number", Integer))
    return read.columns(*columns).execution_options(fairlane_across="claim")


def running(connection: Connection) -> Running:
    """Count all running jobs."""
    return counted(running_rows(connection))


def running_rows(connection: Connection) -> list[RunningRow]:
    """Return the numbers of running jobs by worker, for `counted`."""
    return [RunningRow(*row) for row in connection.execute(who_runs(engine_of(connection)))]


async def running_rows_on(line: Line) -> list[RunningRow]:
    """Return the numbers of running jobs by worker, for `counted`, on the event loop."""
    return [RunningRow(*row) for row in await line.fetch(who_runs(line.database.kind), {})]


def counted(rows: Iterable[Iterable[Any]]) -> Running:
    """Count all running jobs from the rows of `who_runs`."""
    found: Running = Counter()
    for _, job_type, organization, number in rows:
        found[Pair(organization, job_type)] += number
    return found


class OwnStanding(NamedTuple):
    """The standing of an organization in Fairlane's own directory."""

    status: str
    max_running: int | None
    weight: int


class Sight(NamedTuple):
    """The data of a claim round: restrictions, lanes and running jobs.

    `lanes`: those with a ready job, each with its organization's standing in Fairlane's own directory. `marks`: the
    starts of their ready jobs, on PostgreSQL. `paused` is as in a `Beginning`. `options`: of all job types, as JSON
    text.
    """

    now: datetime
    lanes: dict[Lane, OwnStanding | None]
    marks: dict[Lane, Mark]
    paused: frozenset[tuple[str, str]]
    running: list[RunningRow]
    breakers: list[Breaker]
    options: Mapping[str, str]
    overrides: Mapping[Subject, Mapping[str, Any]]


def look(connection: Connection, clock: Clock, queues: Collection[str] | None, *, suspended: bool) -> Sight:
    """Read all that a worker needs for a claim round.

    Args:
        queues: the worker's queues; None = all.
        suspended: as for `begin_claim`.
    """
    engine = engine_of(connection)
    questions = _questions(engine, is_named=queues is not None, suspended=suspended)
    return _seen(*engine.ask(connection, clock, questions, named(queues)))


async def look_on(line: Line, queues: Collection[str] | None, *, suspended: bool) -> Sight:
    """Read all that a worker needs for a claim round, on the event loop."""
    questions = _questions(line.database.kind, is_named=queues is not None, suspended=suspended)
    return _seen(*await line.ask(questions, named(queues)))


def _questions(engine: DatabaseEngine, *, is_named: bool, suspended: bool) -> tuple[Question, ...]:
    return (
        active(engine, is_named=is_named),
        breakers.OPEN,
        job_types.OPTIONS,
        running_limits.OVERRIDES,
        who_runs(engine),
        *_restrictions(suspended=suspended),
    )


def _seen(now: datetime, _lease_seconds: float, found: list[Rows]) -> Sight:
    active, open_, options, overrides, running, *paused = found
    return Sight(
        now,
        {Lane(*row[:3]): OwnStanding(*row[3:6]) if row[3] is not None else None for row in active},
        {Lane(*row[:3]): Mark(*row[6:]) for row in active if row[6] is not None},
        _held(paused),
        [RunningRow(*row) for row in running],
        [breakers.breaker_of(row) for row in open_],
        dict(options),
        running_limits.overrides_of(overrides),
    )


class Beginning(NamedTuple):
    """The state at the beginning of a claim. `paused`: (subject, name) of all pauses and suspensions."""

    now: datetime
    paused: frozenset[tuple[str, str]]
    running: Sequence[RunningRow]


def begin_claim(
    connection: Connection,
    clock: Clock,
    worker_id: UUID,
    *,
    lease: float,
    suspended: bool,
    running: Sequence[RunningRow] | None = None,
) -> Beginning | None:
    """Lock the worker's row for a claim until the transaction ends; None if it has no valid lease.

    Args:
        lease: how many seconds the claim may be idle before PostgreSQL ends it.
        suspended: also treat organizations that are suspended in Fairlane's own directory as paused.
        running: the known numbers of running jobs; None = count them.
    """
    restrictions = _restrictions(suspended=suspended)
    # First, in a separate statement: the reads below then see what the lock has waited for.
    engine = engine_of(connection)
    # PostgreSQL's timeouts have at most 24 days.
    hold = engine.statement("hold_worker").bindparams(bindparam("worker", type_=Uuid))
    lease_expires = connection.scalars(hold, {"worker": worker_id, "pause": f"{ceil(min(lease, DAY))}s"}).one_or_none()
    if lease_expires is None:
        return None
    counts = (who_runs(engine),) if running is None else ()
    now, lease_seconds, found = engine.ask(connection, clock, (*restrictions, *counts), {})
    if lease_expires <= lease_seconds:
        return None
    held = _held(found[: len(restrictions)])
    rows = [RunningRow(*row) for row in found[-1]] if running is None else running
    return Beginning(now, held, rows)


def _restrictions(*, suspended: bool) -> tuple[Question, ...]:
    return (job_types.PAUSED, job_types.SUSPENDED) if suspended else (job_types.PAUSED,)


def _held(found: Iterable[Rows]) -> frozenset[tuple[str, str]]:
    return frozenset((subject, name) for rows in found for subject, name in rows)
