"""Counts of attempts' outcomes by job type, organization and minute, which the breakers use (R16)."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, tuple_

from fairlane.domain.breaker import Outcomes, Pair, minute_of
from fairlane.store.engine import engine_of
from fairlane.store.tables import outcomes

_PAIRS: Final = 500  # pairs in one statement
_HOUR: Final = timedelta(hours=1)


def add(connection: Connection, now: datetime, worker_id: UUID, counts: Mapping[Pair, Outcomes]) -> None:
    """Add a worker's counts to its rows of this minute. No other worker writes these rows, so there is no wait."""
    statement = engine_of(connection).insert(outcomes)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=list(outcomes.primary_key.columns),
        set_={
            "completions": outcomes.c.completions + new.completions,
            "failures": outcomes.c.failures + new.failures,
            "seconds": outcomes.c.seconds + new.seconds,
        },
    )
    key = {"minute": minute_of(now), "worker_id": worker_id}
    rows = [
        {"organization_id": pair.organization, "job_type": pair.job_type, **key, **count._asdict()}
        for pair, count in counts.items()
    ]
    connection.execute(statement, rows)


def since(connection: Connection, minute: datetime, pairs: Collection[Pair]) -> dict[Pair, Outcomes]:
    """Return the sum of all workers' counts for each of these pairs from a minute on."""
    found: dict[Pair, Outcomes] = {}
    ordered = sorted(pairs)
    for start in range(0, len(ordered), _PAIRS):
        rows = connection.execute(
            select(
                outcomes.c.organization_id,
                outcomes.c.job_type,
                func.sum(outcomes.c.completions),
                func.sum(outcomes.c.failures),
                func.sum(outcomes.c.seconds),
            )
            .where(
                tuple_(outcomes.c.organization_id, outcomes.c.job_type).in_(ordered[start : start + _PAIRS]),
                outcomes.c.minute >= minute,
            )
            .group_by(outcomes.c.organization_id, outcomes.c.job_type)
        )
        found |= {Pair(organization, job_type): Outcomes(*counts) for organization, job_type, *counts in rows}
    return found


def busiest(connection: Connection, since: datetime, *, limit: int) -> dict[str, float]:
    """Return the organizations whose attempts took most seconds since then, with the seconds, the busiest first."""
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
    """Return the outcomes of these organizations' attempts in each minute."""
    counts = (func.sum(outcomes.c.completions), func.sum(outcomes.c.failures), func.sum(outcomes.c.seconds))
    statement = (
        select(outcomes.c.organization_id, outcomes.c.minute, *counts)
        .where(outcomes.c.minute >= since, outcomes.c.organization_id.in_(sorted(organizations)))
        .group_by(outcomes.c.organization_id, outcomes.c.minute)
    )
    return {(name, minute): Outcomes(*numbers) for name, minute, *numbers in connection.execute(statement)}


def number_of_organizations(connection: Connection, since: datetime) -> int:
    """Count the organizations whose attempts ended since then."""
    statement = select(func.count(outcomes.c.organization_id.distinct())).where(outcomes.c.minute >= since)
    return connection.execute(statement.execution_options(fairlane_across="operator reads")).scalar_one()


def forget(connection: Connection, before: datetime) -> None:
    """Delete counts from before this time, at most an hour of them: after a long pause it takes several rounds."""
    is_old = outcomes.c.minute < before
    look = select(func.min(outcomes.c.minute)).where(is_old).execution_options(fairlane_across="clean-up")
    oldest = connection.execute(look).scalar_one()
    if oldest is not None:
        statement = delete(outcomes).where(is_old, outcomes.c.minute < oldest + _HOUR)
        connection.execute(statement.execution_options(fairlane_across="clean-up"))
