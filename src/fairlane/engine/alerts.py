"""Store alerts about too many dead letters (R8) or live jobs of an organization, for users who watch it live.

Workers and submitters emit these alerts.
"""

from functools import partial
from typing import Any

from sqlalchemy import Connection

from fairlane.domain.errors import FairlaneError
from fairlane.domain.events import AlertKind, DeadLetterAlert, Event, QueueLimitWarning
from fairlane.domain.timing import SILENCE_OF_ALERTS
from fairlane.store.response_timeout import ResponseTimeout
from fairlane.store.statements import feed
from fairlane.store.transaction import Database


class Alerts:
    """A subscriber with a database connection of its own: the writer of results emits the alerts of dead letters, and
    must not wait for a connection that handlers or the application hold.

    Args:
        threshold: of dead letters.
    """

    hears = frozenset((DeadLetterAlert, QueueLimitWarning)).__contains__  # see `domain.events.hears`

    def __init__(self, database: Database, threshold: int) -> None:
        silence = ResponseTimeout(SILENCE_OF_ALERTS)
        self._database = database.sibling(pool_size=1, role=database.role, response_timeout=silence)
        self._threshold = threshold

    def __call__(self, event: Event) -> None:
        """Store an alert; an alert that can't be stored is only in the log."""
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
