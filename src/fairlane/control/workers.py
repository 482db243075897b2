"""What operators ask of workers: `fl.workers`."""

from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import WorkerNotFound
from fairlane.domain.texts import storable
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import audit, workers
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.transaction import Database


class Workers:
    """Asks workers of any machine, through the database. For operators."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def drain(self, worker_id: UUID, *, user: str | None = None) -> None:
        """Ask a worker to claim no more, finish what it runs and end; its supervisor starts another in its place.

        It hears of it with its next heartbeat, within a third of its lease.

        Raises:
            WorkerNotFound: no live worker has the id.
        """
        storable(user=user)

        def work(connection: Connection) -> None:
            name = workers.request_drain(connection, worker_id)
            if name is None:
                raise WorkerNotFound(f"There is no live worker {worker_id}; `fairlane top` shows which there are.")
            now = self._database.clock.now(connection)
            audit.record(connection, now, None, user or SYSTEM, "workers.drain", worker_id, after={"name": name})

        self._database.write(work, of=EVERYONE)
