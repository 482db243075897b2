"""Revival of dead letters: children that failed with a retried parent wait for it again.

A transaction revives a batch, of any number of generations. Each job with more children to revive gets a row in
`revivals`, by which `stage` goes on, batch by batch. So no transaction grows with the children, and a crash between two
transactions loses none. The row is the parent's: it stays even if a child is deleted, resolved or retried separately.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Integer, TextClause, Uuid, bindparam, case, delete, func, select, text, update

from fairlane.domain import transitions
from fairlane.domain.statuses import ENDED_BADLY, EdgeState, JobStatus, Resolution
from fairlane.store.engine import engine_of
from fairlane.store.sql import is_row, upsert
from fairlane.store.statements.dependencies import EDGES
from fairlane.store.statements.transition import Change, write_all
from fairlane.store.tables import AnyRow, dead_letters, ended, job_parents, jobs, live, revivals

_BATCH: Final = 500  # parents in one transaction
_CHILDREN: Final = 100  # children that it revives
_FEW: Final = 5  # children that it searches first

# One probe of the index of causes per parent, as in `dead_letters_below.sql`: the planner can't turn a scalar query
# with LIMIT into a join, and can't use the index of decisions for an expression.
_WITH_MORE: Final = """
SELECT id FROM fairlane_jobs AS below WHERE organization_id = :organization AND id IN :parents AND (
  SELECT 1 FROM fairlane_dead_letters
  WHERE organization_id = :organization AND caused_by = below.id AND resolution || '' = :undecided LIMIT 1) IS NOT NULL
