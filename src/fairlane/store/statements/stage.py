"""Making due jobs ready: scheduled jobs whose time has come, and retries whose delay is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import (
    Connection,
    Integer,
    TextualSelect,
    and_,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    select,
    text,
    tuple_,
    update,
)

from fairlane.domain import transitions
from fairlane.domain.statuses import EdgeState, JobStatus
from fairlane.store.clock import Clock, beforehand
from fairlane.store.engine import DatabaseEngine, engine_of
from fairlane.store.sql import fixed
from fairlane.store.statements.transition import Change, write_all
from fairlane.store.tables import AnyRow, Instant, job_parents, live, revivals

_BATCH = 500

# The columns of due times, and the conditions of jobs that wait for them: the exact predicates of the indexes, as
# SQLite requires.
_SCHEDULED: Final = "run_at", f"status = '{JobStatus.PENDING}' AND unmet_parents = 0"
_RETRYING: Final = "next_retry_at", f"status = '{JobStatus.QUEUED}' AND {{not_ready}}"
# The writes need rows without a lease. A row with a lease would be first in every batch.
_DUE: Final = """
WHERE {waits} AND {moment} <= :now AND lease_token IS NULL {whose}
ORDER BY {moment} LIMIT {limit} {lock}"""
_OF_ALL: Final = "SELECT organization_id, id FROM fairlane_live"
# Two probes of the index for each organization with such jobs, and one more for each that has a turn. If more
# organizations have due jobs than fit a batch, those whose first job has been due longest have a turn.
_BY_TURNS: Final = """
WITH RECURSIVE mine(organization_id) AS (
  SELECT min(organization_id) FROM fairlane_live WHERE {waits}
  UNION ALL
  SELECT (SELECT min(organization_id) FROM fairlane_live WHERE {waits} AND organization_id > mine.organization_id)
  FROM mine WHERE mine.organization_id IS NOT NULL
), first AS MATERIALIZED (
  SELECT organization_id, (
    SELECT min({moment}) FROM fairlane_live AS job WHERE {waits} AND job.organization_id = mine.organization_id
  ) AS moment FROM mine WHERE organization_id IS NOT NULL
), turn AS (
  SELECT organization_id FROM first WHERE moment <= :now ORDER BY moment LIMIT :limit
)
SELECT job.organization_id, job.id FROM turn {join}"""


@dataclass(frozen=True, slots=True)
class DueWork:
    """The kinds of work that are due: a scheduled job, a retry, new edges.

    `revives`: the organization that has the turn to revive children of retried jobs.
    """

    scheduled: bool
    retry: bool
    has_new_edges: bool
    revives: str | None


def look(connection: Connection, clock: Clock, revived: str) -> DueWork:
    """Return the work to stage, by one statement: mostly there is none.

    The database compares the times: a time that Python can't represent would break the read for all organizations.

    Args:
        revived: the organization that had the last turn.
    """
    moment = beforehand(clock, connection)
    now = func.clock_timestamp() if moment is None else literal(moment, live.c.run_at.type)
    pending = and_(live.c.status == fixed(JobStatus.PENDING), live.c.unmet_parents == literal_column("0"))
    retrying = and_(live.c.status == fixed(JobStatus.QUEUED), ~live.c.ready)
    new = exists().where(job_parents.c.state == fixed(EdgeState.NEW))
    scheduled = select(func.min(live.c.run_at)).where(pending).scalar_subquery()
    retry = select(func.min(live.c.next_retry_at)).where(retrying).scalar_subquery()
    first = select(func.min(revivals.c.organization_id))
    following = first.where(revivals.c.organization_id > revived).scalar_subquery()
    statement = select(
        (scheduled <= now).label("scheduled"),
        (retry <= now).label("retry"),
        new.label("new"),
        func.coalesce(following, first.scalar_subquery()).label("revives"),
    )
    row = connection.execute(statement.execution_options(fairlane_across="stage")).one()
    return DueWork(bool(row.scheduled), bool(row.retry), bool(row.new), row.revives)


def ready_scheduled(connection: Connection, now: datetime, limit: int = _BATCH) -> int:
    """Queue pending jobs whose `run_at` is reached and whose parents are met; return their number."""
    due = _due(connection, now, limit, *_SCHEDULED)
    transition = transitions.make_ready("its time has come")
    return len(write_all(connection, now, [Change(row.organization_id, row.id, transition) for row in due]))


def ready_retries(connection: Connection, now: datetime, limit: int = _BATCH) -> int:
    """Make queued jobs ready whose `next_retry_at` is reached; return their number. They stay queued: no transition.

    Their `run_at` becomes the time of the retry: otherwise a job with many retries would always go before later jobs.
    """
    due = _due(connection, now, limit, *_RETRYING)
    if not due:
        return 0
    made_ready = connection.execute(
        update(live)
        .where(tuple_(live.c.organization_id, live.c.id).in_([(row.organization_id, row.id) for row in due]))
        # A job may have been canceled meanwhile: then it is skipped.
        .where(live.c.status == JobStatus.QUEUED)
        .values(ready=True, run_at=live.c.next_retry_at)
    )
    return made_ready.rowcount


def _due(connection: Connection, now: datetime, limit: int, moment: str, waits: str) -> Sequence[AnyRow]:
    """Lock due jobs and return their keys: all of them, or a batch with equal numbers for each organization."""
    oldest, by_turns = _reads(engine_of(connection), moment, waits)
    due = connection.execute(oldest, {"now": now, "limit": limit}).all()
    return due if len(due) < limit else connection.execute(by_turns, {"now": now, "limit": limit}).all()


@cache
def _reads(engine: DatabaseEngine, moment: str, waits: str) -> tuple[TextualSelect, TextualSelect]:
    """Return two statements: for the oldest of all, and for equal numbers of each organization."""
    words = {"moment": moment, "waits": waits.format(not_ready=engine.not_ready), "lock": engine.skip_locked}
    of_all = _DUE.format(whose="", limit=":limit", **words)
    of_turn = _DUE.format(
        whose="AND organization_id = turn.organization_id", limit="(SELECT :limit / count(*) FROM turn)", **words
    )
    join = engine.few_of_each("organization_id, id", "fairlane_live", of_turn)
    return _read(_OF_ALL + of_all), _read(_BY_TURNS.format(join=join, **words))


def _read(statement: str) -> TextualSelect:
    bound = text(statement).bindparams(bindparam("now", type_=Instant), bindparam("limit", type_=Integer))
    return bound.columns(live.c.organization_id, live.c.id).execution_options(fairlane_across="stage")
