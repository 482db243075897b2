"""Parents and children. A child becomes ready in the transaction that ends its last parent.

The races, and their solutions:

* *Two parents finish at once.* Each transaction takes the child's lock, then counts its own edges: `settled` is set at
  most once per edge. A transaction that finds the child locked does not wait: its edge becomes `new`, and `stage`
  settles it.
* *A child is revived while a parent finishes.* The revival holds the child's lock, so the finish leaves the edge to
  `stage`; or the revival waits for the finish, and then reads its result.
* *A parent has more children than a batch.* Its end settles a batch and marks one edge of the others `new`. `stage`
  goes on from that edge, batch by batch, and each batch marks the next edge. So no transaction grows with the children.
  Because it stops at `EDGES`, it does not grow with parents that end together either.
* *A child is submitted while a parent finishes.* Neither transaction sees the other's rows. The child's edge commits as
  `new`; `stage` looks at every new edge once, under the parent's lock, and settles it or marks it `watched`, and the
  parent's live row `has_children`. From then on every end of the parent sees the edge: `settle` is a separate statement
  after the lock of the parent's live row, and so its snapshot is younger than the lock.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Update,
    Uuid,
    cast,
    func,
    literal_column,
    select,
    text,
    tuple_,
    update,
)

from fairlane.domain.decide import fate
from fairlane.domain.graph import Edge
from fairlane.domain.jobs import JobState
from fairlane.domain.statuses import ENDED_BADLY, TERMINAL, EdgeState, JobStatus, ParentPolicy
from fairlane.store.sql import as_given, fixed, is_row, rows_given
from fairlane.store.statements.locks import lock
from fairlane.store.statements.rows import HAS_STATE, STATE, WHOLE
from fairlane.store.statements.transition import Change, Key, write_all
from fairlane.store.tables import AnyRow, ended, job_parents, jobs, live

_BATCH = 500
_WAVES = 9  # generations in one transaction
EDGES: Final = 5000  # edges in one transaction: each child of a batch may have hundreds of parents that ended together
_UNSETTLED: Final = [EdgeState.NEW, EdgeState.WATCHED]
_EDGE: Final = job_parents.c.job_id, job_parents.c.parent_id  # within an organization

# One probe of the index per parent: the planner can't turn a scalar query with LIMIT into a join, and its order selects
# that index, as in `complete`.
_parents: Final = rows_given("organization_id", "id")
_child: Final = (
    select(literal_column("1"))
    .where(
        job_parents.c.organization_id == _parents.c.organization_id,
        job_parents.c.parent_id == cast(_parents.c.id, Uuid),
        job_parents.c.state != EdgeState.SETTLED,
    )
    .order_by(job_parents.c.state, job_parents.c.job_id)
    .limit(1)
    .scalar_subquery()
)
_WITH_CHILDREN: Final = select(_parents).where(_child.is_not(None))
# One probe of the index per organization. Written into the text: see `fixed`.
_WITH_NEW_EDGES: Final = text(f"""
WITH RECURSIVE mine(organization_id) AS (
  SELECT min(organization_id) FROM fairlane_job_parents WHERE state = '{EdgeState.NEW}'
  UNION ALL
  SELECT (SELECT min(organization_id) FROM fairlane_job_parents AS edge
          WHERE edge.state = '{EdgeState.NEW}' AND edge.organization_id > mine.organization_id)
  FROM mine WHERE mine.organization_id IS NOT NULL
)
SELECT organization_id FROM mine WHERE organization_id IS NOT NULL
""").execution_options(fairlane_across="stage")  # noqa: S608 - a constant


def settle(connection: Connection, now: datetime, parents: Iterable[JobState], edges: int = EDGES) -> set[Key]:
    """Settle the ended jobs' edges, make their children ready or end them, and go on with children that ended.

    After some generations a long chain is left to `stage`, so that a cancel of its head does not take long.

    Args:
        edges: how many edges to settle, shared equally among organizations. Other edges are left to `stage`.

    Returns:
        The jobs that had children to tell: some children may be ready now.
    """
    told = wave = _with_children(connection, list(parents))
    generation = 0
    while wave and generation < _WAVES and edges > 0:
        generation += 1
        ends: list[JobState] = []
        families = _by_organization(wave)
        share = max(edges // len(families), 1)
        for organization, those in families:
            ended_by_it, settled = _settle_children(connection, now, organization, those, share)
            ends += ended_by_it
            edges -= settled
        wave = _with_children(connection, ends)
    for organization, those in _by_organization(wave):
        _leave_for_stage(connection, organization, those)
    return {(parent.organization, parent.id) for parent in told}


def _by_organization(parents: Iterable[JobState]) -> list[tuple[str, dict[UUID, JobState]]]:
    found: dict[str, dict[UUID, JobState]] = defaultdict(dict)
    for parent in parents:
        found[parent.organization][parent.id] = parent
    return sorted(found.items())


def _with_children(connection: Connection, parents: Sequence[JobState]) -> list[JobState]:
    """Return the parents with unsettled edges, by one statement: most jobs have none."""
    if not parents:
        return []
    rows = as_given((one.organization, one.id.hex) for one in parents)
    keys = {tuple(row) for row in connection.execute(_WITH_CHILDREN, {"given": rows})}
    return [one for one in parents if (one.organization, one.id.hex) in keys] if keys else []


def _settle_children(
    connection: Connection, now: datetime, organization: str, parents: dict[UUID, JobState], limit: int
) -> tuple[list[JobState], int]:
    """Settle up to `limit` edges of up to a batch of children. Further or locked children are left to `stage`.

    Returns:
        The children that ended, and the number of settled edges.
    """
    batch, states = _free_children(connection, organization, parents, min(limit, _BATCH))
    # Whatever their status: a dead letter in this snapshot may be pending after a concurrent commit.
    locked = lock(connection, organization, batch, skip_locked=True)
    by_child = _settle_edges(connection, organization, parents, sorted(locked), states, limit)
    _leave_for_stage(connection, organization, parents)
    told = [locked[child] for child in sorted(by_child) if locked[child].status == JobStatus.PENDING]
    _set_unmet(connection, organization, {child.id: child.unmet_parents - len(by_child[child.id]) for child in told})
    changes = [change for child in told if (change := _change(child, by_child[child.id], now)) is not None]
    write_all(connection, now, changes)
    ends = [
        JobState(organization, one.job_id, locked[one.job_id].job_type, one.transition.target)
        for one in changes
        if one.transition.target in TERMINAL
    ]
    return ends, sum(map(len, by_child.values()))


def _free_children(
    connection: Connection, organization: str, parents: Iterable[UUID], limit: int
) -> tuple[set[UUID], list[EdgeState]]:
    """Lock up to `limit` children with unsettled edges, those of new edges first; return them, and the edges' states.

    New edges first, so that `stage` settles the edges that it has found. Locked children are skipped before the batch
    is full: otherwise they would hold back all children behind them.
    """
    edge = job_parents.alias("edge")
    is_free = _is_free(live, edge) | (_is_free(ended, edge) & _is_free(jobs, edge))
    found, states = set[UUID](), list[EdgeState]()
    for state in _UNSETTLED:  # each is a probe of the index, which skips settled edges
        its = edge.c.parent_id.in_(list(parents)) & (edge.c.state == state)
        mine = select(edge.c.job_id).where(edge.c.organization_id == organization, its)
        free = mine.where(_is_free(jobs, edge, shares=True), is_free).limit(limit - len(found))
        some = connection.scalars(free.with_for_update(key_share=True, skip_locked=True)).all()
        found.update(some)
        if some or len(found) >= limit:
            states.append(state)
    return found, states


def _is_free(table: Table, edge: FromClause, *, shares: bool = False) -> ColumnElement[bool]:
    """Lock the child's row in the table; false if there is none, or it is locked."""
    its = is_row(table, edge.c.organization_id, edge.c.job_id)
    return select(table.c.id).where(its).with_for_update(read=shares, key_share=True, skip_locked=True).exists()


