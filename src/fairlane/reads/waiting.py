"""`Waiting`: what holds back the jobs of a list, read once for all of them."""

from sqlalchemy import Connection

from fairlane.domain.holds import Holds
from fairlane.domain.statuses import OrganizationStatus
from fairlane.reads.explain import live_worker
from fairlane.store.clock import Clock
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import breakers, job_types, organizations, workers
from fairlane.store.transaction import Database


class Waiting:
    """Reads of what many jobs wait for together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def holds(self, organization: str) -> Holds:
        """What holds the organization's jobs back now; of the status that a host keeps of it nothing is asked."""
        # Pauses and workers are everybody's.
        return self._database.read(
            lambda connection: _holds(connection, self._database.clock, organization), of=EVERYONE
        )


def _holds(connection: Connection, clock: Clock, organization: str) -> Holds:
    statuses = [OrganizationStatus(row.status) for row in organizations.find(connection, [organization])]
    alive, lacking = workers.all_workers(connection, clock), workers.lacking_key_of(connection, organization)
    return Holds(
        status=statuses[0] if statuses else None,
        paused={(row.subject, row.name) for row in job_types.paused(connection)},
        resting={one.job_type for one in breakers.open_of(connection, organization)},
        workers=[live_worker(row, lacks_key=row.id in lacking) for row in alive],
    )
