"""Workers and their leases: one heartbeat per worker keeps all of its jobs."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, or_, select, text, update

from fairlane.domain.backoff import Backoff
from fairlane.domain.outcomes import Lost
from fairlane.domain.poison import LostAttempt, judge
from fairlane.domain.statuses import JobStatus
from fairlane.store.clock import Clock
from fairlane.store.sql import fixed, insert_many, upsert
from fairlane.store.statements.finish import Finish, Finished, finish
from fairlane.store.tables import AnyRow, live, locked_organizations, workers


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A worker's description of itself. `queues` None = all; `version` is Fairlane's."""

    id: UUID
    name: str
    queues: tuple[str, ...] | None
    job_types: tuple[str, ...]
    slots: int
    started_at: datetime | None = None
    version: str | None = None


def register(connection: Connection, clock: Clock, card: WorkerCard, lease: float) -> None:
    """Write the worker's row, with a fresh lease of `lease` seconds."""
    now = clock.now(connection)
    values = {
        "id": card.id,
        "name": card.name,
        "queues": json.dumps(card.queues),
        "job_types": json.dumps(card.job_types),
        "slots": card.slots,
        "boot_id": clock.boot_id(connection),
        "lease_expires": clock.lease_seconds(connection) + lease,
        "started_at": card.started_at or now,
        "heartbeat_at": now,
        "stopping": False,
        "version": card.version,
        "left_behind": 0,
        "drain_requested": False,
    }
    upsert(connection, workers, values)


def beat(
    connection: Connection,
    clock: Clock,
    worker_id: UUID,
    lease: float,
    *,
    stopping: bool,
    left_behind: int = 0,
) -> bool:
    """Extend the lease by `lease` seconds from now; False if the worker was given up and its row is gone.

    Args:
        left_behind: the number of its handlers that did not stop and still run. Their results are fenced off.
    """
    extended = connection.execute(
        update(workers)
        .where(workers.c.id == worker_id)
        .values(
            lease_expires=clock.lease_seconds(connection) + lease,
            heartbeat_at=clock.now(connection),
            stopping=stopping,
            left_behind=left_behind,
        )
    )
    return extended.rowcount == 1


def tell_locked(connection: Connection, worker_id: UUID, locked: Collection[str]) -> None:
    """Store the organizations whose jobs the worker can't claim, because it lacks the master key."""
    _forget_locked(connection, worker_id)
    if locked:
        rows = [{"organization_id": organization, "worker_id": worker_id} for organization in sorted(locked)]
        insert_many(connection, locked_organizations, rows)


def lacking_key_of(connection: Connection, organization: str) -> frozenset[UUID]:
    """Return the workers that can't claim jobs of the organization, because they lack the master key."""
    lacking = select(locked_organizations.c.worker_id).where(locked_organizations.c.organization_id == organization)
    return frozenset(connection.scalars(lacking))


def lacking_keys(connection: Connection) -> dict[UUID, list[str]]:
    """Return the workers that lack a master key, each with the organizations whose jobs it can't claim."""
    found: dict[UUID, list[str]] = {}
    statement = select(locked_organizations).order_by(locked_organizations.c.organization_id)
    for row in connection.execute(statement.execution_options(fairlane_across="operator reads")):
        found.setdefault(row.worker_id, []).append(row.organization_id)
    return found


def request_drain(connection: Connection, worker_id: UUID) -> str | None:
    """Ask the worker to drain, which it sees at its next heartbeat. Return its name; None for an unknown worker."""
    asked = update(workers).where(workers.c.id == worker_id).values(drain_requested=True).returning(workers.c.name)
    return connection.scalars(asked).one_or_none()


def is_asked_to_drain(connection: Connection, worker_id: UUID) -> bool:
    """Return True if the worker was asked to drain."""
    asked = connection.scalars(select(workers.c.drain_requested).where(workers.c.id == worker_id)).one_or_none()
    return bool(asked)


def held_by(connection: Connection, worker_id: UUID) -> dict[UUID, bool]:
    """Return the lease tokens of this worker's running jobs, each with True if a cancel was requested.

    The worker has lost all other jobs that it runs.
    """
    mine = select(live.c.lease_token, live.c.cancel_requested_at).where(_runs_under(worker_id))
    rows = connection.execute(mine.execution_options(fairlane_across="heartbeat"))
    return {row.lease_token: row.cancel_requested_at is not None for row in rows}


class LostWorker(NamedTuple):
    """A worker whose jobs are to be rescued."""

    id: UUID
    name: str