def _settle_edges(
    connection: Connection,
    organization: str,
    parents: dict[UUID, JobState],
    children: Sequence[UUID],
    states: Sequence[EdgeState],
    limit: int,
) -> dict[UUID, list[JobState]]:
    """Mark up to `limit` of these edges as settled, each once; return each child's parents of these edges."""
    told: dict[UUID, list[JobState]] = defaultdict(list)
    for state in states:
        edges = _turn(connection, organization, parents, children, (state, EdgeState.SETTLED), limit)
        limit -= len(edges)
        for edge in edges:
            told[edge.job_id].append(parents[edge.parent_id])
    return told


def _leave_for_stage(connection: Connection, organization: str, parents: Iterable[UUID]) -> None:
    """Mark one watched edge of each parent as new: by it `stage` finds the parent, and all its other children.

    If all edges are locked, they stay watched. A revival that locks them marks them when it commits. If it is rolled
    back, or a session of the application locked them, the sweeper tells the children.
    """
    edge = job_parents.alias("edge")
    first = (
        select(edge.c.job_id)
        .where(
            edge.c.organization_id == organization,
            edge.c.parent_id == jobs.c.id,
            edge.c.state == EdgeState.WATCHED,
        )
        .order_by(edge.c.state, edge.c.job_id)  # the index's order, so that the planner uses it
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
        .scalar_subquery()
    )
    mine = (jobs.c.organization_id == organization) & jobs.c.id.in_(list(parents))
    found = select(first.label("job_id"), jobs.c.id.label("parent_id")).where(mine)
    connection.execute(_set_state(organization, found, EdgeState.NEW))