"""


class Revived(NamedTuple):
    """The number of revived jobs, and those of them and of their parents that have more children to revive."""

    number: int
    left: set[UUID]


def revive_children(
    connection: Connection,
    now: datetime,
    organization: str,
    parents: Mapping[UUID, str],
    *,
    noted: Collection[UUID] = (),
) -> Revived:
    """Revive up to a batch of the jobs that failed with these parents, and of the jobs that failed with those in turn.

    Every edge of a revived child becomes `new`, unless its parent completed and told it. So a second parent that failed
    meanwhile ends the child again. So does a canceled parent that a person's retry of the child had ignored: that
    decision was for the earlier run only. A locked child, or a child with an edge that a session of the application
    locks, is left to `stage`, like children beyond the batch.

    Args:
        parents: who retried each of them.
        noted: the parents that have a row already, which stays.
    """
    actors = dict(parents)
    for child in _lock_below(connection, organization, parents):  # generation by generation
        actors[child.job_id] = actors[child.caused_by]
    children = sorted(actors.keys() - parents)
    if children:
        _revive(connection, now, organization, {one: actors[one] for one in children})
    left = _parents_with_more(connection, organization, actors)
    if new := left.difference(noted):
        # Not inserted again if there is a row: the foreign key would wait for a session that locks the parent.
        rows = ({"organization_id": organization, "job_id": one, "actor": actors[one]} for one in new)
        upsert(connection, revivals, *rows)
    return Revived(len(children), left)


def go_on(connection: Connection, now: datetime, organization: str, after: UUID | None) -> tuple[int, UUID | None]:
    """Revive another batch of the jobs that failed with retried parents.

    A parent that has failed again is removed: its next retry starts from the beginning.

    Args:
        after: the parent after which to look; None = from the first.

    Returns:
        The number of revived jobs, and `after` for the next batch, which skips parents whose children are all locked.
    """
    mine = revivals.c.organization_id == organization
    some = select(revivals.c.job_id, revivals.c.actor).where(mine).order_by(revivals.c.job_id).limit(_BATCH)
    if after is not None:
        some = some.where(revivals.c.job_id > after)
    # A concurrent retry of one of them waits for this transaction, and inserts its row again.
    taken = {row.job_id: row.actor for row in connection.execute(some.with_for_update(skip_locked=True))}
    if not taken:
        return 0, None
    badly = (ended.c.id.in_(taken), ended.c.status.in_(ENDED_BADLY))
    again = connection.scalars(select(ended.c.id).where(ended.c.organization_id == organization, *badly)).all()
    parents = {one: taken[one] for one in taken.keys() - again}
    revived = revive_children(connection, now, organization, parents, noted=parents)
    connection.execute(delete(revivals).where(mine, revivals.c.job_id.in_(taken.keys() - revived.left)))
    if not revived.number:
        after = max(taken) if len(taken) == _BATCH else None
    return revived.number, after


def _lock_below(connection: Connection, organization: str, parents: Collection[UUID]) -> Sequence[AnyRow]:
    """Lock undecided dead letters below these parents, nearest first.

    Each is locked with all its edges. So a few are searched first, and twice as many each time while they have few
    edges.
    """
    below = _about(engine_of(connection).statement("dead_letters_below"), organization, parents)
    typed = below.columns(job_id=Uuid(), caused_by=Uuid(), edges=Integer())
    limit = _FEW
    while True:
        found = connection.execute(typed, {"limit": limit}).all()
        edges = sum(row.edges for row in found)
        if len(found) < limit or limit == _CHILDREN or edges >= EDGES:
            break
        limit = min(2 * limit, _CHILDREN)
    before = accumulate((row.edges for row in found), initial=0)
    return [row for row, number in zip(found, before, strict=False) if number < EDGES]


def _parents_with_more(connection: Connection, organization: str, parents: Collection[UUID]) -> set[UUID]:
    """Return those of the parents that have dead letters to revive."""
    found = _about(text(_WITH_MORE), organization, parents)
    return set(connection.scalars(found.columns(id=Uuid())))


def _about(statement: TextClause, organization: str, parents: Collection[UUID]) -> TextClause:
    return statement.bindparams(
        bindparam("parents", list(parents), type_=Uuid(), expanding=True),
        organization=organization,
        undecided=Resolution.PENDING,
    )


def _revive(connection: Connection, now: datetime, organization: str, children: Mapping[UUID, str]) -> None:
    """Let these locked dead letters wait for their parents again. The actor of each is who retried its parent."""
    unmet = _reopen_edges(connection, organization, list(children))
    reason = "its parent was retried"
    changes = [
        Change(organization, child, transitions.revive_pending(reason, unmet.get(child, 0)), actor)
        for child, actor in children.items()
    ]
    write_all(connection, now, changes)
    theirs = (dead_letters.c.organization_id == organization) & dead_letters.c.job_id.in_(list(children))
    connection.execute(dead_letters.delete().where(theirs))


def _reopen_edges(connection: Connection, organization: str, children: Sequence[UUID]) -> dict[UUID, int]:
    """Reopen the children's edges; return the number of parents that each child waits for, if any."""
    completed = (
        select(ended.c.id)
        .where(is_row(ended, organization, job_parents.c.parent_id), ended.c.status == JobStatus.COMPLETED)
        .exists()
    )
    mine = (job_parents.c.organization_id == organization) & job_parents.c.job_id.in_(children)
    is_untold = job_parents.c.state != EdgeState.SETTLED
    connection.execute(update(job_parents).where(mine, ~completed | is_untold).values(state=EdgeState.NEW))
    waiting = (
        select(job_parents.c.job_id, func.count().label("total"))
        .where(mine, job_parents.c.state == EdgeState.NEW)
        .group_by(job_parents.c.job_id)
    )
    return {row.job_id: row.total for row in connection.execute(waiting)}


def hold_parents(connection: Connection, organization: str, child: UUID) -> None:
    """Lock the job's parents against deletion, as a submission does; wait for a deletion under way."""
    parents = select(job_parents.c.parent_id).where(is_row(job_parents, organization, child))
    connection.execute(
        select(jobs.c.id)
        .where(jobs.c.organization_id == organization, jobs.c.id.in_(parents))
        .order_by(jobs.c.id)
        .with_for_update(read=True, key_share=True)
    )


def wait_for_live_parents(connection: Connection, organization: str, child: UUID) -> int:
    """Let a job that a person retries wait for its live parents; return their number.

    Ended parents are ignored, as the person decided, even if an edge is still `new`. Otherwise `stage` would count that
    edge against the parents that the job waits for, or end the job again for a canceled parent.
    """
    lives = select(live.c.id).where(is_row(live, organization, job_parents.c.parent_id))
    # One statement, so that a parent that ends meanwhile is either waited for or ignored.
    states = connection.scalars(
        update(job_parents)
        .where(is_row(job_parents, organization, child))
        .values(state=case((lives.exists(), EdgeState.NEW), else_=EdgeState.SETTLED))
        .returning(job_parents.c.state)
    )
    return sum(state == EdgeState.NEW for state in states)
