"""Reads for timelines: ends by the minute, submissions and a sample of ended jobs by step, each by an index."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Label,
    TextClause,
    TextualSelect,
    cast,
    column,
    extract,
    func,
    literal_column,
    select,
    text,
)

from fairlane.domain.breaker import Outcomes
from fairlane.domain.statuses import JobStatus
from fairlane.domain.timeline import Cell, EndedJob, Grid
from fairlane.store.engine import DatabaseEngine, engine_of
from fairlane.store.sql import as_given, fixed, given
from fairlane.store.statements.metrics import within
from fairlane.store.tables import AnyRow, Instant, ended, live, outcomes

_MOST_RUNNING: Final = 10_000
_COUNTS: Final = (func.sum(outcomes.c.completions), func.sum(outcomes.c.failures), func.sum(outcomes.c.seconds))
_MOST_ATTEMPTS_FIRST: Final = func.sum(outcomes.c.completions + outcomes.c.failures).desc()


def ends(
    connection: Connection, organization: str | None, grid: Grid, *, most: int | None = None
) -> dict[Cell, Outcomes]:
    """Return the outcomes of attempts by organization, job type and step; None = of all organizations, for operators.

    This reads the workers' counts: of one organization by its key, of all organizations by the minute.

    Args:
        most: only so many cells, those with most attempts. The busiest cell of each job type comes first.
    """
    cell = (outcomes.c.organization_id, outcomes.c.job_type, _place(grid))
    statement = select(*cell, *_COUNTS).where(*_during(grid)).group_by(*cell)
    if most is not None:
        of_type = func.row_number().over(partition_by=outcomes.c.job_type, order_by=_MOST_ATTEMPTS_FIRST)
        statement = statement.order_by(of_type > literal_column("1"), _MOST_ATTEMPTS_FIRST, *cell).limit(most)
    rows = connection.execute(within(statement, outcomes, organization))
    return {Cell(*row[:3]): Outcomes(*row[3:]) for row in rows}


def ends_by_type(connection: Connection, organization: str | None, grid: Grid) -> dict[str, Outcomes]:
    """Return the outcomes of all steps together, by job type, the type with most attempts first; None as in `ends`."""
    job_type = outcomes.c.job_type
    statement = select(job_type, *_COUNTS).where(*_during(grid)).group_by(job_type)
    rows = connection.execute(within(statement.order_by(_MOST_ATTEMPTS_FIRST, job_type), outcomes, organization))
    return {row[0]: Outcomes(*row[1:]) for row in rows}


def ends_of_all(connection: Connection, grid: Grid) -> dict[int, Outcomes]:
    """Return the outcomes of all organizations together, by step. For operators."""
    place = _place(grid)
    statement = select(place, *_COUNTS).where(*_during(grid)).group_by(place)
    rows = connection.execute(within(statement, outcomes, None))
    return {row[0]: Outcomes(*row[1:]) for row in rows}


def _during(grid: Grid) -> tuple[ColumnElement[bool], ...]:
    return outcomes.c.minute >= grid.start, outcomes.c.minute < grid.end


def _place(grid: Grid) -> Label[int]:
    """Return the step of a minute. In both databases the quotient of integers is an integer."""
    moment = cast(extract("epoch", outcomes.c.minute), BigInteger)
    return ((moment - int(grid.start.timestamp())) // int(grid.step.total_seconds())).label("place")


_SUBMITTED: Final = """
SELECT given.place, (
  SELECT count(*) FROM (
    SELECT 1 FROM fairlane_jobs AS job
    WHERE job.organization_id = :organization AND job.created_at >= {low} AND job.created_at < {high}
    LIMIT :up_to) AS counted) AS size
FROM {given}
"""


def submitted(connection: Connection, organization: str, grid: Grid, *, up_to: int) -> dict[int, int]:
    """Count the submissions in each step, up to `up_to`."""
    rows = [[str(place), low, high] for place, (low, high) in enumerate(pairwise(_moments(grid)))]
    values = {"organization": organization, "given": as_given(rows), "up_to": up_to}
    found = connection.execute(_submitted(engine_of(connection)), values)
    return {int(place): size for place, size in found}


@cache
def _submitted(engine: DatabaseEngine) -> TextClause:
    low, high = engine.moment("given.low"), engine.moment("given.high")
    return text(_SUBMITTED.format(given=given("place", "low", "high"), low=low, high=high))


# The newest ends of each cell, up to the wanted number.
_OF_CELL: Final = """
WHERE organization_id = given.organization AND job_type = given.job_type
  AND finished_at >= {since} AND finished_at < {until}
ORDER BY finished_at DESC LIMIT :each"""


def sample(connection: Connection, grid: Grid, cells: Sequence[Cell], *, each: int) -> list[EndedJob]:
    """Return the jobs that ended last in each of these cells, up to `each`."""
    moments = _moments(grid)
    rows = [[*one[:2], str(one.place), moments[one.place], moments[one.place + 1]] for one in cells]
    found = connection.execute(_ended(engine_of(connection)), {"given": as_given(rows), "each": each})
    return [_of(row) for row in found]


def _moments(grid: Grid) -> list[str]:
    """Return the beginnings of the grid's steps as texts."""
    return [Instant.as_text(at) for at in grid.beginnings]


@cache
def _ended(engine: DatabaseEngine) -> TextualSelect:
    rows = given("organization", "job_type", "place", "since", "until")
    columns = (ended.c.id, ended.c.started_at, ended.c.finished_at, ended.c.run_at, ended.c.attempt)
    names = ", ".join(one.name for one in columns)
    of_cell = _OF_CELL.format(since=engine.moment("given.since"), until=engine.moment("given.until"))
    made = text(f"""
SELECT given.organization, given.job_type, given.place, {", ".join(f"job.{one.name}" for one in columns)}
FROM {rows} {engine.few_of_each(f"organization_id, {names}", "fairlane_ended", of_cell)}
WHERE job.started_at IS NOT NULL AND job.organization_id = given.organization
""")  # noqa: S608 - Fairlane's names
    return made.columns(column("organization"), column("job_type"), column("place"), *columns)


def _of(row: AnyRow) -> EndedJob:
    organization, job_type, place, job_id, started_at, finished_at, run_at, attempt = row
    waited = max((started_at - run_at).total_seconds(), 0.0) if attempt == 1 else None
    ran = max((finished_at - started_at).total_seconds(), 0.0)
    return EndedJob(Cell(organization, job_type, int(place)), job_id, started_at, waited, ran, attempt)


def running_since(connection: Connection, organization: str) -> list[datetime]:
    """Return the start times of the running jobs, up to 10,000."""
    statement = (
        select(live.c.started_at)
        .where(live.c.organization_id == organization, live.c.status == fixed(JobStatus.RUNNING))
        .limit(_MOST_RUNNING)
    )
    return [at for at in connection.scalars(statement) if at is not None]
