"""The end of attempts: under the live row's lock and the lease token, decide, write, and tell the children.

If a handler returned and no cancel was requested, its completion is quick: one statement writes the values of
`transitions.complete` for many jobs. Every other end is decided separately.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain import transitions
from fairlane.domain.backoff import Backoff
from fairlane.domain.decide import AttemptState, decide
from fairlane.domain.jobs import JobState
from fairlane.domain.outcomes import Completed, Outcome
from fairlane.domain.sealing import Field, Seal
from fairlane.domain.statuses import TERMINAL, EdgeState, JobStatus
from fairlane.domain.transitions import Transition
from fairlane.store.engine import engine_of
from fairlane.store.line import Line
from fairlane.store.sql import as_given
from fairlane.store.statements import dependencies, organizations
from fairlane.store.statements.transition import SYSTEM, Change, Key, values_for_many, write_all
from fairlane.store.tables import AnyRow, jobs, live

_COLUMNS: Final = (
    *(live.c.lease_token, live.c.attempt, live.c.retry_count, live.c.rescue_count, jobs.c.max_retries),
    *(live.c.deferrals, live.c.cancel_requested_at, live.c.cancel_requested_by, live.c.cancel_reason),
)


class Finish(NamedTuple):
    """The end of one attempt, proved by its lease token."""

    organization: str
    job_id: UUID
    job_type: str
    lease_token: UUID
    outcome: Outcome
    backoff: Backoff
    actor: str = SYSTEM
    has_checkpoint: bool = True  # False only if it is certain that there is none to delete
    has_run: bool = False  # its texts may quote the job's payload; else they are Fairlane's words
    seconds: float = 0.0  # the attempt's duration
    seal: Seal | None = None  # by the organization's key, if there is a usable one
    was_left_out: bool = False  # by the statement for quick completions: so it is decided separately

    @property
    def key(self) -> Key:
        """Return the job's key."""
        return self.organization, self.job_id

    @property
    def is_quick(self) -> bool:
        """Return True if it is a quick completion, which one statement may write together with others."""
        return isinstance(self.outcome, Completed) and not self.has_checkpoint and not self.was_left_out


class Finished(NamedTuple):
    """The outcome of ending an attempt.

    Attributes:
        transition: None = nothing was changed. If `is_locked`, another session locks the row: retry. Otherwise the
            lease token has changed or is gone: another worker has the job, or an earlier commit of this end took effect
            without an answer.
        may_make_ready: the job is ready again, or a child of it may be. Capacity under a limit does not count: workers
            that wait for it poll, and ends are many.
    """

    finish: Finish
    transition: Transition | None
    is_locked: bool = False
    may_make_ready: bool = False


async def complete_all(line: Line, finishes: Sequence[Finish]) -> list[Finished]:
    """Write quick completions of one actor by one statement on the event loop. `finish` handles those that it skips.

    If `may_make_ready`, a child of the job was submitted just now, and `tell_children` has to tell it.

    Raises:
        FairlaneError: as `Line.fetch`.
    """
    # By numbers, which hash in C; UUIDs hash in Python.
    if len({one.job_id.int for one in finishes}) < len(finishes):
        keys = Counter(one.key for one in finishes)  # of two attempts of a job one is lost; `finish` finds out which
        finishes = [one for one in finishes if keys[one.key] == 1]
    if not finishes:
        return []
    rows = await line.fetch(line.database.kind.statement("complete"), arrays(finishes))
    if not rows:
        return []
    transition = transitions.complete(rows[0][2], None)
    parents = {row[:2] for row in rows if row[3]}
    if len(rows) < len(finishes):
        done = {row[:2] for row in rows}
        finishes = [one for one in finishes if one.key in done]
    return [Finished(one, transition, may_make_ready=bool(parents) and one.key in parents) for one in finishes]


def tell_children(connection: Connection, now: datetime, done: Sequence[Finished]) -> None:
    """Tell the children of completed jobs."""
    dependencies.settle(connection, now, [_ended(one, JobStatus.COMPLETED) for one in done])


def finish(
    connection: Connection, now: datetime, finishes: Sequence[Finish], random: Random, *, are_ours: bool = True
) -> list[Finished]:
    """End these attempts, and settle the children of those that ended their job.

    Rows are locked in key order, so that two flushes don't deadlock.

    Args:
        are_ours: whether their organizations are in Fairlane's own directory.
    """
    # By numbers, which compare in C; UUIDs compare in Python.
    ordered = sorted(finishes, key=lambda one: (one.organization, one.job_id.int))
    quick = _complete_quick(connection, now, ordered)
    # A job without watched children may have a new child.
    done, others = [one for one in quick if not one.may_make_ready], [one for one in quick if one.may_make_ready]
    if len(quick) < len(ordered):
        completed = {one.finish.lease_token for one in quick}
        left = [one for one in ordered if one.lease_token not in completed]
        others += _finish(connection, now, left, random, are_ours=are_ours)
    if others:
        ends = [(one, one.transition.target) for one in others if one.transition is not None]
        ended = [_ended(one, target) for one, target in ends if target in TERMINAL]
        parents = dependencies.settle(connection, now, ended)
        done += [one._replace(may_make_ready=_may_make_ready(one, parents)) for one in others]
    return done


