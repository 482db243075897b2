"""Tells when an organization's unresolved dead letters pass the threshold (R8)."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection

from fairlane.domain.errors import FairlaneError, StorageUnavailable
from fairlane.domain.events import DeadLetterAlert, Emit
from fairlane.domain.statuses import Resolution
from fairlane.store.burials import depths
from fairlane.store.statements import dead_letters
from fairlane.store.statements.dead_letters import Letters
from fairlane.store.transaction import Database

_TRIES: Final = 3  # one after the other: a connection that broke is replaced, and who writes ends can't wait for more


class DeadLetterAlarm:
    """Compares the depth before a transaction that buried jobs with the depth after it.

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