def lock_lost(connection: Connection, clock: Clock, leaving: Iterable[UUID] = ()) -> LostWorker | None:
    """Lock a worker whose lease has expired, so that no other rescuer takes it; None if there is none.

    A lease from another boot of the machine (SQLite) has expired, too: its worker died with that boot.
    """
    row = connection.execute(
        select(workers.c.id, workers.c.name)
        .where(_is_lost(connection, clock), workers.c.id.not_in(list(leaving)))
        .order_by(workers.c.lease_expires)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    return LostWorker(row.id, row.name) if row is not None else None


# Skip scan: one index probe per worker with running jobs, however many jobs it runs.
_MISSING: Final = (
    text("""
WITH RECURSIVE holder(id) AS (
  SELECT (SELECT worker_id FROM fairlane_live WHERE status = :status ORDER BY worker_id LIMIT 1)
  UNION ALL
  SELECT (SELECT worker_id FROM fairlane_live WHERE status = :status AND worker_id > holder.id
          ORDER BY worker_id LIMIT 1)
  FROM holder WHERE holder.id IS NOT NULL
)
SELECT id FROM holder WHERE id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM fairlane_workers AS w WHERE w.id = holder.id)
""")
    .bindparams(bindparam("status", JobStatus.RUNNING.value, literal_execute=True))  # see `fixed`
    .columns(workers.c.id)
    .execution_options(fairlane_across="rescue")
)


def missing(connection: Connection, leaving: Collection[UUID] = ()) -> LostWorker | None:
    """Return a worker without a row that still has running jobs; None if there is none, which is the normal case.

    `remove` leaves no such jobs, but somebody may delete rows by hand. Nothing else would ever find these jobs. There
    is no row to lock: of two rescuers only one gets each job, by its lease.
    """
    ids = (worker_id for worker_id in connection.scalars(_MISSING) if worker_id not in leaving)
    return next((LostWorker(worker_id, str(worker_id)) for worker_id in ids), None)


def end_running(
    connection: Connection, worker_id: UUID, limit: int, end: Callable[[Sequence[AnyRow]], list[Finished]]
) -> Iterator[list[Finished]]:
    """End this worker's running jobs, a batch at a time, and yield the outcome of each batch.

    Locked jobs are skipped: otherwise they would fill each batch and hold up the others.
    """
    left, is_last = 0, False
    while not is_last and (mine := running_jobs(connection, worker_id, limit, left)):
        done = end(mine)
        left += len(mine) - sum(not one.is_locked for one in done)
        is_last = len(mine) < limit
        yield done


def running_jobs(connection: Connection, worker_id: UUID, limit: int, skip: int = 0) -> Sequence[AnyRow]:
    """Return keys and lease tokens of this worker's running jobs, those with most rescues first.

    This waits for an open claim of the worker: the claim may still be committed, even after its connection broke.
    """
    _wait_for_claim(connection, worker_id)
    return connection.execute(
        select(
            live.c.organization_id,
            live.c.id,
            live.c.job_type,
            live.c.lease_token,
            live.c.rescue_count,
            live.c.started_at,
        )
        .where(_runs_under(worker_id))
        .order_by(live.c.rescue_count.desc(), live.c.organization_id, live.c.id)
        .limit(limit)
        .offset(skip)
        .execution_options(fairlane_across="rescue")
    ).all()


def remove(connection: Connection, worker_id: UUID) -> bool:
    """Delete the worker's row, unless it still has running jobs, which the rescue has to find."""
    # Before the delete: after a wait the DELETE checks its condition again only if the row was changed, not if it was
    # only locked. So it would miss the jobs of the claim that it waited for.
    _wait_for_claim(connection, worker_id)
    running = (select(live.c.id).where(_runs_under(worker_id)).limit(1)).exists()
    statement = delete(workers).where(workers.c.id == worker_id, ~running)
    is_gone = connection.execute(statement.execution_options(fairlane_across="rescue")).rowcount == 1
    if is_gone:
        _forget_locked(connection, worker_id)
    return is_gone


def _forget_locked(connection: Connection, worker_id: UUID) -> None:
    forgotten = delete(locked_organizations).where(locked_organizations.c.worker_id == worker_id)
    connection.execute(forgotten.execution_options(fairlane_across="heartbeat"))


def _wait_for_claim(connection: Connection, worker_id: UUID) -> None:
    """Wait for an open claim of the worker, which keeps its row locked until it ends; see hold_worker.sql."""
    connection.execute(select(workers.c.id).where(workers.c.id == worker_id).with_for_update())


def all_workers(connection: Connection, clock: Clock) -> Sequence[AnyRow]:
    """Return workers with a valid lease."""
    return connection.execute(select(workers).where(~_is_lost(connection, clock)).order_by(workers.c.name)).all()


def holder(connection: Connection, worker_id: UUID) -> AnyRow | None:
    """Return the lease of the worker that runs a job; None if the worker has no row."""
    return connection.execute(
        select(workers.c.name, workers.c.heartbeat_at, workers.c.lease_expires, workers.c.boot_id).where(
            workers.c.id == worker_id
        )
    ).one_or_none()


def expired(connection: Connection, clock: Clock) -> Sequence[AnyRow]:
    """Return workers with an expired lease whose jobs no live worker has rescued yet."""
    return connection.execute(select(workers).where(_is_lost(connection, clock))).all()


def _runs_under(worker_id: UUID) -> ColumnElement[bool]:
    """Return the condition for a worker's running jobs. A row without a lease is no worker's, and can't be ended."""
    is_running = live.c.status == fixed(JobStatus.RUNNING)
    return and_(live.c.worker_id == worker_id, is_running, live.c.lease_token.is_not(None))


def _is_lost(connection: Connection, clock: Clock) -> ColumnElement[bool]:
    return or_(
        workers.c.boot_id != clock.boot_id(connection), workers.c.lease_expires < clock.lease_seconds(connection)
    )


def rescue_worker(
    connection: Connection,
    clock: Clock,
    random: Random,
    lost: LostWorker,
    held: Sequence[AnyRow],
    *,
    are_ours: bool = True,
) -> list[Finished]:
    """End attempts of a lost worker as `Lost`, remove its row if none is left, and return the outcomes.

    Args:
        lost: found by `missing`, or locked by `lock_lost`: then a second rescuer skips it, and a claim of the worker
            itself, if it is still alive, waits and then finds no lease.
        held: some of its `running_jobs`.
        are_ours: whether organizations are in Fairlane's own directory.
    """
    now = clock.now(connection)
    decisions = judge([LostAttempt(row.rescue_count, (now - row.started_at).total_seconds()) for row in held], random)
    finishes = [
        Finish(row.organization_id, row.id, row.job_type, row.lease_token, Lost(lost.name, decision), Backoff())
        for row, decision in zip(held, decisions, strict=True)
    ]
    done = finish(connection, now, finishes, random, are_ours=are_ours)
    remove(connection, lost.id)
    return done
