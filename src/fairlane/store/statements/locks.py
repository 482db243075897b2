"""The lock of a job: only its holder may change the job's state.

The lock is the job's row in `live`. An ended job has no row there, so its row in `jobs` is its lock, and a revival
takes that first. A caller who finds no live row locks the facts, and then the job's state in the table where it is by
then: the job may have been revived in between. If the caller's snapshot is older than that, the lock of the state
fails, because the caller can't see the job's new state.
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
        skip_locked: skip jobs whose state or facts are locked; else wait for them.

    Returns:
        The rows of `select_whole` by id, without parameters, read under the locks. An unknown job has none.
    """
    wanted = set(ids)
    if engine_of(connection).writers_are_serial:
        return _read(connection, organization, wanted)
    if skip_locked:
        # A host may lock the facts, which errors and dead letters refer to: their foreign keys would wait for it.
        wanted = _lock(connection, jobs, organization, wanted, skip_locked=True, shares=True)
    locked = _lock(connection, live, organization, wanted, skip_locked=skip_locked)
    others = _lock(connection, jobs, organization, wanted - locked, skip_locked=skip_locked)
    for table in (live, ended):
        locked |= _lock(connection, table, organization, others - locked, skip_locked=skip_locked)
    return _read(connection, organization, locked)


def lock_job(connection: Connection, organization: str, job_id: UUID) -> AnyRow | None:
    """Lock one job like `lock`; None if there is none."""
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
    """Read by a separate statement, whose snapshot is younger than the locks."""
    if not ids:
        return {}
    whole = select_whole(with_parameters=False).where(jobs.c.organization_id == organization)
    return {row.id: row for row in connection.execute(engine_of(connection).by_ids(whole, jobs.c.id, ids))}
