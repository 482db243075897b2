"""How attempts ended, counted by job type, organization and minute; what the breakers go by (R16)."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, tuple_

from fairlane.domain.breaker import Outcomes, Pair, minute_of
from fairlane.store.engine import engine_of
from fairlane.store.tables import outcomes

_PAIRS: Final = 500  # asked for in one statement
_HOUR: Final = timedelta(hours=1)


def add(connection: Connection, now: datetime, worker_id: UUID, counts: Mapping[Pair, Outcomes]) -> None:
    """Add a worker's counts to those of this minute. It alone writes these rows, so it waits for nobody."""
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
    """Return what all workers counted of each of these pairs from a minute on."""
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


def forget(connection: Connection, before: datetime) -> None:
    """Delete the counts before a moment, an hour of them at most: after a long pause it takes some rounds."""
    is_old = outcomes.c.minute < before
    look = select(func.min(outcomes.c.minute)).where(is_old).execution_options(fairlane_across="clean-up")
    oldest = connection.execute(look).scalar_one()
    if oldest is not None:
        statement = delete(outcomes).where(is_old, outcomes.c.minute < oldest + _HOUR)
        connection.execute(statement.execution_options(fairlane_across="clean-up"))
