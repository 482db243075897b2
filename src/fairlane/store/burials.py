"""Whose dead letters become more by a transaction, for the alarm that is to ring when it has committed.

A job goes to dead letter by the end of an attempt, with its parent, by a rescue, with its organization: so this is seen
where dead letters are written, whoever does it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Protocol

from sqlalchemy import Connection, text

from fairlane.domain.statuses import Resolution
from fairlane.store.sql import as_given, given

_KEY: Final = "fairlane_burials"  # in a connection's info


class Alarm(Protocol):
    """Rings when an organization's unresolved dead letters pass the threshold."""

    threshold: int

    def ring(self, before: Mapping[str, int]) -> None:
        """Hear of a commit that buried jobs of these organizations, which had so many dead letters before."""


def watch(connection: Connection, threshold: int | None) -> dict[str, int]:
    """Have it noted whom the connection's transaction buries jobs of, and how many dead letters they had before.

    Args:
        threshold: how far to count; None = nothing is noted.
    """
    before: dict[str, int] = {}
    connection.info[_KEY] = (threshold, before) if threshold is not None else None
    return before


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
