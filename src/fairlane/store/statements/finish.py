"""Ending attempts: under the live row's lock and the attempt's lease, decide, write, and tell the children."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from fairlane.domain import transitions
from fairlane.domain.backoff import Backoff
from fairlane.domain.decide import Attempt, decide
from fairlane.domain.outcomes import Completed, Outcome
from fairlane.domain.sealing import Field, Seal
from fairlane.domain.statuses import TERMINAL, JobStatus
from fairlane.domain.transitions import Transition
from fairlane.store.dialects import is_sqlite
from fairlane.store.line import Line
from fairlane.store.statements import dependencies, organizations
from fairlane.store.statements.complete import MINE, Leased, complete, complete_on, ids_of
from fairlane.store.statements.transition import SYSTEM, Change, Ended, Key, write_all
from fairlane.store.tables import AnyRow, jobs, live

# Every row by an index probe of its own: LATERAL leaves the planner no other way, whatever the statistics say. The
# token is there while the job runs and no longer; the status beside it would tempt the planner into another index.
_GIVEN: Final = """unnest(CAST(:organizations AS text[]), CAST(string_to_array(:ids, ' ') AS uuid[]),
    CAST(string_to_array(:tokens, ' ') AS uuid[])) AS given(organization_id, id, lease_token)"""
_FACTS: Final = "JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id"
# A row that somebody holds must not hold up the others. A host may hold the facts, which errors and dead letters refer
# to: their foreign keys would wait for it.
_LOCK: Final = text(f"""
SELECT mine.lease_token FROM {_GIVEN} CROSS JOIN LATERAL (
  SELECT lease_token FROM fairlane_live AS live {_FACTS} WHERE {MINE}
  FOR NO KEY UPDATE OF live SKIP LOCKED FOR KEY SHARE OF jobs SKIP LOCKED) AS mine
""").execution_options(fairlane_across="finish")  # noqa: S608 - a constant of ours

_COLUMNS: Final = (
    *(live.c.lease_token, live.c.attempt, live.c.retry_count, live.c.rescue_count, jobs.c.max_retries),
    *(live.c.deferrals, live.c.cancel_requested_by, live.c.cancel_reason),
)
_NAMES: Final = ", ".join(str(column).removeprefix("fairlane_") for column in _COLUMNS)
# With LIMIT the planner can't make a join of it.
_READ: Final = f"""
SELECT mine.* FROM {_GIVEN} CROSS JOIN LATERAL (
  SELECT {_NAMES} FROM fairlane_live AS live {_FACTS} WHERE {MINE} LIMIT 1) AS mine
"""  # noqa: S608 - a constant of ours
_SQLITE_READ: Final = f"""
SELECT {_NAMES} FROM json_each(:given) AS given
JOIN fairlane_live AS live ON live.organization_id = given.value ->> 0 AND live.id = given.value ->> 1
  AND live.lease_token = given.value ->> 2 {_FACTS}
"""  # noqa: S608 - a constant of ours
_READ_ON_POSTGRES, _READ_ON_SQLITE = (
    text(statement).columns(*_COLUMNS).execution_options(fairlane_across="finish")
    for statement in (_READ, _SQLITE_READ)
)


class Finish(NamedTuple):
    """The end of one attempt, proved by its lease."""

    organization: str
    job_id: UUID
    job_type: str
    lease_token: UUID
    outcome: Outcome
    backoff: Backoff
    actor: str = SYSTEM
    has_checkpoint: bool = True  # False only where it is certain: then there is nothing to delete
    has_run: bool = False  # its texts may quote what the job holds; else they are words of ours
    seconds: float = 0.0  # that it took
    seal: Seal | None = None  # of the organization's key, if it has one that can be used

    @property
    def key(self) -> Key:
        """Return the job's key."""
        return self.organization, self.job_id

    @property
    def is_plain(self) -> bool:
        """Whether it may be completed together with others, by `complete`."""
        return isinstance(self.outcome, Completed) and not self.has_checkpoint


class Finished(NamedTuple):
    """What became of the job. `transition` None: nothing was changed, since the lease was no longer its own, or, where
    `is_locked`, since somebody holds the row: try again. `may_free`: it is ready again, or a child of it may be.
    Room under a limit is no such news: who is held back by one looks by itself, and ends are many.
    """

    finish: Finish
    transition: Transition | None
    is_locked: bool = False
    may_free: bool = False


async def complete_all(line: Line, finishes: Sequence[Finish]) -> list[Finished]:
    """Complete plain ends of one actor by one statement on the event loop; those that it leaves out are `finish`'s.

    Where `may_free`, a child of the job was submitted a moment ago and is to be told by `tell_children`.

    Raises:
        FairlaneError: as `Line.fetch`.
    """
    # By numbers, which hash in C; UUIDs hash in Python.
    if len({one.job_id.int for one in finishes}) < len(finishes):
        keys = Counter(one.key for one in finishes)  # of two leases of a job one is lost; which, `finish` sees
        finishes = [one for one in finishes if keys[one.key] == 1]
    if not finishes:
        return []
    rows = await complete_on(line, finishes, list(map(_result, finishes)), finishes[0].actor)
    if not rows:
        return []
    transition = transitions.complete(rows[0].at, None)
    parents = {one.key for one in rows if one.has_child}
    if len(rows) < len(finishes):
        done = {one.key for one in rows}
        finishes = [one for one in finishes if one.key in done]
    return [Finished(one, transition, may_free=bool(parents) and one.key in parents) for one in finishes]


def tell_children(connection: Connection, now: datetime, done: Sequence[Finished]) -> None:
    """Tell the children of jobs that have completed."""
    dependencies.settle(connection, now, [_ended(one, JobStatus.COMPLETED) for one in done])


