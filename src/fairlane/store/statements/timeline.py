"""What a timeline is made of: ends by the minute, submissions and a sample of ended jobs by step, each by an index."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Final

from sqlalchemy import Connection, TextClause, TextualSelect, column, func, select, text

from fairlane.domain.breaker import Outcomes
from fairlane.domain.ids import first_id
from fairlane.domain.statuses import JobStatus
from fairlane.domain.timeline import Cell, Ended, Grid
from fairlane.store.dialects import fixed, given, is_sqlite
from fairlane.store.tables import AnyRow, Instant, jobs, outcomes

_MOST_RUNNING: Final = 10_000


def ends(connection: Connection, organization: str | None, grid: Grid) -> dict[Cell, Outcomes]:
    """How attempts ended, by job type and step; None = of all organizations, and of all types together ("").

    Reads the counts that workers keep anyway, of one organization by its key, of all by the minute.
    """
    counts = (func.sum(outcomes.c.completions), func.sum(outcomes.c.failures), func.sum(outcomes.c.seconds))
    minute = outcomes.c.minute
    # Minutes are put into steps here or by PostgreSQL, which returns the fewer rows.
    binned = minute if is_sqlite(connection) else func.date_bin(grid.step, minute, grid.start, type_=minute.type)
    step = binned.label("step")
    if organization is None:
        statement = select(step, *counts).group_by(step)
        statement = statement.execution_options(fairlane_across="operator reads")
    else:
        statement = (
            select(step, *counts, outcomes.c.job_type)
            .where(outcomes.c.organization_id == organization)
            .group_by(outcomes.c.job_type, step)
        )
    found: dict[Cell, Outcomes] = {}
    for at, completions, failures, seconds, *of_type in connection.execute(statement.where(minute >= grid.start)):
        place = grid.place(at)
        if place is not None:
            cell = Cell(of_type[0] if of_type else "", place)
            found[cell] = found.get(cell, Outcomes()).plus(Outcomes(completions, failures, seconds))
    return found


# An id has the moment of its submission in it, so the primary key has jobs in this order.
_SUBMITTED: Final = """
SELECT given.place, (
  SELECT count(*) FROM (
    SELECT 1 FROM fairlane_jobs AS job
    WHERE job.organization_id = :organization AND job.id >= {low} AND job.id < {high} LIMIT :up_to) AS counted) AS size
FROM {given}
"""


def submitted(connection: Connection, organization: str, grid: Grid, *, up_to: int) -> dict[int, int]:
    """How many jobs were submitted in each step, counted no further than `up_to`, by their ids."""
    ids = [first_id(at).hex for at in grid.beginnings]
    rows = [[str(place), low, high] for place, (low, high) in enumerate(pairwise(ids))]
    values = {"organization": organization, "given": json.dumps(rows), "up_to": up_to}
    found = connection.execute(_submitted(sqlite=is_sqlite(connection)), values)
    return {int(place): size for place, size in found}


@cache
def _submitted(*, sqlite: bool) -> TextClause:
    low, high = ("given.low", "given.high") if sqlite else ("CAST(given.low AS uuid)", "CAST(given.high AS uuid)")
    return text(_SUBMITTED.format(given=given("place", "low", "high", sqlite=sqlite), low=low, high=high))


# The newest ends of each cell, and no more of them than are asked for.
_ENDED: Final = """
SELECT given.job_type, given.place, job.started_at, job.finished_at, job.run_at, job.attempt
FROM {given} {join} (
  SELECT {columns} FROM fairlane_jobs AS ended
  WHERE ended.organization_id = :organization AND ended.job_type = given.job_type
    AND ended.finished_at >= {since} AND ended.finished_at < {until}
  ORDER BY ended.finished_at DESC LIMIT :each) {on}
WHERE job.started_at IS NOT NULL {bound}
"""


def sample(connection: Connection, organization: str, grid: Grid, cells: Sequence[Cell], *, each: int) -> list[Ended]:
    """The jobs that ended last in each of these cells, `each` of them at most."""
    dialect, beginnings = connection.dialect, grid.beginnings
    moments = [str(Instant().process_bind_param(at, dialect)) for at in beginnings]
    rows = [[one.job_type, str(one.place), moments[one.place], moments[one.place + 1]] for one in cells]
    values = {"organization": organization, "given": json.dumps(rows), "each": each}
    found = connection.execute(_ended(sqlite=is_sqlite(connection)), values)
    return [_of(row) for row in found]


@cache
def _ended(*, sqlite: bool) -> TextualSelect:
    rows = given("job_type", "place", "since", "until", sqlite=sqlite)
    columns = (jobs.c.started_at, jobs.c.finished_at, jobs.c.run_at)
    names = "ended.started_at, ended.finished_at, ended.run_at, ended.attempt"
    bound = "AND job.organization_id = :organization"
    parts = {
        True: {"join": "JOIN fairlane_jobs AS job ON job.rowid IN", "columns": "ended.rowid", "on": "", "bound": bound},
        False: {"join": "CROSS JOIN LATERAL", "columns": names, "on": "AS job", "bound": ""},
    }[sqlite]
    since, until = (f"given.{one}" if sqlite else f"CAST(given.{one} AS timestamptz)" for one in ("since", "until"))
    made = text(_ENDED.format(given=rows, since=since, until=until, **parts))
    return made.columns(column("job_type"), column("place"), *columns, jobs.c.attempt)


def _of(row: AnyRow) -> Ended:
    job_type, place, started_at, finished_at, run_at, attempt = row
    waited = max((started_at - run_at).total_seconds(), 0.0) if attempt == 1 else None
    ran = max((finished_at - started_at).total_seconds(), 0.0)
    return Ended(Cell(job_type, int(place)), started_at, waited, ran)


def running_since(connection: Connection, organization: str) -> list[datetime]:
    """When the jobs that run now have started, of 10,000 at most."""
    statement = (
        select(jobs.c.started_at)
        .where(jobs.c.organization_id == organization, jobs.c.status == fixed(JobStatus.RUNNING))
        .limit(_MOST_RUNNING)
    )
    return [at for at in connection.scalars(statement) if at is not None]
