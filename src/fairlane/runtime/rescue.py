"""Rescue: take back the jobs of workers whose lease has run out."""

from random import Random

from fairlane.domain.events import Emit, JobsRescued
from fairlane.runtime.heartbeat import Heartbeat
from fairlane.store.statements.rescue import rescue_one_worker
from fairlane.store.transaction import Database


class Rescue:
    """A service; every worker runs it, and two never take the same lost worker."""

    def __init__(self, database: Database, heartbeat: Heartbeat, emit: Emit, interval: float) -> None:
        self.name = "rescue"
        self.interval = interval
        self._database = database
        self._heartbeat = heartbeat
        self._emit = emit
        self._random = Random()  # noqa: S311 - jitter, no secret

    def run_once(self) -> int:
        """Take back the jobs of one lost worker, up to a batch; whether there was one."""
        if not self._heartbeat.may_rescue():
            return 0
        rescued = self._database.write(
            lambda connection: rescue_one_worker(connection, self._database.clock, self._random)
        )
        if rescued is None:
            return 0
        worker_id, finished = rescued
        if finished:
            self._emit(JobsRescued(worker_id, len(finished)))
        return 1
