"""Taking back the jobs of a worker whose lease has run out."""

from collections.abc import Sequence
from random import Random

from sqlalchemy import Connection

from fairlane.domain.backoff import Backoff
from fairlane.domain.blame import LostAttempt, judge
from fairlane.domain.outcomes import Lost
from fairlane.store.clock import Clock
from fairlane.store.statements import workers
from fairlane.store.statements.finish import Finish, Finished, finish
from fairlane.store.statements.workers import LostWorker
from fairlane.store.tables import AnyRow


def rescue_worker(
    connection: Connection,
    clock: Clock,
    random: Random,
    lost: LostWorker,
    held: Sequence[AnyRow],
    *,
    are_ours: bool = True,
) -> list[Finished]:
    """End attempts of a lost worker as `Lost`, and remove its row when none is left. Return what became of them.

    Args:
        lost: found by `workers.missing`, or by `workers.lock_expired` and so locked: a second rescuer skips it, and a
            claim of the worker itself, should it not be dead, waits and then finds no lease.
        held: of its `workers.running_jobs`.
        are_ours: whether organizations are in Fairlane's own directory.
    """
    now = clock.now(connection)
    verdicts = judge([LostAttempt(row.rescue_count, (now - row.started_at).total_seconds()) for row in held], random)
    finishes = [
        Finish(row.organization_id, row.id, row.job_type, row.lease_token, Lost(lost.name, verdict), Backoff())
        for row, verdict in zip(held, verdicts, strict=True)
    ]
    done = finish(connection, now, finishes, random, are_ours=are_ours)
    workers.remove(connection, lost.id)
    return done
