"""Jobs that run under a worker's lease and that the worker does not know: they are given back, and begin anew.

They are left by a claim that was committed although its answer, or what its jobs need to begin, was lost; and by an end
that could not be written.
"""

from collections.abc import Iterable
from random import Random
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.backoff import Backoff
from fairlane.domain.outcomes import Released
from fairlane.store.statements import workers
from fairlane.store.statements.finish import Finish, Finished, finish
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database

_BATCH: Final = 500
# Why they are given back; the log says so.
_CUT_OFF: Final = "its claim was cut off"
_LEFT: Final = "its worker left before its end was written"


def give_back(database: Database, card: WorkerCard, known: frozenset[UUID], *, are_ours: bool) -> tuple[int, bool]:
    """Release those whose lease is not `known`.

    Args:
        are_ours: whether the organizations are in Fairlane's own directory.

    Returns:
        How many, and whether somebody holds another, which is to be released later.
    """
    done = database.write(lambda connection: _give_back(database, connection, card, known, _CUT_OFF, are_ours=are_ours))
    return _changed(done), any(one.is_locked for one in done)


def leave(database: Database, card: WorkerCard, *, are_ours: bool) -> int:
    """Release all of them, and remove the worker; how many there were.

    In one transaction, so that a claim that is still on its way, since `run_async` was cancelled, finds no worker.
    """

    def work(connection: Connection) -> int:
        number = 0
        while done := _changed(_give_back(database, connection, card, frozenset(), _LEFT, are_ours=are_ours)):
            number += done  # a batch at a time
        workers.remove(connection, card.id)
        return number

    return database.write(work)


def _give_back(
    database: Database, connection: Connection, card: WorkerCard, known: frozenset[UUID], reason: str, *, are_ours: bool
) -> list[Finished]:
    mine = workers.running_jobs(connection, card.id, len(known) + _BATCH)
    lost = Released(reason)
    ends = [
        Finish(row.organization_id, row.id, row.job_type, row.lease_token, lost, Backoff(), card.name)
        for row in mine
        if row.lease_token not in known
    ]
    now, random = database.clock.now(connection), Random()  # noqa: S311 - jitter, no secret
    return finish(connection, now, ends, random, are_ours=are_ours)


def _changed(done: Iterable[Finished]) -> int:
    return sum(one.transition is not None for one in done)
