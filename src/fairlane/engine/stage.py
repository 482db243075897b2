"""Stage: make due jobs ready, and settle the children that the end of their parent could not settle.

Such children were submitted while a parent finished, or their parent has more children than a batch.
"""

from collections.abc import Callable, Mapping
from uuid import UUID

from fairlane.domain.errors import StorageUnavailable
from fairlane.domain.timing import LOCK_WAIT_OF_ROUND
from fairlane.store.driver_errors import is_held_up
from fairlane.store.statements import dependencies, revival
from fairlane.store.statements import stage as statements
from fairlane.store.statements.dependencies import EdgeKey
from fairlane.store.transaction import Database


class Stage:
    """A service; every worker runs it, and skips rows that another worker has locked.

    Args:
        on_ready: called, from the service's thread, when a job may have become claimable.
    """

    def __init__(self, database: Database, on_ready: Callable[[], object]) -> None:
        self._database = database
        self._on_ready = on_ready
        self._looked_at: Mapping[str, EdgeKey] = {}
        self._revived = ""  # the organization that had its turn last
        self._passed: dict[str, UUID] = {}  # by organization: the parent after which its next turn begins

    def run_once(self) -> int:
        """Move a batch of each kind. Return the number of jobs and edges."""
        database, clock = self._database, self._database.clock
        due = database.look(lambda c: statements.look(c, clock, self._revived))
        moved = 0
        if due.scheduled:
            moved += database.write(lambda c: statements.ready_scheduled(c, clock.now(c)))
        if due.retry:
            moved += database.write(lambda c: statements.ready_retries(c, clock.now(c)))
        if due.has_new_edges:
            looked = database.write(lambda c: dependencies.look_at_new_edges(c, clock.now(c), self._looked_at))
            moved, self._looked_at = moved + looked.moved, looked.after
        if (organization := due.revives) is not None:
            self._revived = organization  # also if its rows are locked, so that other organizations have their turns
            moved += self._revive(organization)
        if moved:
            self._on_ready()
        return moved

    def _revive(self, organization: str) -> int:
        """Revive a batch of an organization's jobs. Return 0 if a session of the application has locked a job."""
        database = self._database
        passed = self._passed.pop(organization, None)
        try:
            number, after = database.write(
                lambda c: revival.go_on(c, database.clock.now(c), organization, passed),
                row_seconds=LOCK_WAIT_OF_ROUND,
            )
        except StorageUnavailable as error:
            if not is_held_up(error):
                raise
            return 0
        if after is not None:
            self._passed[organization] = after
        return number
