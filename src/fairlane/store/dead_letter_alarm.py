"""Tell when an organization's unresolved dead letters pass the threshold.

A job goes to dead letter by the end of an attempt, with its parent, by a rescue, with its organization: so this is seen
where dead letters are written, whoever does it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection, text

from fairlane.domain.errors import FairlaneError, StorageUnavailable
from fairlane.domain.events import DeadLetterAlert, Emit
from fairlane.domain.statuses import Resolution
from fairlane.store.sql import as_given, given

_KEY: Final = "fairlane_dead_letter_alarm"  # in a connection's info
_TRIES: Final = 3  # one after the other: a connection that broke is replaced, and who writes ends can't wait for more
_ALL: Final = 2**31 - 1

# Runs a read of these organizations' rows: `Database.read`.
Read = Callable[..., dict[str, int]]


class DeadLetterAlarm:
    """Compares the depth before a transaction that wrote dead letters with the depth after its commit.

    So it counts the children that went down with their parent, and tells once. Two transactions that pass the
    threshold side by side may both tell; that neither does can't be, because the last to commit counts both.

    Args:
        threshold: unresolved dead letters of an organization that raise the alarm.
    """

    def __init__(self, threshold: int, emit: Emit) -> None:
        self._threshold = threshold
        self._emit = emit

    def watch(self, connection: Connection) -> dict[str, int]:
        """Have it noted whose dead letters the connection's transaction adds to, and how many they had before."""
        before: dict[str, int] = {}
        connection.info[_KEY] = (self._threshold, before)
        return before

    def ring(self, before: Mapping[str, int], read: Read) -> None:
        """Tell of those organizations that passed the threshold, now that the transaction has committed."""
        below = sorted(organization for organization, depth in before.items() if depth < self._threshold)
        if not below:
            return
        try:
            passed = self._passed(below, read)
        except FairlaneError:
            return  # what was written is written, whether or not it can be told
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
    """Note that these will have dead letters that they have not yet."""
    if (watching := connection.info.get(_KEY)) is None:
        return
    threshold, before = watching
    if fresh := sorted(set(organizations) - before.keys()):
        before |= depths(connection, fresh, up_to=threshold)


def depths(connection: Connection, organizations: Iterable[str], *, up_to: int) -> dict[str, int]:
    """Count the dead letters of each of these organizations that nobody has looked at, no further than `up_to`."""
    # In the order of an index: the first that it finds end the count; else the planner may read the table for them.
    counts = text(f"""
SELECT organization_id, (
  SELECT count(*) FROM (
    SELECT 1 FROM fairlane_dead_letters AS letter
    WHERE letter.organization_id = given.organization_id AND letter.resolution = :resolution
    ORDER BY letter.entered_at LIMIT :up_to) AS letters) AS depth
FROM {given("organization_id")}
""")  # noqa: S608 - a constant of ours
    values = {
        "given": as_given([one] for one in organizations),
        "resolution": Resolution.PENDING,
        "up_to": up_to,
    }
    return {row.organization_id: row.depth for row in connection.execute(counts, values)}