def _turn(
    connection: Connection,
    organization: str,
    parents: Iterable[UUID],
    children: Sequence[UUID],
    states: tuple[EdgeState, EdgeState],
    limit: int | None = None,
) -> Sequence[AnyRow]:
    """Change the state of edges from these parents to these children, and return the changed edges.

    Locked edges are skipped: only a session of the application locks an edge without its child.
    """
    before, after = states
    edge = job_parents.alias("edge")
    free = (
        select(edge.c.job_id, edge.c.parent_id)
        .where(
            edge.c.organization_id == organization,
            edge.c.parent_id.in_(list(parents)),
            edge.c.job_id.in_(children),
            edge.c.state == before,
        )
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return connection.execute(_set_state(organization, free, after).returning(*_EDGE)).all()


def _set_state(organization: str, edges: Select[tuple[UUID, UUID]], state: EdgeState) -> Update:
    # As a separate query: otherwise PostgreSQL compares all edges of the organization with it, or runs it again after
    # its own changes.
    found = edges.cte("found").prefix_with("MATERIALIZED")
    keys = select(found.c.job_id, found.c.parent_id)
    mine = (job_parents.c.organization_id == organization) & tuple_(*_EDGE).in_(keys)
    return update(job_parents).where(mine).values(state=state)


def _set_unmet(connection: Connection, organization: str, unmet: Mapping[UUID, int]) -> None:
    children = defaultdict[int, list[UUID]](list)
    for child, number in unmet.items():
        children[max(number, 0)].append(child)
    for number, ids in children.items():
        mine = (live.c.organization_id == organization) & live.c.id.in_(ids)
        connection.execute(update(live).where(mine).values(unmet_parents=number))


def _change(child: AnyRow, parents: Sequence[JobState], now: datetime) -> Change | None:
    """Return the change of a child whose parents have ended; None if it waits on, for other parents or for its time."""
    # A person has to decide about values of a newer release. An error here would hold up the end of the parent.
    is_known = child.on_parent_failure in set(ParentPolicy)
    policy = ParentPolicy(child.on_parent_failure) if is_known else ParentPolicy.DEAD_LETTER
    found = fate(policy, parents, unmet=child.unmet_parents, run_at=child.run_at, now=now)
    if found is None:
        return None
    cause = found.culprit.id if found.culprit is not None else None
    return Change(child.organization_id, child.id, found.transition, caused_by=cause)


class EdgeKey(NamedTuple):
    """An edge's primary key."""

    organization: str
    job_id: UUID
    parent_id: UUID


class Looked(NamedTuple):
    """The result of a look: how many edges are no longer new, and the last edge of each organization that has more."""

    moved: int
    after: Mapping[str, EdgeKey]


def look_at_new_edges(
    connection: Connection, now: datetime, after: Mapping[str, EdgeKey], limit: int = _BATCH
) -> Looked:
    """Settle or watch new edges, whose child was submitted while its parent ended, equally for each organization.

    Locked edges are left to a later look, and hold up no others: an end may not be visible yet.

    Args:
        after: the edge after which to look, by organization; other organizations start with their first edge.
    """
    organizations = connection.scalars(_WITH_NEW_EDGES).all()
    among = max(len(organizations), 1)
    share = max(limit // among, 1)
    pages = {one: _new_edges(connection, one, after.get(one), share) for one in organizations}
    for organization, edges in pages.items():
        parents = _lock_free_parents(connection, organization, {edge.parent_id for edge in edges})
        # First: a child that ends here is no longer live, and its edges may be left to the next look.
        lives = [parent.id for parent in parents if parent.status not in TERMINAL]
        _watch(connection, organization, lives, [edge.job_id for edge in edges])
        over = [parent for parent in parents if parent.status in TERMINAL]
        settle(connection, now, over, max(EDGES // among, 1))
    looked_at = [edge for edges in pages.values() for edge in edges]
    last = {one: edges[-1] for one, edges in pages.items() if len(edges) == share}
    return Looked(len(looked_at) - _still_new(connection, looked_at), last)


def _new_edges(connection: Connection, organization: str, after: EdgeKey | None, limit: int) -> list[EdgeKey]:
    key = (job_parents.c.organization_id, job_parents.c.job_id, job_parents.c.parent_id)
    statement = select(*key).where(
        job_parents.c.organization_id == organization, job_parents.c.state == fixed(EdgeState.NEW)
    )
    if after is not None:
        statement = statement.where(tuple_(*key[1:]) > after[1:])
    return [EdgeKey(*row) for row in connection.execute(statement.order_by(*key[1:]).limit(limit))]


def _still_new(connection: Connection, edges: Sequence[EdgeKey]) -> int:
    """Count those of the edges that have to wait for the next look, because the parent or the child is locked."""
    if not edges:
        return 0
    # With two lists, which are probes of the index: with a list of whole keys PostgreSQL compares each row with each
    # key.
    statement = select(job_parents.c.organization_id, *_EDGE).where(
        job_parents.c.organization_id.in_({edge.organization for edge in edges}),
        job_parents.c.job_id.in_({edge.job_id for edge in edges}),
        job_parents.c.state == fixed(EdgeState.NEW),
    )
    rows = connection.execute(statement.execution_options(fairlane_across="stage"))
    return len({EdgeKey(*row) for row in rows} & set(edges))


def settle_fallen(connection: Connection, now: datetime, parents: Iterable[JobState]) -> None:
    """Apply at once the policy about parents that failed before their child was submitted.

    The parents' rows are locked. A parent that a person is retrying meanwhile is left to `look_at_new_edges`. A later
    retry waits, and then revives the child.
    """
    by_organization: dict[str, set[UUID]] = defaultdict(set)
    for parent in parents:
        by_organization[parent.organization].add(parent.id)
    for organization, ids in sorted(by_organization.items()):
        locked = _lock_free_parents(connection, organization, ids)
        settle(connection, now, [parent for parent in locked if parent.status in ENDED_BADLY])


def _lock_free_parents(connection: Connection, organization: str, ids: Iterable[UUID]) -> list[JobState]:
    rows = lock(connection, organization, ids, skip_locked=True).values()
    return [JobState(organization, row.id, row.job_type, JobStatus(row.status)) for row in rows]


def _watch(connection: Connection, organization: str, parent_ids: list[UUID], children: Sequence[UUID]) -> None:
    """Watch the new edges from these live, locked jobs to these children, so that the parents' ends see them."""
    if not parent_ids:
        return
    mine = (live.c.organization_id == organization, live.c.id.in_(parent_ids), ~live.c.has_children)
    connection.execute(update(live).where(*mine).values(has_children=True))
    _turn(connection, organization, parent_ids, children, (EdgeState.NEW, EdgeState.WATCHED))


def watched_edges(connection: Connection, after: EdgeKey | None, limit: int) -> list[EdgeKey]:
    """Return the next watched edges, by key. The sweeper goes through them page by page.

    A single join of all watched edges with ended parents took minutes for a chain of 100,000.
    """
    key = (job_parents.c.organization_id, job_parents.c.job_id, job_parents.c.parent_id)
    statement = select(*key).where(job_parents.c.state == fixed(EdgeState.WATCHED)).order_by(*key).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*key) > after)
    return [EdgeKey(*row) for row in connection.execute(statement.execution_options(fairlane_across="clean-up"))]


def ended_parents(connection: Connection, edges: Iterable[EdgeKey]) -> list[JobState]:
    """Return parents of these watched edges that have ended, and have no new edge, by which `stage` would find them.

    There are such parents only if `_leave_for_stage` could mark none of their edges.
    """
    by_organization: dict[str, set[UUID]] = defaultdict(set)
    for edge in edges:
        by_organization[edge.organization].add(edge.parent_id)
    found: list[JobState] = []
    for organization, ids in sorted(by_organization.items()):
        its = (job_parents.c.organization_id == organization, job_parents.c.parent_id == ended.c.id)
        is_staged = select(job_parents.c.job_id).where(*its, job_parents.c.state == EdgeState.NEW).exists()
        mine = (ended.c.organization_id == organization, ended.c.id.in_(list(ids)), ~is_staged)
        rows = connection.execute(select(ended.c.id, ended.c.job_type, ended.c.status).where(*mine))
        found += [JobState(organization, row.id, row.job_type, JobStatus(row.status)) for row in rows]
    return found


def count_children(connection: Connection, organization: str, parent: UUID, *, up_to: int) -> int:
    """Count the edges of children that wait for the job, up to `up_to`."""
    some = (
        select(job_parents.c.job_id)
        .where(
            job_parents.c.organization_id == organization,
            job_parents.c.parent_id == parent,
            job_parents.c.state != EdgeState.SETTLED,
        )
        .order_by(job_parents.c.state, job_parents.c.job_id)  # the index's order, so that the planner uses it
        .limit(up_to)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def unmet_parents(connection: Connection, organization: str, job_id: UUID, limit: int) -> Sequence[AnyRow]:
    """Return the first `limit` live parents: id, job_type, status; `total` on each row counts all of them.

    A parent that has ended does not count, even if its edge is still to be settled.
    """
    parent = is_row(live, job_parents.c.organization_id, job_parents.c.parent_id)
    return connection.execute(
        select(live.c.id, live.c.job_type, live.c.status, func.count().over().label("total"))
        .select_from(job_parents)
        .join(live, parent)
        .where(is_row(job_parents, organization, job_id), job_parents.c.state != EdgeState.SETTLED)
        .order_by(live.c.id)
        .limit(limit)
    ).all()


def edges_at(connection: Connection, organization: str, ids: Collection[UUID], *, limit: int) -> list[Edge]:
    """Return the edges to these jobs, then the edges from them, up to `limit`."""
    edge = select(job_parents.c.parent_id, job_parents.c.job_id).where(job_parents.c.organization_id == organization)
    found: list[Edge] = []
    for end in (job_parents.c.job_id, job_parents.c.parent_id):
        found += [Edge(*row) for row in connection.execute(edge.where(end.in_(ids)).limit(limit - len(found)))]
    return found


def jobs_of_graph(connection: Connection, organization: str, ids: Collection[UUID]) -> Sequence[AnyRow]:
    """Return the columns of these jobs that a graph shows."""
    shown = (
        jobs.c.id,
        jobs.c.job_type,
        jobs.c.created_at,
        *(STATE[name] for name in ("status", "attempt", "started_at", "finished_at")),
    )
    mine = (jobs.c.organization_id == organization, jobs.c.id.in_(ids), HAS_STATE)
    return connection.execute(select(*shown).select_from(WHOLE).where(*mine)).all()
