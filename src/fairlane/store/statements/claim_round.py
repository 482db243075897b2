"""What a claim round looks at, each in one round trip: before its transaction, and at the beginning of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from math import ceil
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Uuid, bindparam

from fairlane.domain.breaker import Breaker
from fairlane.domain.fairness import Lane
from fairlane.domain.limits import Subject
from fairlane.store.clock import Clock
from fairlane.store.engine import DatabaseEngine, Question, Rows, engine_of
from fairlane.store.line import Line
from fairlane.store.statements import breakers, job_types, lanes, running_limits

_DAY: Final = 86_400.0  # seconds; PostgreSQL counts at most 24 days


class OwnStanding(NamedTuple):
    """How an organization stands in Fairlane's own directory."""

    status: str
    max_running: int | None
    weight: int


class Sight(NamedTuple):
    """What restricts a claim, and what runs. `options` are those of all types, as JSON text; `paused` as in a
    `Beginning`. `lanes`: those with a ready job, each with how its organization stands in Fairlane's own directory;
    `marks`: where its ready jobs begin, on PostgreSQL.
    """

    now: datetime
    lanes: dict[Lane, OwnStanding | None]
    marks: dict[Lane, lanes.Mark]
    paused: frozenset[tuple[str, str]]
    running: list[lanes.RunningRow]
    breakers: list[Breaker]
    options: Mapping[str, str]
    overrides: Mapping[Subject, Mapping[str, Any]]


def look(connection: Connection, clock: Clock, queues: Collection[str] | None, *, suspended: bool) -> Sight:
    """Look at all that a worker goes by.

    Args:
        queues: that it serves; None = all.
        suspended: as for `begin`.
    """
    engine = engine_of(connection)
    questions = _questions(engine, is_named=queues is not None, suspended=suspended)
    return _seen(*engine.ask(connection, clock, questions, lanes.named(queues)))


async def look_on(line: Line, queues: Collection[str] | None, *, suspended: bool) -> Sight:
    """Do as `look`, on the event loop."""
    questions = _questions(line.database.kind, is_named=queues is not None, suspended=suspended)
    return _seen(*await line.ask(questions, lanes.named(queues)))


def _questions(engine: DatabaseEngine, *, is_named: bool, suspended: bool) -> tuple[Question, ...]:
    return (
        lanes.active(engine, is_named=is_named),
        breakers.OPEN,
        job_types.OPTIONS,
        running_limits.OVERRIDES,
        lanes.who_runs(engine),
        *_restrictions(suspended=suspended),
    )


def _seen(now: datetime, _lease_seconds: float, found: list[Rows]) -> Sight:
    active, open_, options, overrides, running, *paused = found
    return Sight(
        now,
        {Lane(*row[:3]): OwnStanding(*row[3:6]) if row[3] is not None else None for row in active},
        {Lane(*row[:3]): lanes.Mark(*row[6:]) for row in active if row[6] is not None},
        _held(paused),
        [lanes.RunningRow(*row) for row in running],
        [breakers.breaker_of(row) for row in open_],
        dict(options),
        running_limits.overrides_of(overrides),
    )


class Beginning(NamedTuple):
    """A claim has begun: `paused` are (subject, name) of all that is, or is suspended; `running` is what runs."""

    now: datetime
    paused: frozenset[tuple[str, str]]
    running: Sequence[lanes.RunningRow]


def begin(
    connection: Connection,
    clock: Clock,
    worker_id: UUID,
    *,
    lease: float,
    suspended: bool,
    running: Sequence[lanes.RunningRow] | None = None,
) -> Beginning | None:
    """Hold the worker's row for a claim, to the end of the transaction; None if it has no valid lease.

    Args:
        lease: how many seconds the claim may stand still before PostgreSQL ends it.
        suspended: also pause organizations that are suspended in Fairlane's own directory.
        running: what runs, as far as is known; None = count it.
    """
    restrictions = _restrictions(suspended=suspended)
    # By itself, and first: what is read below is then read after whatever the lock has waited for.
    engine = engine_of(connection)
    hold = engine.statement("hold_worker").bindparams(bindparam("worker", type_=Uuid))
    lease_expires = connection.scalars(hold, {"worker": worker_id, "pause": f"{ceil(min(lease, _DAY))}s"}).one_or_none()
    if lease_expires is None:
        return None
    counts = (lanes.who_runs(engine),) if running is None else ()
    now, lease_seconds, found = engine.ask(connection, clock, (*restrictions, *counts), {})
    if lease_expires <= lease_seconds:
        return None
    held = _held(found[: len(restrictions)])
    rows = [lanes.RunningRow(*row) for row in found[-1]] if running is None else running
    return Beginning(now, held, rows)


def _restrictions(*, suspended: bool) -> tuple[Question, ...]:
    return (job_types.PAUSED, job_types.SUSPENDED) if suspended else (job_types.PAUSED,)


def _held(found: Iterable[Rows]) -> frozenset[tuple[str, str]]:
    return frozenset((subject, name) for rows in found for subject, name in rows)
