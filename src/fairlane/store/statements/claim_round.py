"""What a claim round looks at, each in one round trip: before its transaction, and at the beginning of it."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from math import ceil
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import (
    Connection,
    Float,
    Select,
    String,
    Text,
    TextualSelect,
    Uuid,
    bindparam,
    cast,
    extract,
    func,
    select,
)
from sqlalchemy.types import TypeEngine

from fairlane.domain.breaker import Breaker
from fairlane.domain.fairness import Lane
from fairlane.domain.limits import Subject
from fairlane.store.clock import Clock, DatabaseClock
from fairlane.store.dialects import is_sqlite
from fairlane.store.line import Line
from fairlane.store.statements import breakers, job_types, lanes, running_limits
from fairlane.store.tables import Instant, workers

# KEY SHARE lets the heartbeat through and keeps rescuers, who lock the row FOR UPDATE, from giving the worker up
# between their look at its jobs and their delete.
_HOLD: Final = (
    select(workers.c.lease_expires)
    .where(workers.c.id == bindparam("worker"))
    .with_for_update(read=True, key_share=True)
)
# And, for the rest of the transaction: where statistics are missing or old, the planner expects a single row, takes any
# index and would read all of a lane to sort it, or all edges to see that a job has none. A claim locks rows that others
# have claimed while it looked, too, and keeps them to its end. A worker that is frozen in the middle loses these locks
# when it loses its jobs: after a lease. A slow process may pause for seconds between two statements, and must not end
# its own claim.
_DAY: Final = 86_400.0  # seconds; PostgreSQL counts at most 24 days
_HOLD_ON_POSTGRES: Final = _HOLD.add_columns(
    func.set_config("enable_sort", "off", True),
    func.set_config("enable_seqscan", "off", True),
    func.set_config("idle_in_transaction_session_timeout", bindparam("pause", type_=String), True),
)


_Question: TypeAlias = Select[*tuple[Any, ...]] | TextualSelect
_Rows: TypeAlias = list[tuple[Any, ...]]


class _Moment(NamedTuple):
    """The database's time, and the seconds that leases are compared with."""

    now: datetime
    lease_seconds: float


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
    questions = _questions(is_named=queues is not None, suspended=suspended, sqlite=is_sqlite(connection))
    return _seen(*_together(connection, clock, *questions, across="claim", values=lanes.named(queues)))


async def look_on(line: Line, queues: Collection[str] | None, *, suspended: bool) -> Sight:
    """Do as `look`, on the event loop."""
    questions = _questions(is_named=queues is not None, suspended=suspended, sqlite=False)
    return _seen(*await _together_on(line, *questions, across="claim", values=lanes.named(queues)))


def _questions(*, is_named: bool, suspended: bool, sqlite: bool) -> tuple[_Question, ...]:
    return (
        lanes.active(is_named=is_named, sqlite=sqlite),
        breakers.OPEN,
        job_types.OPTIONS,
        running_limits.OVERRIDES,
        lanes.WHO_RUNS[sqlite],
        *_restrictions(suspended=suspended),
    )


def _seen(moment: _Moment, found: list[_Rows]) -> Sight:
    active, open_, options, overrides, running, *paused = found
    return Sight(
        moment.now,
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
    hold = _HOLD if is_sqlite(connection) else _HOLD_ON_POSTGRES
    values = {"worker": worker_id, "pause": f"{ceil(min(lease, _DAY))}s"}
    lease_expires = connection.scalars(hold, values).one_or_none()
    if lease_expires is None:
        return None
    counts = (lanes.who_runs(connection),) if running is None else ()
    moment, found = _together(connection, clock, *restrictions, *counts, across="claim", values={})
    if lease_expires <= moment.lease_seconds:
        return None
    held = _held(found[: len(restrictions)])
    rows = [lanes.RunningRow(*row) for row in found[-1]] if running is None else running
    return Beginning(moment.now, held, rows)


def _restrictions(*, suspended: bool) -> tuple[_Question, ...]:
    return (job_types.PAUSED, job_types.SUSPENDED) if suspended else (job_types.PAUSED,)


def _held(found: Iterable[_Rows]) -> frozenset[tuple[str, str]]:
    return frozenset((subject, name) for rows in found for subject, name in rows)


def _together(
    connection: Connection, clock: Clock, *questions: _Question, across: str, values: Mapping[str, Any]
) -> tuple[_Moment, list[_Rows]]:
    """Return the moment, and the rows of each question.

    On PostgreSQL they come as JSON, by one statement and from one snapshot: what was committed while a question waited
    for a lock, another doesn't see. SQLite, to which there is no way to go, is asked in turn.

    Args:
        questions: constants: for each combination of them a statement is made and kept.
        across: why this looks across organizations.
        values: the parameters of all of them.
    """
    if is_sqlite(connection):
        rows = [[tuple(row) for row in connection.execute(_across(one, across), values)] for one in questions]
        return _Moment(clock.now(connection), clock.lease_seconds(connection)), rows
    now, seconds, *found = connection.execute(_combined(questions, across), values).one()
    moment = _Moment(now.astimezone(UTC), seconds)
    if not isinstance(clock, DatabaseClock):
        moment = _Moment(clock.now(connection), clock.lease_seconds(connection))
    return moment, [_read(one, json.loads(rows or "[]")) for one, rows in zip(questions, found, strict=True)]


async def _together_on(
    line: Line, *questions: _Question, across: str, values: Mapping[str, Any]
) -> tuple[_Moment, list[_Rows]]:
    """Do as `_together`, on the event loop."""
    ((now, seconds, *found),) = await line.fetch(_combined(questions, across), values)
    moment = _Moment(*(line.moment() or (now.astimezone(UTC), seconds)))
    return moment, [_read(one, json.loads(rows or "[]")) for one, rows in zip(questions, found, strict=True)]


@cache
def _across(question: _Question, across: str) -> _Question:
    return question.execution_options(fairlane_across=across)


@cache
def _combined(questions: tuple[_Question, ...], across: str) -> Select[*tuple[Any, ...]]:
    answers = []
    for one in questions:
        rows = one.subquery()
        # As text: how the driver reads JSON is the host's to set, for all of the process.
        array = select(cast(func.json_agg(func.json_build_array(*rows.c)), Text)).select_from(rows)
        answers.append(array.scalar_subquery())
    moment = func.clock_timestamp()
    seconds = cast(extract("epoch", moment), Float)
    return select(moment, seconds, *answers).execution_options(fairlane_across=across)


def _read(question: _Question, rows: _Rows) -> _Rows:
    """Return the values as the question's own columns would have them."""
    readers = [_reader(column.type) for column in question.selected_columns]
    if not any(readers):
        return [tuple(row) for row in rows]
    return [
        tuple(value if read is None or value is None else read(value) for read, value in zip(readers, row, strict=True))
        for row in rows
    ]


def _reader(kind: TypeEngine[Any]) -> Callable[[str], object] | None:
    """Return how a value is read that JSON has as text."""
    match kind:
        case Uuid():
            return UUID
        case Instant():
            return lambda text: datetime.fromisoformat(text).astimezone(UTC)
        case _:
            return None
