"""The alarm for organizations whose unresolved dead letters pass the threshold.

A job goes to dead letter by the end of an attempt, with its parent, by a rescue, or with its organization. So the alarm
watches the one place where dead letters are written.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection, text

from fairlane.domain.errors import FairlaneError, StorageUnavailable
from fairlane.domain.events import DeadLetterAlert, Emit
from fairlane.domain.statuses import Resolution
from fairlane.domain.texts import organization_of
from fairlane.store.sql import as_given, given

_KEY: Final = "fairlane_dead_letter_alarm"  # in a connection's info
_TRIES: Final = 3  # without a pause: a broken connection is replaced, and the writer of results can't wait longer
_ALL: Final = 2**31 - 1

# Runs a read of these organizations' rows: `Database.read`.
Read = Callable[..., dict[str, int]]


class DeadLetterAlarm:
    """Compare the number of dead letters before a transaction that wrote some with the number after its commit.

    So it counts children that failed with their parent, and rings once. Of two transactions that pass the threshold
    together both may ring. At least one rings, because the last to commit counts both.

    Args:
        threshold: unresolved dead letters of an organization that raise the alarm.
    """

    def __init__(self, threshold: int, emit: Emit) -> None:
        self._threshold = threshold
        self._emit = emit

    def watch(self, connection: Connection) -> dict[str, int]:
        """Make the connection's transaction note the organizations that get dead letters, with their numbers before."""
        before: dict[str, int] = {}
        connection.info[_KEY] = (self._threshold, before)
        return before

    def ring(self, before: Mapping[str, int], read: Read) -> None:
        """Emit an alert for each organization that passed the threshold, after the commit."""
        below = sorted(organization for organization, depth in before.items() if depth < self._threshold)
        if not below:
            return
        try:
            passed = self._passed(below, read)
        except FairlaneError:
            return  # the dead letters are committed, even if the alarm fails
        for organization, depth in passed.items():
            self._emit(DeadLetterAlert(organization, depth))

    def _passed(self, organizations: list[str], read: Read) -> dict[str, int]:
        def look(connection: Connection) -> dict[str, int]:
            after = depths(connection, organizations, up_to=self._threshold)
            passed = [organization for organization, depth in after.items() if depth >= self._threshold]
            return depths(connection, passed, up_to=_ALL) if passed else {}

        for _ in range(_TRIES - 1):
            with suppress(StorageUnavailable):
                return read(look, of=organizations)
        return read(look, of=organizations)


def note(connection: Connection, organizations: Collection[str]) -> None:
    """Note that these organizations are about to get dead letters."""
    if (watching := connection.info.get(_KEY)) is None:
        return
    threshold, before = watching
    if fresh := sorted(set(organizations) - before.keys()):
        before |= depths(connection, fresh, up_to=threshold)


def depths(connection: Connection, organizations: Iterable[str], *, up_to: int) -> dict[str, int]:
    """Count the unresolved dead letters of each of these organizations, up to `up_to`."""
    # In the order of an index, which ends the count early: otherwise the planner may scan the table.
    counts = text(f"""
SELECT organization_id, (
  SELECT count(*) FROM (
    SELECT 1 FROM fairlane_dead_letters AS letter
    WHERE letter.organization_id = given.organization_id AND letter.resolution = :resolution
    ORDER BY letter.entered_at LIMIT :up_to) AS letters) AS depth
FROM {given("organization_id")}
""")  # noqa: S608 - a constant

    values = {
        "given": as_given([one] for one in organizations),
        "resolution": Resolution.PENDING,
        "up_to": up_to,
    }
    return {organization_of(row.organization_id): row.depth for row in connection.execute(counts, values)}
