"""Reviving dead letters: what a retried parent took down waits for it again."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, Uuid, bindparam, case, func, select, text, update

from fairlane.domain import transitions
from fairlane.domain.statuses import EdgeState, JobStatus, Resolution
from fairlane.store.dialects import is_sqlite
from fairlane.store.statements.locks import lock
from fairlane.store.statements.transition import Change, write_all
from fairlane.store.tables import dead_letters, ended, job_parents, jobs, live

_BATCH = 500

# One probe of the index of causes per parent: without statistics both databases prefer to read all that are undecided.
# What was decided is looked at behind the probe, so that PostgreSQL can't take the index of decisions for it.
_BELOW: Final = """
WITH RECURSIVE below(job_id) AS (
  SELECT id FROM fairlane_jobs WHERE organization_id = :organization AND id IN :parents
  UNION
  SELECT letter.job_id FROM below CROSS JOIN {letter} WHERE letter.resolution = :undecided)
SELECT job_id FROM below WHERE job_id NOT IN :parents ORDER BY job_id
"""
_PROBE: Final = """LATERAL (
    SELECT job_id, resolution FROM fairlane_dead_letters
    WHERE organization_id = :organization AND caused_by = below.job_id OFFSET 0) AS letter"""
_SQLITE_PROBE: Final = """fairlane_dead_letters AS letter INDEXED BY fairlane_dead_letters_cause
    ON letter.organization_id = :organization AND letter.caused_by = below.job_id"""


def revive_children(connection: Connection, now: datetime, organization: str, parent_id: UUID, actor: str) -> int:
    """Bring back what the retried parent took down, and what those took down in turn.

    Every edge of a revived child becomes `new`, unless its parent completed: so a second parent that failed meanwhile
    takes it down again, instead of being forgotten.

    Returns:
        How many jobs wait again.
    """
    wave, revived = [parent_id], 0
    # Once more after those: what was just being taken down, by whoever held a parent's row, is seen behind its lock.
    while wave:
        fallen = [one for some in _batches(wave) for one in _taken_down(connection, organization, some)]
        wave = [one for some in _batches(fallen) for one in _revive(connection, now, organization, some, actor)]
        revived += len(wave)
    return revived


def _batches(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (ids[at : at + _BATCH] for at in range(0, len(ids), _BATCH))


def _taken_down(connection: Connection, organization: str, parents: Sequence[UUID]) -> Sequence[UUID]:
    """Return the dead letters below these parents, however deep, but for those about which a person has decided."""
    below = text(_BELOW.format(letter=_SQLITE_PROBE if is_sqlite(connection) else _PROBE)).bindparams(
        bindparam("parents", parents, type_=Uuid(), expanding=True),
        organization=organization,
        undecided=Resolution.PENDING,
    )
    return connection.scalars(below.columns(job_id=Uuid())).all()


def _revive(connection: Connection, now: datetime, organization: str, ids: Sequence[UUID], actor: str) -> list[UUID]:
    locked = lock(connection, organization, ids)
    # A person may have retried one by itself meanwhile, or decided that it stays a dead letter.
    among = (dead_letters.c.organization_id == organization) & dead_letters.c.job_id.in_(sorted(locked))
    undecided = select(dead_letters.c.job_id).where(among, dead_letters.c.resolution == Resolution.PENDING)
    children = sorted(connection.scalars(undecided))
    unmet = _reopen_edges(connection, organization, children)
    reason = "its parent was retried"
    changes = [
        Change(organization, child, transitions.revive_pending(reason, unmet.get(child, 0)), actor)
        for child in children
    ]
    write_all(connection, now, changes)
    theirs = (dead_letters.c.organization_id == organization) & dead_letters.c.job_id.in_(children)
    connection.execute(dead_letters.delete().where(theirs))
    return children


def _reopen_edges(connection: Connection, organization: str, children: Sequence[UUID]) -> dict[UUID, int]:
    """Return how many parents each child waits for, where it waits for any."""
    completed = (
        select(ended.c.id)
        .where(
            ended.c.organization_id == organization,
            ended.c.id == job_parents.c.parent_id,
            ended.c.status == JobStatus.COMPLETED,
        )
        .exists()
    )
    mine = (job_parents.c.organization_id == organization) & job_parents.c.job_id.in_(children)
    connection.execute(update(job_parents).where(mine, ~completed).values(state=EdgeState.NEW))
    waiting = (
        select(job_parents.c.job_id, func.count().label("total"))
        .where(mine, job_parents.c.state == EdgeState.NEW)
        .group_by(job_parents.c.job_id)
    )
    return {row.job_id: row.total for row in connection.execute(waiting)}


def hold_parents(connection: Connection, organization: str, child: UUID) -> None:
    """Keep the job's parents from being deleted, as a submission does: a deletion under way is waited for."""
    parents = select(job_parents.c.parent_id).where(
        job_parents.c.organization_id == organization, job_parents.c.job_id == child
    )
    connection.execute(
        select(jobs.c.id)
        .where(jobs.c.organization_id == organization, jobs.c.id.in_(parents))
        .order_by(jobs.c.id)
        .with_for_update(read=True, key_share=True)
    )


def wait_for_live_parents(connection: Connection, organization: str, child: UUID) -> int:
    """Let a job that a person retries wait for those of its parents that have not ended; how many.

    One that has ended is passed over, as the person decided: also where its edge was to be looked at yet, or the look
    would count it against those that the job waits for, and take it down again for one that was canceled.
    """
    lives = select(live.c.id).where(live.c.organization_id == organization, live.c.id == job_parents.c.parent_id)
    # One statement, so that a parent which ends meanwhile is either waited for or passed over.
    states = connection.scalars(
        update(job_parents)
        .where(job_parents.c.organization_id == organization, job_parents.c.job_id == child)
        .values(state=case((lives.exists(), EdgeState.NEW), else_=EdgeState.SETTLED))
        .returning(job_parents.c.state)
    )
    return sum(state == EdgeState.NEW for state in states)
