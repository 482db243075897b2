"""Alerts of an organization: tell of too many dead letters (R8), and write alerts down for those who watch it live.

Alerts happen in workers and in submitters.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from fairlane.domain.errors import FairlaneError, StorageUnavailable
from fairlane.domain.events import AlertKind, DeadLetterAlert, Emit, Event, QueueLimitWarning
from fairlane.domain.statuses import Resolution
from fairlane.store.burials import depths
from fairlane.store.response_timeout import ResponseTimeout
from fairlane.store.statements import dead_letters, feed
from fairlane.store.statements.dead_letters import Letters
from fairlane.store.transaction import Database

_SILENCE: Final = 5.0  # seconds that a database may be silent for which nobody is to wait
_TRIES: Final = 3  # one after the other: a connection that broke is replaced, and who writes ends can't wait for more


class Alerts:
    """A subscriber, with a database connection of its own: whoever writes the ends of attempts tells of dead letters,
    and must not wait for one that handlers or the application hold.

    Args:
        threshold: of dead letters.
    """

    hears = frozenset((DeadLetterAlert, QueueLimitWarning)).__contains__  # see `domain.events.hears`

    def __init__(self, database: Database, threshold: int) -> None:
        self._database = database.sibling(pool_size=1, role=database.role, response_timeout=ResponseTimeout(_SILENCE))
        self._threshold = threshold

    def __call__(self, event: Event) -> None:
        """Write an alert down; of one that can't be written there is the log."""
        match event:
            case DeadLetterAlert():
                values = {"kind": AlertKind.DEAD_LETTERS, "size": event.depth, "bound": self._threshold}
            case QueueLimitWarning():
                values = {"kind": AlertKind.QUEUE_LIMIT, "size": event.live, "bound": event.limit}
            case _:
                return
        work = partial(self._add, {"organization_id": event.organization, **values})
        try:
            self._database.write(work, of=event.organization)
        except FairlaneError:
            return

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _add(self, values: dict[str, Any], connection: Connection) -> None:
        feed.add_alert(connection, {**values, "at": self._database.clock.now(connection)})


class DeadLetterAlarm:
    """Tells when an organization's unresolved dead letters pass the threshold.

    It compares the depth before a transaction that buried jobs with the depth after it.

    So it counts the children that went down with their parent, and tells once. Two transactions that pass the
    threshold side by side may both tell; that neither does can't be, because the last to commit counts both.

    Args:
        threshold: unresolved dead letters of an organization that raise the alarm.
    """

    def __init__(self, database: Database, threshold: int, emit: Emit) -> None:
        self.threshold = threshold
        self._database = database
        self._emit = emit

    def ring(self, before: Mapping[str, int]) -> None:
        """Tell of those organizations that passed the threshold, now that the transaction has committed."""
        below = sorted(organization for organization, depth in before.items() if depth < self.threshold)
        if not below:
            return
        try:
            passed = self._look(below)
        except FairlaneError:
            return  # what was written is written, whether or not it can be told
        for organization, depth in passed.items():
            self._emit(DeadLetterAlert(organization, depth))

    def _look(self, organizations: list[str]) -> dict[str, int]:
        for _ in range(_TRIES - 1):
            with suppress(StorageUnavailable):
                return self._database.read(lambda connection: self._passed(connection, organizations), of=organizations)
        return self._database.read(lambda connection: self._passed(connection, organizations), of=organizations)

    def _passed(self, connection: Connection, organizations: list[str]) -> dict[str, int]:
        after = depths(connection, organizations, up_to=self.threshold)
        return {
            organization: dead_letters.count(connection, organization, Letters(Resolution.PENDING))
            for organization, depth in after.items()
            if depth >= self.threshold
        }
