"""Which lanes have something to claim, and what runs."""

from collections import Counter
from collections.abc import Mapping
from operator import eq
from typing import Final

from sqlalchemy import BindParameter, Connection, TextClause, bindparam, select, text, true

from fairlane.domain.fairness import Lane
from fairlane.domain.statuses import JobStatus
from fairlane.store.dialects import is_sqlite
from fairlane.store.tables import jobs

# Skip scan: one index probe per lane, whatever the backlog. SELECT DISTINCT would read every ready entry.
_SKIP_SCAN = text("""
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
""").execution_options(fairlane_across="claim")


def active_lanes(connection: Connection) -> list[Lane]:
    """All lanes with a ready job; its cost goes by the number of lanes."""
    if not is_sqlite(connection):
        return [Lane(*row) for row in connection.execute(_SKIP_SCAN)]
    # SQLite has no LATERAL; a probe costs it no round trip, so the loop is here.
    found: list[Lane] = []
    lane = _first(connection, ())
    while lane is not None:
        found.append(lane)
        # Not `(queue, organization, type) > (…)`: SQLite would read on through all entries that are equal.
        probes = (_first(connection, lane[:depth], beyond=lane[depth]) for depth in (2, 1, 0))
        lane = next((one for one in probes if one is not None), None)
    return found


def _first(connection: Connection, begin: tuple[str, ...], *, beyond: str | None = None) -> Lane | None:
    """SQLite's first lane whose columns begin so, and of which the next column is beyond that value."""
    columns = (jobs.c.queue, jobs.c.organization_id, jobs.c.job_type)
    statement = select(*columns).where(jobs.c.ready == true(), *map(eq, columns, begin))
    if beyond is not None:
        statement = statement.where(columns[len(begin)] > beyond)
    row = connection.execute(
        statement.order_by(*columns).limit(1).execution_options(fairlane_across="claim")
    ).one_or_none()
    return Lane(*row) if row is not None else None


# By worker, since each running job has one: else the planner may go through all jobs of some status for them.
_RUNNING: Final = """
SELECT job_type, organization_id, count(*) FROM fairlane_jobs
WHERE status = :status AND worker_id {of_any}
GROUP BY worker_id, job_type, organization_id
"""


def _running(of_any: str) -> TextClause:
    status: BindParameter[str] = bindparam("status", JobStatus.RUNNING.value, literal_execute=True)  # see `fixed`
    return text(_RUNNING.format(of_any=of_any)).bindparams(status).execution_options(fairlane_across="claim")


_ON_POSTGRES: Final = _running("= ANY(ARRAY(SELECT id FROM fairlane_workers))")
_ON_SQLITE: Final = _running("IN (SELECT id FROM fairlane_workers)")


def running(connection: Connection) -> Mapping[tuple[str, str], int]:
    """Running jobs by (job type, organization), whoever's workers run them."""
    statement = _ON_SQLITE if is_sqlite(connection) else _ON_POSTGRES
    found: Counter[tuple[str, str]] = Counter()
    for job_type, organization, number in connection.execute(statement).all():
        found[job_type, organization] += number
    return found
