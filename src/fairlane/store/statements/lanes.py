"""Which lanes have something to claim. A lane is one job type of one organization in one queue."""

from typing import NamedTuple

from sqlalchemy import Connection, select, text, true, tuple_

from fairlane.store.dialects import is_sqlite
from fairlane.store.tables import jobs


class Lane(NamedTuple):
    """The first three columns of the ready index."""

    queue: str
    organization: str
    job_type: str


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
    key = tuple_(jobs.c.queue, jobs.c.organization_id, jobs.c.job_type)
    probe = (
        select(jobs.c.queue, jobs.c.organization_id, jobs.c.job_type)
        .where(jobs.c.ready == true())
        .order_by(jobs.c.queue, jobs.c.organization_id, jobs.c.job_type)
        .limit(1)
        .execution_options(fairlane_across="claim")
    )
    row = connection.execute(probe).one_or_none()
    while row is not None:
        found.append(Lane(*row))
        row = connection.execute(probe.where(key > found[-1])).one_or_none()
    return found
