"""The verbs of operators about workers: `fl.workers`."""

from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import WorkerNotFound
from fairlane.domain.metrics import WorkerView
from fairlane.domain.permissions import Right
from fairlane.store.statements import workers
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Actor, Told


class Workers:
    """Look at the workers of all machines, and drain them, through the database. For operators."""

    def __init__(self, database: Database, look: Callable[[], tuple[WorkerView, ...]]) -> None:
        self._database = database
        self._look = look

    def list(self) -> tuple[WorkerView, ...]:
        """Return the workers that are alive, by name."""
        return self._look()

    def drain(self, worker_id: UUID, *, user: str | None = None) -> None:
        """Ask a worker to claim no more, finish what it runs and end; its supervisor starts another in its place.

        The worker learns of it with its next heartbeat, within a third of its lease.

        Args:
            user: the user who asks for it; None = the system.

        Raises:
            WorkerNotFound: no live worker has the id.
            PermissionDenied
        """

        def work(connection: Connection) -> tuple[None, Told]:
            name = workers.request_drain(connection, worker_id)
            if name is None:
                raise WorkerNotFound(
                    f"There is no live worker {worker_id}; `fairlane workers list` shows which there are."
                )
            return None, Told(worker_id, after={"name": name})

        Actor(user, Right.ORGANIZATION_CHANGE).change(self._database, "workers.drain", work)
