"""Ending attempts: under the row's lock and the attempt's lease, decide, write, and tell the children."""

from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, select

from fairlane.domain import transitions
from fairlane.domain.backoff import Backoff
from fairlane.domain.decide import Attempt, decide
from fairlane.domain.outcomes import Completed, Outcome
from fairlane.domain.statuses import TERMINAL, JobStatus
from fairlane.domain.transitions import Transition
from fairlane.store.statements import dependencies
from fairlane.store.statements.complete import Completion, complete
from fairlane.store.statements.transition import SYSTEM, Ended, write
from fairlane.store.tables import AnyRow, cancel_requests, jobs


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

    @property
    def is_plain(self) -> bool:
        """Whether it may be completed together with others, by `complete`."""
        return isinstance(self.outcome, Completed) and not self.has_checkpoint


class Finished(NamedTuple):
    """What became of the job. `transition` None: nothing was changed, since the lease was no longer its own, or, where
    `is_locked`, since somebody holds the row: try again.
    """

    finish: Finish
    transition: Transition | None
    is_locked: bool = False


def finish(connection: Connection, now: datetime, finishes: Sequence[Finish], random: Random) -> list[Finished]:
    """End these attempts and release the children of those that ended their job.

    Rows are locked in key order, so that two flushes don't deadlock.
    """
    ordered = sorted(
        finishes, key=lambda one: (one.organization, one.job_id.int)
    )  # in C, what a UUID compares in Python
    done = _complete_plain(connection, now, ordered)
    completed = {one.finish.lease_token for one in done}
    done += [_finish(connection, now, one, random) for one in ordered if one.lease_token not in completed]
    ended = [(one, one.transition.target) for one in done if one.transition is not None]
    dependencies.settle(connection, now, [_ended(one, target) for one, target in ended if target in TERMINAL])
    return done


def _complete_plain(connection: Connection, now: datetime, ordered: Sequence[Finish]) -> list[Finished]:
    plain = [one for one in ordered if one.is_plain]
    transition = transitions.complete(now, None)
    done: list[Finished] = []
    for actor in sorted({one.actor for one in plain}):
        mine = {(one.organization, one.job_id): one for one in plain if one.actor == actor}
        given = [Completion(*key, one.lease_token, _result(one)) for key, one in mine.items()]
        done += [Finished(mine[key], transition) for key in complete(connection, now, given, actor)]
    return done


def _finish(connection: Connection, now: datetime, item: Finish, random: Random) -> Finished:
    row = _lock_attempt(connection, item)
    if row is None:
        return Finished(item, None, is_locked=_has_lease(connection, item))
    transition = decide(_attempt(row), item.outcome, now, random, item.backoff)
    write(
        connection,
        now,
        item.organization,
        item.job_id,
        transition,
        actor=_actor(transition, row, item.actor),
        lease_token=item.lease_token,
    )
    return Finished(item, transition)


def _lock_attempt(connection: Connection, item: Finish) -> AnyRow | None:
    """The running row under this lease, locked first: a cancel request comes wholly before the decision or after it."""
    # A row that a host's transaction holds must not hold up the batch.
    locked = _under_lease(item).with_for_update(key_share=True, skip_locked=True)
    if connection.execute(locked).one_or_none() is None:
        return None
    # A statement of its own, since only a snapshot younger than the lock shows the request that held it before.
    return connection.execute(
        select(
            jobs.c.job_type,
            jobs.c.attempt,
            jobs.c.retry_count,
            jobs.c.rescue_count,
            jobs.c.max_retries,
            cancel_requests.c.requested_by,
            cancel_requests.c.reason,
        )
        .select_from(jobs)
        .outerjoin(
            cancel_requests,
            (cancel_requests.c.organization_id == jobs.c.organization_id) & (cancel_requests.c.job_id == jobs.c.id),
        )
        .where(jobs.c.organization_id == item.organization, jobs.c.id == item.job_id)
    ).one()


def _has_lease(connection: Connection, item: Finish) -> bool:
    return connection.execute(_under_lease(item)).one_or_none() is not None


def _under_lease(item: Finish) -> Select[UUID]:
    # The token is there while the job runs and no longer; the status beside it would tempt the planner into the index
    # of live jobs.
    return select(jobs.c.id).where(
        jobs.c.organization_id == item.organization, jobs.c.id == item.job_id, jobs.c.lease_token == item.lease_token
    )


def _attempt(row: AnyRow) -> Attempt:
    return Attempt(
        attempt=row.attempt,
        retry_count=row.retry_count,
        rescue_count=row.rescue_count,
        max_retries=row.max_retries,
        cancel_requested_by=row.requested_by,
        cancel_reason=row.reason or "",
    )


def _actor(transition: Transition, row: AnyRow, actor: str) -> str:
    canceled = transition.target is JobStatus.CANCELED
    return row.requested_by if canceled and row.requested_by else actor


def _result(item: Finish) -> str | None:
    return item.outcome.result if isinstance(item.outcome, Completed) else None


def _ended(one: Finished, status: JobStatus) -> Ended:
    return Ended(one.finish.organization, one.finish.job_id, one.finish.job_type, status)
