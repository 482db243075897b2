"""Which lanes have something to claim, from where on, and what runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import BindParameter, Connection, Integer, TextualSelect, bindparam, column, text

from fairlane.domain.fairness import Lane
from fairlane.domain.statuses import JobStatus
from fairlane.store.dialects import is_sqlite
from fairlane.store.tables import jobs

# Skip scan: one index probe per lane, whatever the backlog. SELECT DISTINCT would read every ready entry.
_SKIP_SCAN: Final = text("""
WITH RECURSIVE lane AS (
  (SELECT queue, organization_id, job_type FROM fairlane_jobs WHERE ready
   ORDER BY queue, organization_id, job_type LIMIT 1)
  UNION ALL
  SELECT following.* FROM lane CROSS JOIN LATERAL (
    SELECT queue, organization_id, job_type FROM fairlane_jobs
    WHERE ready AND (queue, organization_id, job_type) > (lane.queue, lane.organization_id, lane.job_type)
    ORDER BY queue, organization_id, job_type LIMIT 1) AS following
)
SELECT queue, organization_id, job_type FROM lane
""")


# SQLite has no LATERAL, and for `(queue, organization, type) > (…)` it would read on through all entries that are
# equal: so the next lane is looked for in the same queue and organization, then in the same queue, then in all.
_FIRST: Final = """SELECT rowid FROM fairlane_jobs AS following WHERE ready = 1 {beyond}
      ORDER BY queue, organization_id, job_type LIMIT 1"""
_BEYOND: Final = (
    "AND queue = job.queue AND organization_id = job.organization_id AND job_type > job.job_type",
    "AND queue = job.queue AND organization_id > job.organization_id",
    "AND queue > job.queue",
)
_SKIP_SCAN_ON_SQLITE: Final = text(f"""
WITH RECURSIVE lane(job) AS (
  SELECT ({_FIRST.format(beyond="")})
  UNION ALL
  SELECT coalesce({", ".join(f"({_FIRST.format(beyond=beyond)})" for beyond in _BEYOND)})
  FROM lane JOIN fairlane_jobs AS job ON job.rowid = lane.job
)
SELECT queue, organization_id, job_type FROM lane JOIN fairlane_jobs AS job ON job.rowid = lane.job
""")  # noqa: S608 - a constant of ours


ACTIVE: Final = tuple(
    scan.columns(jobs.c.queue, jobs.c.organization_id, jobs.c.job_type).execution_options(fairlane_across="claim")
    for scan in (_SKIP_SCAN, _SKIP_SCAN_ON_SQLITE)
)


def active(connection: Connection) -> TextualSelect:
    """Asks for all lanes with a ready job; its cost goes by the number of lanes."""
    return ACTIVE[is_sqlite(connection)]


def active_lanes(connection: Connection) -> list[Lane]:
    """All lanes with a ready job."""
    return [Lane(*row) for row in connection.execute(active(connection))]


class Rung(NamedTuple):
    """The ready jobs of one priority in a lane, from the first one on."""

    priority: int
    run_at: datetime
    id: UUID


# The same by rung, each with its first job.
_RUNGS: Final = (
    text("""
WITH RECURSIVE rung AS (
  (SELECT queue, organization_id, job_type, priority, run_at, id FROM fairlane_jobs WHERE ready
   ORDER BY queue, organization_id, job_type, priority, run_at, id LIMIT 1)
  UNION ALL
  SELECT following.* FROM rung CROSS JOIN LATERAL (
    SELECT queue, organization_id, job_type, priority, run_at, id FROM fairlane_jobs
    WHERE ready AND (queue, organization_id, job_type, priority)
      > (rung.queue, rung.organization_id, rung.job_type, rung.priority)
    ORDER BY queue, organization_id, job_type, priority, run_at, id LIMIT 1) AS following
)
SELECT queue, organization_id, job_type, priority, run_at, id FROM rung
""")
    .columns(jobs.c.queue, jobs.c.organization_id, jobs.c.job_type, jobs.c.priority, jobs.c.run_at, jobs.c.id)
    .execution_options(fairlane_across="claim")
)


def active_rungs(connection: Connection) -> dict[Lane, list[Rung]]:
    """All lanes with a ready job, and their rungs by priority. Reading them takes longer than those of `active_lanes`.

    For PostgreSQL: what is dead stands in no claim's way on SQLite.
    """
    found = defaultdict[Lane, list[Rung]](list)
    for queue, organization, job_type, *rung in connection.execute(_RUNGS):
        found[Lane(queue, organization, job_type)].append(Rung(*rung))
    return dict(found)


# By worker, since each running job has one: else the planner may go through all jobs of some status for them.
_RUNNING: Final = """
SELECT worker_id, job_type, organization_id, count(*) AS number FROM fairlane_jobs
WHERE status = :status AND worker_id {of_any}
GROUP BY worker_id, job_type, organization_id
"""


# How many jobs run on all workers together, by job type and organization.
Running: TypeAlias = Counter[tuple[str, str]]


class RunningRow(NamedTuple):
    """How many jobs of a type and an organization run on a worker."""

    worker: UUID
    job_type: str
    organization: str
    number: int


def _running(of_any: str) -> TextualSelect:
    status: BindParameter[str] = bindparam("status", JobStatus.RUNNING.value, literal_execute=True)  # see `fixed`
    statement = text(_RUNNING.format(of_any=of_any)).bindparams(status)
    columns = (jobs.c.worker_id, jobs.c.job_type, jobs.c.organization_id, column("number", Integer))
    return statement.columns(*columns).execution_options(fairlane_across="claim")


WHO_RUNS: Final = (
    _running("= ANY(ARRAY(SELECT id FROM fairlane_workers))"),
    _running("IN (SELECT id FROM fairlane_workers)"),
)


def who_runs(connection: Connection) -> TextualSelect:
    """Asks for what `counted` reads."""
    return WHO_RUNS[is_sqlite(connection)]


def running(connection: Connection) -> Running:
    """All jobs that run, counted."""
    return counted(running_rows(connection))


def running_rows(connection: Connection) -> list[RunningRow]:
    """All jobs that run, for `counted`."""
    return [RunningRow(*row) for row in connection.execute(who_runs(connection))]


def counted(rows: Iterable[Iterable[Any]]) -> Running:
    """All jobs that run, from the rows of `who_runs`."""
    found: Running = Counter()
    for _, job_type, organization, number in rows:
        found[job_type, organization] += number
    return found
