"""Counts of an organization's jobs, each of which stops at its cap."""

from sqlalchemy import Connection, Subquery, func, literal, select, union_all

from fairlane.domain.statuses import JobStatus
from fairlane.store.dialects import fixed
from fairlane.store.statements.job_list import Wanted, conditions, sources
from fairlane.store.tables import dead_letters, ended


def count(connection: Connection, organization: str, wanted: Wanted, *, up_to: int) -> int:
    """Return how many there are, counted no further than `up_to`."""
    counted = select(func.count()).select_from(_some(organization, wanted, up_to))
    return connection.execute(counted).scalar_one()


def count_by_status(connection: Connection, organization: str, wanted: Wanted, *, up_to: int) -> dict[str, int]:
    """Return how many there are in each status, of no more than `up_to` in all, whichever they are."""
    some = _some(organization, wanted, up_to, by_status=True)
    found = connection.execute(select(some.c.status, func.count().label("size")).group_by(some.c.status))
    return {row.status: row.size for row in found}


def count_by_themselves(connection: Connection, organization: str, wanted: Wanted, *, up_to: int) -> tuple[int, int]:
    """Return how many dead letters there are, counted no further than `up_to`, and how many without a parent that is.

    Those with one follow it when it is retried.
    """
    some, letter, parent = _some(organization, wanted, up_to), dead_letters.c, ended.alias("parent").c
    # A value and not EXISTS, which PostgreSQL would make a join of all dead letters.
    follows = select(literal(1)).where(
        letter.organization_id == organization,
        letter.job_id == some.c.id,
        parent.organization_id == organization,
        parent.id == letter.caused_by,
        parent.status == fixed(JobStatus.DEAD_LETTER),
    )
    leading = func.count().filter(follows.scalar_subquery().is_(None))
    fitting, by_themselves = connection.execute(select(func.count(), leading).select_from(some)).one()
    return fitting, by_themselves


def _some(organization: str, wanted: Wanted, up_to: int, *, by_status: bool = False) -> Subquery:
    """Return the ids of so many jobs that fit, whichever they are; `by_status`: also the status of each."""
    each = []
    for one in sources(wanted, in_order=False, by_status=by_status):
        shown = (one.base.c.id, *((one.state["status"],) if by_status else ()))
        found = select(*shown).select_from(one.rows).where(*conditions(organization, wanted, one))
        each.append(select(found.limit(up_to).subquery()))
    return (union_all(*each) if len(each) > 1 else each[0]).limit(up_to).subquery()
