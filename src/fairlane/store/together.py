"""Several SELECTs in one round trip, and what time it is: what a claim round looks at is small, and the way is long."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, Float, Select, Text, TextualSelect, Uuid, cast, extract, func, select
from sqlalchemy.types import TypeEngine

from fairlane.store.clock import Clock, DatabaseClock
from fairlane.store.dialects import is_sqlite
from fairlane.store.line import Line
from fairlane.store.tables import Instant

Question: TypeAlias = Select[*tuple[Any, ...]] | TextualSelect
Rows: TypeAlias = list[tuple[Any, ...]]


class Moment(NamedTuple):
    """The database's time, and the seconds that leases are compared with."""

    now: datetime
    lease_seconds: float


def together(
    connection: Connection, clock: Clock, *questions: Question, across: str, values: Mapping[str, Any]
) -> tuple[Moment, list[Rows]]:
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
        return Moment(clock.now(connection), clock.lease_seconds(connection)), rows
    now, seconds, *found = connection.execute(_combined(questions, across), values).one()
    moment = Moment(now.astimezone(UTC), seconds)
    if not isinstance(clock, DatabaseClock):
        moment = Moment(clock.now(connection), clock.lease_seconds(connection))
    return moment, [_read(one, json.loads(rows or "[]")) for one, rows in zip(questions, found, strict=True)]


async def together_on(
    line: Line, *questions: Question, across: str, values: Mapping[str, Any]
) -> tuple[Moment, list[Rows]]:
    """Do as `together`, on the event loop."""
    ((now, seconds, *found),) = await line.fetch(_combined(questions, across), values)
    moment = Moment(*(line.moment() or (now.astimezone(UTC), seconds)))
    return moment, [_read(one, json.loads(rows or "[]")) for one, rows in zip(questions, found, strict=True)]


@cache
def _across(question: Question, across: str) -> Question:
    return question.execution_options(fairlane_across=across)


@cache
def _combined(questions: tuple[Question, ...], across: str) -> Select[*tuple[Any, ...]]:
    answers = []
    for one in questions:
        rows = one.subquery()
        # As text: how the driver reads JSON is the host's to set, for all of the process.
        array = select(cast(func.json_agg(func.json_build_array(*rows.c)), Text)).select_from(rows)
        answers.append(array.scalar_subquery())
    moment = func.clock_timestamp()
    seconds = cast(extract("epoch", moment), Float)
    return select(moment, seconds, *answers).execution_options(fairlane_across=across)


def _read(question: Question, rows: Rows) -> Rows:
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
