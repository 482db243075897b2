"""Goes on with bulk actions that were begun, so that whoever began one need not wait for its end."""

from collections.abc import Callable
from uuid import UUID

from fairlane.domain.errors import StorageUnavailable
from fairlane.domain.events import Emit, ServiceFailed
from fairlane.store.statements import bulk_actions as statements
from fairlane.store.transaction import Database

# Does a step of an organization's bulk action, unless somebody else is at it; how much it did.
GoOn = Callable[[str, UUID], int]


class BulkActions:
    """A service; every worker runs it: a step of the one that has waited longest, then a rest if all slots are taken.

    Args:
        has_room: tells whether the worker has a slot to spare.
        on_ready: called, from the service's thread, when something may have become claimable.
    """

    def __init__(
        self,
        database: Database,
        go_on: GoOn,
        emit: Emit,
        *,
        has_room: Callable[[], bool],
        on_ready: Callable[[], object],
    ) -> None:
        self._database = database
        self._go_on = go_on
        self._emit = emit
        self._has_room = has_room
        self._on_ready = on_ready

    def run_once(self) -> int:
        """Do a step. Return 0 in a full worker, as if there were no more to do: its jobs have most of its time."""
        done = self.step()
        return done if self._has_room() else 0

    def step(self) -> int:
        """Do a step of the one that has waited longest, of those that nobody is at. Return how many steps that were."""
        database = self._database
        found = database.look(statements.live)
        if not found:
            return 0
        now = database.look(database.clock.now)
        for one in found:
            if one.look_at <= now and self._try(one.organization_id, one.id):
                self._on_ready()
                return 1
        return 0

    def _try(self, organization: str, action: UUID) -> int:
        try:
            return self._go_on(organization, action)
        except StorageUnavailable:
            return 0  # a job of it is held: it comes later. Where the database is away, the next look says so
        except Exception as error:  # noqa: BLE001 - one that is broken must not hold up the others
            self._emit(ServiceFailed("bulk actions", error))
            return 0
