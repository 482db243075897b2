"""The lock of a job: whoever holds it may change the job's state, and nobody else does so meanwhile.

It is the job's row in `live`. A job that has ended has none there, so its row in `jobs` is its lock: whoever brings it
back to life takes that first. Whoever finds no live row locks the facts, and then the job's state, wherever it stands
by then: the job may have come back in between. Where a caller's snapshot is older than that, the lock of the state
fails, as the caller could not see what the job has become.
"""

from collections.abc import Collection, Iterable
from uuid import UUID

from sqlalchemy import Connection, Table, select

from fairlane.store.engine import engine_of
from fairlane.store.statements.rows import select_whole
from fairlane.store.tables import AnyRow, ended, jobs, live


def lock(
    connection: Connection, organization: str, ids: Iterable[UUID], *, skip_locked: bool = False
) -> dict[UUID, AnyRow]:
    """Lock an organization's jobs until the transaction ends, in the order of their ids.

    Args:
        skip_locked: leave out those of which somebody holds the state or the facts; else wait for them.

    Returns:
        The rows of `select_whole` by id, without parameters, as they are under their locks. A job that is not there has
        none.
    """
    wanted = set(ids)
    if engine_of(connection).writers_are_serial:
        return _read(connection, organization, wanted)
    if skip_locked:
        # A host may hold the facts, which errors and dead letters refer to: their foreign keys would wait for it.
        wanted = _lock(connection, jobs, organization, wanted, skip_locked=True, shares=True)
    locked = _lock(connection, live, organization, wanted, skip_locked=skip_locked)
    others = _lock(connection, jobs, organization, wanted - locked, skip_locked=skip_locked)
    for table in (live, ended):
        locked |= _lock(connection, table, organization, others - locked, skip_locked=skip_locked)
    return _read(connection, organization, locked)


def lock_job(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Lock one job, as `lock` does; None if there is none."""
    return lock(connection, organization, [job_id]).get(job_id)


def _lock(
    connection: Connection,
    table: Table,
    organization: str,
    ids: Collection[UUID],
    *,
    skip_locked: bool,
    shares: bool = False,
) -> set[UUID]:
    if not ids:
        return set()
    # NO KEY: a host's open foreign-key reference to the job must not block this.
    locked = (
        select(table.c.id)
        .where(table.c.organization_id == organization)
        .with_for_update(read=shares, key_share=True, skip_locked=skip_locked)
    )
    return set(connection.scalars(engine_of(connection).by_ids(locked, table.c.id, ids)))


def _read(connection: Connection, organization: str, ids: Collection[UUID]) -> dict[UUID, AnyRow]:
    """Read in a statement of its own: its snapshot is younger than the locks."""
    if not ids:
        return {}
    whole = select_whole(with_parameters=False).where(jobs.c.organization_id == organization)
    return {row.id: row for row in connection.execute(engine_of(connection).by_ids(whole, jobs.c.id, ids))}
