"""The dependencies that the application hands to a worker."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Self

from fairlane.config import Settings
from fairlane.domain.events import Emit
from fairlane.domain.timing import SILENCE_OF_WORKER
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.encryption.keyring import Keyring
from fairlane.engine.middleware import Middleware
from fairlane.engine.system.bulk_actions import GoOn
from fairlane.jobtypes.catalogue import Catalogue
from fairlane.store.response_timeout import ResponseTimeout
from fairlane.store.row_security import DatabaseRole
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Directory, StoredDirectory

SERVICE_THREADS: Final = 3  # for claims, results and upkeep
REPORT_THREADS: Final = 4  # for the reports of handlers
FILE_THREADS: Final = 4  # for their artifacts
VALUE_THREADS: Final = 4  # for their validators, and for objects in their results
# One connection for each of these threads, and one for the heartbeat's: none waits for another's.
_CONNECTIONS: Final = SERVICE_THREADS + REPORT_THREADS + FILE_THREADS + 1


@dataclass(frozen=True, slots=True)
class Deps:
    """The dependencies of the parts of a worker."""

    database: Database
    settings: Settings
    catalogue: Catalogue
    directory: Directory
    artifacts: ObjectStorage
    emit: Emit
    # Built from the worker's connections, events and wake-up: schedules are above the engine, and submit through it.
    scheduler: Callable[[Database, Emit, Callable[[], object]], Callable[[], int]]
    bulk_steps: Callable[[Database, Directory], GoOn]
    keyring: Keyring
    middlewares: tuple[Middleware, ...] = ()

    @property
    def are_ours(self) -> bool:
        """Return True if organizations are in Fairlane's own directory."""
        return isinstance(self.directory, StoredDirectory)

    def on_own_connections(self) -> Self:
        """Return the same on connections of the worker's own: handlers and the application may use up the others."""
        url = self.settings.worker_url
        silence = ResponseTimeout(SILENCE_OF_WORKER)
        database = self.database.sibling(
            pool_size=_CONNECTIONS, url=url, role=DatabaseRole.WORKER, response_timeout=silence
        )
        # A host's directory reads on the host's own connections.
        directory = StoredDirectory(database) if self.are_ours else self.directory
        return replace(self, database=database, directory=directory)
