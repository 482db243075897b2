"""Reviving dead letters: what a retried parent took down waits for it again."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, case, func, select, update

from fairlane.domain import transitions
from fairlane.domain.statuses import LIVE, EdgeState, JobStatus, Resolution
from fairlane.store.statements.transition import forget_cancel_request, lock_job, write
from fairlane.store.tables import dead_letters, job_parents, jobs

_BATCH = 500


def revive_children(connection: Connection, now: datetime, organization: str, parent_id: UUID, actor: str) -> int:
    """Bring back what the retried parent took down, and what those took down in turn.

    Every edge of a revived child becomes `new`, unless its parent completed: so a second parent that failed meanwhile
    takes it down again, instead of being forgotten.

    Returns:
        How many jobs wait again.
    """
    wave, revived = [parent_id], 0
    while wave:
        children = [
            child
            for some in (wave[at : at + _BATCH] for at in range(0, len(wave), _BATCH))
            for child in _taken_down(connection, organization, some)
        ]
        wave = [child for child in children if _revive_child(connection, now, organization, child, actor)]
        revived += len(wave)
    return revived


def _taken_down(connection: Connection, organization: str, parents: Sequence[UUID]) -> Sequence[UUID]:
    """The dead letters that these parents caused, but for those about which a person has decided."""
    return connection.scalars(
        select(dead_letters.c.job_id)
        .where(
            dead_letters.c.organization_id == organization,
            dead_letters.c.caused_by.in_(parents),
            dead_letters.c.resolution == Resolution.PENDING,
        )
        .order_by(dead_letters.c.job_id)
    ).all()


def _revive_child(connection: Connection, now: datetime, organization: str, child: UUID, actor: str) -> bool:
    row = lock_job(connection, organization, child)
    if row is None or row.status != JobStatus.DEAD_LETTER:  # a person has retried it by itself
        return False
    unmet = _reopen_edges(connection, organization, child)
    transition = transitions.revive_pending("its parent was retried", unmet)
    write(connection, now, organization, child, transition, actor=actor)
    connection.execute(
        dead_letters.delete().where(dead_letters.c.organization_id == organization, dead_letters.c.job_id == child)
    )
    forget_cancel_request(connection, organization, [child])
    return True


def _reopen_edges(connection: Connection, organization: str, child: UUID) -> int:
    completed = (
        select(jobs.c.id)
        .where(
            jobs.c.organization_id == organization,
            jobs.c.id == job_parents.c.parent_id,
            jobs.c.status == JobStatus.COMPLETED,
        )
        .exists()
    )
    mine = (job_parents.c.organization_id == organization) & (job_parents.c.job_id == child)
    connection.execute(update(job_parents).where(mine, ~completed).values(state=EdgeState.NEW))
    return connection.execute(
        select(func.count()).select_from(job_parents).where(mine, job_parents.c.state == EdgeState.NEW)
    ).scalar_one()


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
    live = (
        select(jobs.c.id)
        .where(
            jobs.c.organization_id == organization,
            jobs.c.id == job_parents.c.parent_id,
            jobs.c.status.in_(sorted(LIVE)),
        )
        .exists()
    )
    # One statement, so that a parent which ends meanwhile is either waited for or passed over.
    states = connection.scalars(
        update(job_parents)
        .where(job_parents.c.organization_id == organization, job_parents.c.job_id == child)
        .values(state=case((live, EdgeState.NEW), else_=EdgeState.SETTLED))
        .returning(job_parents.c.state)
    )
    return sum(state == EdgeState.NEW for state in states)
