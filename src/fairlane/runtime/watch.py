"""Watch: find cancel requests for running jobs, and jobs whose lease was lost."""

import asyncio
from uuid import UUID

from fairlane.runtime.crew import Crew
from fairlane.runtime.reports import Interruption
from fairlane.store.statements import workers
from fairlane.store.transaction import Database


class Watch:
    """A service: one query per round for all jobs that run here, none when nothing runs."""

    def __init__(
        self, database: Database, worker_id: UUID, crew: Crew, loop: asyncio.AbstractEventLoop, interval: float
    ) -> None:
        self.name = "watch"
        self.interval = interval
        self._database = database
        self._worker_id = worker_id
        self._crew = crew
        self._loop = loop

    def run_once(self) -> int:
        """Stop what was canceled or lost. Always 0: a request that is being followed needs no other round."""
        # Before the query: what began after it is not missed in the answer.
        leases = self._crew.leases()
        if not leases:
            return 0
        held = self._database.read(lambda connection: workers.held_by(connection, self._worker_id))
        mine = {one.lease_token for one in held}
        canceled = {one.lease_token for one in held if one.cancel_requested}
        for lease in leases:
            if lease not in mine:
                self._loop.call_soon_threadsafe(self._crew.stop_one, lease, Interruption.LEASE_LOST)
            elif lease in canceled:
                self._loop.call_soon_threadsafe(self._crew.stop_one, lease, Interruption.CANCEL)
        return 0
