"""The graph of jobs that depend on each other, as people look at it."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Connection, select

from fairlane.domain.graph import Edge
from fairlane.store.statements.whole import HAS_STATE, STATE, WHOLE
from fairlane.store.tables import AnyRow, job_parents, jobs


def edges_at(connection: Connection, organization: str, ids: Collection[UUID], *, limit: int) -> list[Edge]:
    """Return the edges that lead to these jobs, then those that lead away from them, `limit` of them at most."""
    edge = select(job_parents.c.parent_id, job_parents.c.job_id).where(job_parents.c.organization_id == organization)
    found: list[Edge] = []
    for end in (job_parents.c.job_id, job_parents.c.parent_id):
        found += [Edge(*row) for row in connection.execute(edge.where(end.in_(ids)).limit(limit - len(found)))]
    return found


def nodes(connection: Connection, organization: str, ids: Collection[UUID]) -> Sequence[AnyRow]:
    """Return what the graph shows of each of these jobs."""
    shown = (
        jobs.c.id,
        jobs.c.job_type,
        jobs.c.created_at,
        *(STATE[name] for name in ("status", "attempt", "started_at", "finished_at")),
    )
    mine = (jobs.c.organization_id == organization, jobs.c.id.in_(ids), HAS_STATE)
    return connection.execute(select(*shown).select_from(WHOLE).where(*mine)).all()
