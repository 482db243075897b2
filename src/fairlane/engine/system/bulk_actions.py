"""The service that continues bulk actions, so that the user who began one need not wait for its end."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from fairlane.domain.errors import StorageUnavailable
from fairlane.domain.events import Emit, ServiceFailed
from fairlane.store.statements import bulk_actions as statements
from fairlane.store.transaction import Database

_MOST_TRIED: Final = 10  # organizations a round

# Does a step of an organization's bulk action, unless another process works at it; returns the number of steps.
GoOn = Callable[[str, UUID], int]


class BulkActions:
    """A service; every worker runs it: a step for one organization, then a rest if all slots are taken.

    Organizations take turns, also if another session holds a job of the one whose turn it is.

    Args:
        has_room: returns True if the worker has a free slot.
        on_ready: called, from the service's thread, when a job may have become claimable.
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
        self._last_turn = ""  # an organization

    def run_once(self) -> int:
        """Do a step. Return 0 in a full worker, as if there were no more to do: its jobs get most of its time."""
        done = self.step()
        return done if self._has_room() else 0

    def step(self) -> int:
        """Do a step for the next organization, of its action that has waited longest. Return the number of steps.

        Actions are skipped that are not due, that another process works at, or of which another session holds a job.
        """
        database = self._database
        found = database.look(statements.live)
        if not found:
            return 0
        now = database.look(database.clock.now)
        due = [one for one in found if one.look_at <= now]
        in_turn = sorted(due, key=lambda one: (one.organization_id <= self._last_turn, one.organization_id))
        for one in in_turn[:_MOST_TRIED]:
            self._last_turn = one.organization_id
            if self._try(one.organization_id, one.id):
                self._on_ready()
                return 1
        return 0

    def _try(self, organization: str, action: UUID) -> int:
        try:
            return self._go_on(organization, action)
        except StorageUnavailable:
            return 0  # another session holds a job of it: retried later. If the database is away, the next look says so
        except Exception as error:  # noqa: BLE001 - one that is broken must not hold up the others
            self._emit(ServiceFailed("bulk actions", error))
            return 0