def _may_make_ready(one: Finished, parents: Collection[Key]) -> bool:
    if one.transition is None:
        return False
    if one.transition.target not in TERMINAL:
        return bool(one.transition.changes["ready"])  # otherwise it waits for its time, and `stage` makes it ready
    return bool(parents) and one.finish.key in parents


def _complete_quick(connection: Connection, now: datetime, ordered: Sequence[Finish]) -> list[Finished]:
    """Complete jobs by one statement and return them; if `may_make_ready`, a child of the job has to be told."""
    quick = [one for one in ordered if one.is_quick]
    transition = transitions.complete(now, None)
    done: list[Finished] = []
    for actor in sorted({one.actor for one in quick}):
        mine = {one.key: one for one in quick if one.actor == actor}
        rows = engine_of(connection).complete(connection, now, list(mine.values()))
        done += [Finished(mine[key], transition, may_make_ready=has_child) for key, has_child in rows]
    return done


def _finish(
    connection: Connection, now: datetime, items: Sequence[Finish], random: Random, *, are_ours: bool
) -> list[Finished]:
    """Decide each attempt separately, and write all together: separate statements would hold up later results."""
    if not items:
        return []
    locked = _lock(connection, items)
    rows = _read(connection, items)
    # After the lock: a deletion committed before is visible, and a later one waits for this transaction.
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
        # It still has its lease token, but was not locked here: another session locks it.
        else Finished(item, None, is_locked=item.lease_token in rows)
        for item in items
    ]


def _change(item: Finish, row: AnyRow, attempt: AttemptState, now: datetime, random: Random) -> Change:
    transition = decide(attempt, item.outcome, now, random, item.backoff)
    actor = _actor(transition, row, item.actor)
    if item.seal is not None:
        transition = transitions.sealed(transition, item.seal)
    return Change(item.organization, item.job_id, transition, actor=actor, lease_token=item.lease_token)


def _attempt(row: AnyRow, *, is_gone: bool) -> AttemptState:
    return AttemptState(
        attempt=row.attempt,
        retry_count=row.retry_count,
        rescue_count=row.rescue_count,
        max_retries=row.max_retries,
        deferrals=row.deferrals,
        organization_is_gone=is_gone,
        cancel_requested_at=row.cancel_requested_at,
        cancel_requested_by=row.cancel_requested_by,
        cancel_reason=row.cancel_reason or "",
    )


def _actor(transition: Transition, row: AnyRow, actor: str) -> str:
    canceled = transition.target is JobStatus.CANCELED
    return row.cancel_requested_by if canceled and row.cancel_requested_by else actor


def result_of(item: Finish) -> str | None:
    result = item.outcome.result if isinstance(item.outcome, Completed) else None
    return item.seal(Field.RESULT, result) if item.seal is not None and result is not None else result


def _ended(one: Finished, status: JobStatus) -> JobState:
    return JobState(one.finish.organization, one.finish.job_id, one.finish.job_type, status)


def _lock(connection: Connection, attempts: Sequence[Finish]) -> set[UUID]:
    """Lock the running rows with these lease tokens until the transaction ends, in the given order.

    Returns:
        The tokens of the locked rows. The other rows have another token, or are locked elsewhere: `_read` finds out.
    """
    engine = engine_of(connection)
    if engine.writers_are_serial:
        return {one.lease_token for one in attempts}
    locked = engine.statement("lock_attempts").columns(live.c.lease_token).execution_options(fairlane_across="finish")
    return set(connection.scalars(locked, {"given": _keys(attempts)}))


def _read(connection: Connection, attempts: Sequence[Finish]) -> dict[UUID, AnyRow]:
    """Return what `decide` needs of the attempts whose rows still have these lease tokens, by token.

    This is a separate statement after `_lock`: only a snapshot younger than the lock shows a cancel request that locked
    the row before. So a request comes wholly before the decision or wholly after it.
    """
    read = engine_of(connection).statement("read_attempts").columns(*_COLUMNS)
    rows = connection.execute(read.execution_options(fairlane_across="finish"), {"given": _keys(attempts)})
    return {row.lease_token: row for row in rows}


def _keys(attempts: Sequence[Finish]) -> str:
    return as_given((one.organization, one.job_id.hex, one.lease_token.hex) for one in attempts)


def common(ends: Sequence[Finish]) -> dict[str, object]:
    """Return the parameters that all ends share. The statement itself sets the time of their end."""
    transition = transitions.complete(datetime.min.replace(tzinfo=UTC), None)
    return {**values_for_many(transition, ends[0].actor), "settled": EdgeState.SETTLED}


def arrays(ends: Sequence[Finish]) -> dict[str, object]:
    """Return the parameters of the statement that writes quick completions, if the database has one."""
    results = list(map(result_of, ends))
    left = [one for one, result in zip(ends, results, strict=True) if result is not None]
    return {
        **common(ends),
        "organizations": [one.organization for one in ends],
        "ids": " ".join([one.job_id.hex for one in ends]),
        "tokens": " ".join([one.lease_token.hex for one in ends]),
        "leave_results": [result is not None for result in results],
        "result_organizations": [one.organization for one in left],
        "result_ids": [one.job_id for one in left],
        # As one text: in an array the driver escapes each quote separately, which took half a minute for 80 MB.
        "results": json.dumps([result for result in results if result is not None], ensure_ascii=False),
    }