def finish(
    connection: Connection, now: datetime, finishes: Sequence[Finish], random: Random, *, are_ours: bool = True
) -> list[Finished]:
    """End these attempts and release the children of those that ended their job.

    Rows are locked in key order, so that two flushes don't deadlock.

    Args:
        are_ours: whether their organizations are in Fairlane's own directory.
    """
    # By numbers, which compare in C; UUIDs compare in Python.
    ordered = sorted(finishes, key=lambda one: (one.organization, one.job_id.int))
    plain = _complete_plain(connection, now, ordered)
    # One that has no child that is watched may have one that came a moment ago.
    done, others = [one for one in plain if not one.may_free], [one for one in plain if one.may_free]
    if len(plain) < len(ordered):
        completed = {one.finish.lease_token for one in plain}
        left = [one for one in ordered if one.lease_token not in completed]
        others += _finish(connection, now, left, random, are_ours=are_ours)
    if others:
        ends = [(one, one.transition.target) for one in others if one.transition is not None]
        ended = [_ended(one, target) for one, target in ends if target in TERMINAL]
        parents = dependencies.settle(connection, now, ended)
        done += [one._replace(may_free=_may_free(one, parents)) for one in others]
    return done


def _may_free(one: Finished, parents: Collection[Key]) -> bool:
    if one.transition is None:
        return False
    if one.transition.target not in TERMINAL:
        return bool(one.transition.changes["ready"])  # else it waits for its time, and `stage` will tell
    return bool(parents) and one.finish.key in parents


def _complete_plain(connection: Connection, now: datetime, ordered: Sequence[Finish]) -> list[Finished]:
    """Those that were completed plainly; where `may_free`, a child of the job is to be told."""
    plain = [one for one in ordered if one.is_plain]
    transition = transitions.complete(now, None)
    done: list[Finished] = []
    for actor in sorted({one.actor for one in plain}):
        mine = {one.key: one for one in plain if one.actor == actor}
        given = list(mine.values())
        completed = complete(connection, now, given, list(map(_result, given)), actor)
        done += [Finished(mine[one.key], transition, may_free=one.has_child) for one in completed]
    return done


def _finish(
    connection: Connection, now: datetime, items: Sequence[Finish], random: Random, *, are_ours: bool
) -> list[Finished]:
    """Decide each by itself, and write all together: one statement for each would hold up whoever comes after them."""
    if not items:
        return []
    locked = _lock(connection, items)
    rows = _read(connection, items)
    # After the lock: a deletion that was committed before it is seen, and a later one waits for this transaction.
    gone = organizations.deleted(connection, {item.organization for item in items}) if are_ours else set[str]()
    changes: dict[UUID, Change] = {}
    for item in items:
        row = rows.get(item.lease_token)
        if row is not None and item.lease_token in locked:
            attempt = _attempt(row, is_gone=item.organization in gone)
            changes[item.lease_token] = _change(item, row, attempt, now, random)
    write_all(connection, now, list(changes.values()))
    return [
        Finished(item, changes[item.lease_token].transition)
        if item.lease_token in changes
        # Under its lease still, and not ours: somebody holds it.
        else Finished(item, None, is_locked=item.lease_token in rows)
        for item in items
    ]


def _change(item: Finish, row: AnyRow, attempt: Attempt, now: datetime, random: Random) -> Change:
    transition = decide(attempt, item.outcome, now, random, item.backoff)
    actor = _actor(transition, row, item.actor)
    if item.seal is not None:
        transition = transitions.sealed(transition, item.seal)
    return Change(item.organization, item.job_id, transition, actor=actor, lease_token=item.lease_token)


def _attempt(row: AnyRow, *, is_gone: bool) -> Attempt:
    return Attempt(
        attempt=row.attempt,
        retry_count=row.retry_count,
        rescue_count=row.rescue_count,
        max_retries=row.max_retries,
        deferrals=row.deferrals,
        organization_is_gone=is_gone,
        cancel_requested_by=row.cancel_requested_by,
        cancel_reason=row.cancel_reason or "",
    )


def _actor(transition: Transition, row: AnyRow, actor: str) -> str:
    canceled = transition.target is JobStatus.CANCELED
    return row.cancel_requested_by if canceled and row.cancel_requested_by else actor


def _result(item: Finish) -> str | None:
    result = item.outcome.result if isinstance(item.outcome, Completed) else None
    return item.seal(Field.RESULT, result) if item.seal is not None and result is not None else result


def _ended(one: Finished, status: JobStatus) -> Ended:
    return Ended(one.finish.organization, one.finish.job_id, one.finish.job_type, status)


def _lock(connection: Connection, attempts: Sequence[Leased]) -> set[UUID]:
    """Lock the running rows under these leases until the transaction ends, in the order given.

    Returns:
        The leases of those that are locked now. The others' were lost, or somebody holds their row: `_read` tells.
    """
    if is_sqlite(connection):  # whose write transaction is exclusive
        return {one.lease_token for one in attempts}
    return set(connection.execute(_LOCK, ids_of(attempts)).scalars().all())


def _read(connection: Connection, attempts: Sequence[Leased]) -> dict[UUID, AnyRow]:
    """What `decide` needs to know of the attempts that have these leases still, by lease.

    A statement of its own after `_lock`, since only a snapshot younger than the lock shows a cancel request that held
    the row before: so a request comes wholly before the decision or after it.
    """
    if is_sqlite(connection):
        given = json.dumps([[one.organization, one.job_id.hex, one.lease_token.hex] for one in attempts])
        rows = connection.execute(_READ_ON_SQLITE, {"given": given}).all()
    else:
        rows = connection.execute(_READ_ON_POSTGRES, ids_of(attempts)).all()
    return {row.lease_token: row for row in rows}
