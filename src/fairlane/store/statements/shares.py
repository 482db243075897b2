"""Who uses the workers and who waits, over all organizations. For operators.

Time that was used comes from the counts that workers keep by the minute; what is in line is counted lane by lane, no
further than to a cap, so a backlog costs the same however long it is.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache
from typing import Final, NamedTuple

from sqlalchemy import Connection, Integer, TextualSelect, column, func, select, text

from fairlane.domain.breaker import Outcomes
from fairlane.domain.fairness import Lane
from fairlane.store.engine import DatabaseEngine, engine_of
from fairlane.store.sql import as_given, given
from fairlane.store.tables import live, outcomes


def busiest(connection: Connection, since: datetime, *, limit: int) -> dict[str, float]:
    """Return whose attempts that ended since then took most seconds, and how many; the busiest first."""
    spent = func.sum(outcomes.c.seconds).label("spent")
    statement = (
        select(outcomes.c.organization_id, spent)
        .where(outcomes.c.minute >= since)
        .group_by(outcomes.c.organization_id)
        .order_by(spent.desc(), outcomes.c.organization_id)
        .limit(limit)
    )
    rows = connection.execute(statement.execution_options(fairlane_across="operator reads"))
    return {row.organization_id: row.spent for row in rows}


def by_minute(
    connection: Connection, since: datetime, organizations: Collection[str]
) -> dict[tuple[str, datetime], Outcomes]:
    """Return how attempts of these organizations ended in each minute."""
    counts = (func.sum(outcomes.c.completions), func.sum(outcomes.c.failures), func.sum(outcomes.c.seconds))
    statement = (
        select(outcomes.c.organization_id, outcomes.c.minute, *counts)
        .where(outcomes.c.minute >= since, outcomes.c.organization_id.in_(sorted(organizations)))
        .group_by(outcomes.c.organization_id, outcomes.c.minute)
    )
    return {(name, minute): Outcomes(*numbers) for name, minute, *numbers in connection.execute(statement)}


def number_of_organizations(connection: Connection, since: datetime) -> int:
    """Return of how many organizations attempts ended since then."""
    statement = select(func.count(outcomes.c.organization_id.distinct())).where(outcomes.c.minute >= since)
    return connection.execute(statement.execution_options(fairlane_across="operator reads")).scalar_one()


class InLine(NamedTuple):
    """What is in line in a lane: how much, counted to the cap, and since when the next one could have started."""

    lane: Lane
    size: int
    since: datetime


_MINE: Final = "queue = given.queue AND organization_id = given.organization AND job_type = given.job_type"
_LANES: Final = f"""
SELECT given.queue, given.organization, given.job_type,
  (SELECT count(*) FROM (SELECT 1 FROM fairlane_live WHERE {{ready}} AND {_MINE} LIMIT :up_to) AS counted) AS size,
  (SELECT coalesce(next_retry_at, run_at) FROM fairlane_live WHERE {{ready}} AND {_MINE}
    ORDER BY priority, run_at, id LIMIT 1) AS since
FROM {{given}}
"""  # noqa: S608 - a constant of ours


def in_line(connection: Connection, lanes: Iterable[Lane], *, up_to: int) -> list[InLine]:
    """Return what is in line in each of these lanes, by the ready index."""
    rows = [[one.queue, one.organization, one.job_type] for one in lanes]
    found = connection.execute(_in_line(engine_of(connection)), {"given": as_given(rows), "up_to": up_to})
    # A lane may have become empty.
    return [InLine(Lane(*lane), size, since) for *lane, size, since in found if since is not None]


@cache
def _in_line(engine: DatabaseEngine) -> TextualSelect:
    made = text(_LANES.format(ready=engine.ready, given=given("queue", "organization", "job_type")))
    since = column("since", live.c.run_at.type)
    return made.columns(column("queue"), column("organization"), column("job_type"), column("size", Integer), since)
