"""Taking back the jobs of a worker whose lease has run out."""

from random import Random
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.backoff import Backoff
from fairlane.domain.blame import LostAttempt, judge
from fairlane.domain.outcomes import Lost
from fairlane.store.clock import Clock
from fairlane.store.statements import workers
from fairlane.store.statements.finish import Finish, Finished, finish
from fairlane.store.tables import AnyRow

_BATCH = 500


def rescue_one_worker(connection: Connection, clock: Clock, random: Random) -> tuple[UUID, list[Finished]] | None:
    """Find one lost worker and end up to 500 of its attempts as `Lost`; remove its row when none is left.

    The worker's row is locked meanwhile: a second rescuer skips it, and a claim of the worker itself, should it not be
    dead, waits and then finds no lease.

    Returns:
        The worker's id and what became of its jobs, or None if no lease has run out.
    """
    lost = workers.lock_expired(connection, clock)
    return (lost.id, rescue_worker(connection, clock, random, lost)) if lost is not None else None


def rescue_worker(connection: Connection, clock: Clock, random: Random, lost: AnyRow) -> list[Finished]:
    """The same for a worker that `workers.lock_expired` found."""
    now = clock.now(connection)
    held = workers.running_jobs(connection, lost.id, _BATCH)
    verdicts = judge([LostAttempt(row.rescue_count, (now - row.started_at).total_seconds()) for row in held], random)
    finishes = [
        Finish(row.organization_id, row.id, row.job_type, row.lease_token, Lost(lost.name, verdict), Backoff())
        for row, verdict in zip(held, verdicts, strict=True)
    ]
    done = finish(connection, now, finishes, random)
    workers.remove(connection, lost.id)
    return done
