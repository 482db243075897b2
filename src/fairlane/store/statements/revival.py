"""Reviving dead letters: what a retried parent took down waits for it again.

A transaction revives a batch, of however many generations. Each of these jobs that has more below it gets a row in
`revivals`, by which `stage` goes on, batch by batch. So no transaction grows with the children, and a crash between two
forgets none. The row is the parent's: it stays where a child is deleted, decided about or retried by itself.
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

_BATCH: Final = 500  # parents that one transaction looks at
_CHILDREN: Final = 100  # that it revives
_FEW: Final = 5  # of them that it looks for first

# One probe of the index of causes per parent, as in `dead_letters_below.sql`: a scalar query with LIMIT is made no join
# of, and what is decided by an expression is looked for in no index of decisions.
_WITH_MORE: Final = """
SELECT id FROM fairlane_jobs AS below WHERE organization_id = :organization AND id IN :parents AND (
  SELECT 1 FROM fairlane_dead_letters
  WHERE organization_id = :organization AND caused_by = below.id AND resolution || '' = :undecided LIMIT 1) IS NOT NULL
"""


class Revived(NamedTuple):
    """How many jobs wait again, and which of them and of their parents have more below them."""

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
    """Bring back up to a batch of what these took down, and of what those took down in turn.

    Every edge of a revived child becomes `new`, unless its parent completed and told it: so a second parent that
    failed meanwhile takes it down again, instead of being forgotten. So does a canceled parent that a person's retry
    of the child had passed over: the person decided for that run, and nobody has for this one.
    A child that somebody holds is left for `stage`, like what is beyond the batch; so is one whose edge a session of
    the application holds.

    Args:
        parents: who retried each of them.
        noted: those that have their row, which stays.
    """
    actors = dict(parents)
    for child in _lock_below(connection, organization, parents):  # generation by generation
        actors[child.job_id] = actors[child.caused_by]
    children = sorted(actors.keys() - parents)
    if children:
        _revive(connection, now, organization, {one: actors[one] for one in children})
    left = _parents_with_more(connection, organization, actors)
    if new := left.difference(noted):
        # Where there is a row, none is inserted, whose foreign key would wait for a session that holds the parent.
        rows = ({"organization_id": organization, "job_id": one, "actor": actors[one]} for one in new)
        upsert(connection, revivals, *rows)
    return Revived(len(children), left)


def go_on(connection: Connection, now: datetime, organization: str, after: UUID | None) -> tuple[int, UUID | None]:
    """Revive another batch of what parents took down that were retried.

    A parent that has ended badly once more is forgotten: its next retry begins anew.

    Args:
        after: behind which parent to look; None = from the first.

    Returns:
        How many jobs wait again, and `after` for the next batch, behind parents of which somebody holds all children.
    """
    mine = revivals.c.organization_id == organization
    some = select(revivals.c.job_id, revivals.c.actor).where(mine).order_by(revivals.c.job_id).limit(_BATCH)
    if after is not None:
        some = some.where(revivals.c.job_id > after)
    # Whoever retries one of them now waits for this transaction, and writes its row anew.
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
    """Lock dead letters below these parents, nearest first, but for those about which a person has decided.

    Each is locked with all its edges. So few are looked for first, and twice as many as long as these have few.
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
    """Let these locked dead letters wait for their parents again, each by who retried what took it down."""
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
    """Return how many parents each child waits for, where it waits for any."""
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
    """Keep the job's parents from being deleted, as a submission does: a deletion under way is waited for."""
    parents = select(job_parents.c.parent_id).where(is_row(job_parents, organization, child))
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
    lives = select(live.c.id).where(is_row(live, organization, job_parents.c.parent_id))
    # One statement, so that a parent which ends meanwhile is either waited for or passed over.
    states = connection.scalars(
        update(job_parents)
        .where(is_row(job_parents, organization, child))
        .values(state=case((lives.exists(), EdgeState.NEW), else_=EdgeState.SETTLED))
        .returning(job_parents.c.state)
    )
    return sum(state == EdgeState.NEW for state in states)
