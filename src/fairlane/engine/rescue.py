"""The rescue of jobs of workers whose lease has run out, or that have no row any more."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.events import Emit, JobsRescued
from fairlane.engine.heartbeat import Heartbeat
from fairlane.store.statements import workers
from fairlane.store.statements.finish import Finished
from fairlane.store.transaction import Database

_BATCH: Final = 500
_MOST_WORKERS: Final = 100  # without jobs, in a round


class Rescue:
    """A service; every worker runs it, and only one worker at a time rescues the jobs of a lost worker.

    Args:
        on_ready: called, from the service's thread, when something may have become claimable.
        are_ours: whether organizations are in Fairlane's own directory.
    """

    def __init__(
        self,
        database: Database,
        heartbeat: Heartbeat,
        emit: Emit,
        on_ready: Callable[[], object],
        *,
        are_ours: bool,
    ) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._emit = emit
        self._on_ready = on_ready
        self._are_ours = are_ours
        self._passed_over: set[UUID] = set()
        self._rescuing: UUID | None = None  # the worker whose rescue was begun
        self._random = Random()  # noqa: S311 - jitter, no secret

    def run_once(self) -> int | None:
        """Rescue the jobs of the first lost worker that has any, up to a batch.

        Returns:
            The number of jobs; None if this worker may not rescue now; then it sent no query.
        """
        if not self._heartbeat.may_rescue():
            return None
        for _ in range(_MOST_WORKERS):
            rescued = self._take_back()
            if rescued != 0:
                return rescued or 0
        return 0

    def _take_back(self) -> int | None:
        """Rescue the jobs of one lost worker, up to a batch. Return how many; None: no other worker is lost."""
        try:
            rescued = self._database.write(self._rescue)
        except Exception:
            # An error with this worker must not delay the jobs of other workers; this worker is retried after them.
            if self._rescuing is not None:
                self._passed_over.add(self._rescuing)
            raise
        if rescued is None:
            self._passed_over.clear()
            return None
        lost, finished = rescued
        # Jobs that another session has locked do not count: the next round rescues them.
        jobs = sum(one.transition is not None for one in finished)
        if jobs:
            self._on_ready()
            self._emit(JobsRescued(lost.id, jobs, lost.name))
        else:  # it had no jobs, or another session has locked their rows
            self._passed_over.add(lost.id)
        return jobs

    def _rescue(self, connection: Connection) -> tuple[workers.LostWorker, list[Finished]] | None:
        """Rescue the jobs of a lost worker; None: no other worker is lost, or the clock was set forward."""
        self._rescuing = None
        clock = self._database.clock
        lost = workers.lock_lost(connection, clock, self._passed_over) or workers.missing(connection, self._passed_over)
        # The clock is read after the leases, so that a step that ended a lease is found. This transaction may have
        # waited for long. Other workers may have waited, too, and their leases have run out meanwhile. `may_rescue` is
        # checked last: if a beat has found the step meanwhile, this worker may not rescue.
        is_step = lost is not None and self._heartbeat.sees_a_step(clock.lease_seconds(connection))
        if lost is None or is_step or not self._heartbeat.may_rescue():
            return None
        self._rescuing = lost.id
        rescue = partial(workers.rescue_worker, connection, clock, self._random, lost, are_ours=self._are_ours)
        done = list[Finished]()
        for done in workers.end_running(connection, lost.id, _BATCH, rescue):
            if any(one.transition is not None for one in done):
                break
        else:
            workers.remove(connection, lost.id)
        return lost, done
