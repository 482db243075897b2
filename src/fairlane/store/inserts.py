"""Inserts and upserts of many rows: each statement is made once, and many rows go in one where that is quicker."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    JSON,
    Connection,
    Insert,
    Table,
    Text,
    TextClause,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql

from fairlane.store.engine import engine_of
from fairlane.store.tables import Instant

_MANY: Final = 4  # rows, from which on one statement of JSON is quicker than one for each


def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same columns; many of them in one statement, as JSON.

    That saves round trips. On SQLite it saves waits: Python's module gives up the interpreter's lock at each row that
    it is handed, and has to get it back from a busy loop, while nobody else may write.

    Raises:
        IntegrityError, DataError
    """
    if engine_of(connection).writers_are_serial and len(rows) >= _MANY:
        names = tuple(rows[0])
        values = [[row[name] for name in names] for row in rows]
        given = json.dumps(values, default=_on_sqlite, ensure_ascii=False)
        connection.execute(_insert_on_sqlite(table, names), {"rows": given})
    elif takes_json(connection, rows):
        connection.execute(*rows_from_json(table, rows))
    else:
        connection.execute(_plain_insert(table), rows)


def takes_json(connection: Connection, rows: Sequence[object]) -> bool:
    """Return True if one statement with all these rows as JSON is quicker than one for each."""
    return len(rows) >= _MANY and engine_of(connection).is_server


@cache
def _insert_on_sqlite(table: Table, names: tuple[str, ...]) -> TextClause:
    values = ", ".join(f"value ->> {place}" for place in range(len(names)))
    return text(f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {values} FROM json_each(:rows)")  # noqa: S608 - ours


def _on_sqlite(value: UUID | datetime) -> str:
    """Return the text by which SQLite has the value."""
    return value.hex if isinstance(value, UUID) else Instant.as_text(value)


# Of names, ids, numbers, moments, sealed texts and compact JSON none has one of these in it.
_ROW: Final = "\n"
_COLUMN: Final = "\x1e"


def unnest_texts(columns: Mapping[str, str], name: str, number: str | None = None) -> str:
    """Return PostgreSQL's FROM item of rows whose columns, of these types, are one parameter, made by `texts_of`.

    One text costs far less than the driver's arrays of as many values, and than JSON that names each. It is read behind
    OFFSET, where PostgreSQL does not see how many rows it has: else it would take a plan for any number of them to be
    the dearer one, and plan the statement each time that it is run.

    Args:
        name: of the rows, and of the parameter.
        number: the column that numbers the rows from 1; None = there is none.
    """
    arrays = ",".join(
        f"string_to_array(t[{place}],E'\\n',''){'' if kind == 'text' else f'::{kind}[]'}"
        for place, kind in enumerate(columns.values(), 1)
    )
    listed = ",".join([*columns, number] if number else columns)
    rows = f"unnest({arrays}){' WITH ORDINALITY' if number else ''} AS r({listed})"
    return f"(SELECT r.* FROM (SELECT string_to_array(:{name},E'\\x1e','') AS t OFFSET 0) AS p, {rows}) AS {name}"  # noqa: S608 - ours


def texts_of(columns: Mapping[str, Sequence[str]]) -> str:
    """Return the parameter of `unnest_texts`, whose columns have this order.

    An empty text is NULL. So is each of a column without values, and each of the last columns, if they are left out.
    """
    text = _COLUMN.join(map(_ROW.join, columns.values()))
    rows = sum(len(given) - 1 for given in columns.values() if given)
    if text.count(_ROW) != rows or text.count(_COLUMN) != len(columns) - 1:
        raise ValueError("A value has a character in it that separates values.")
    return text


def joined(rows: Sequence[str]) -> str:
    """Return the parameter of many rows; of each, `texts_of` has made one."""
    if len(rows) == 1:
        return rows[0]
    return _COLUMN.join(map(_ROW.join, zip(*(row.split(_COLUMN) for row in rows), strict=True)))


@cache
def _plain_insert(table: Table) -> Insert:
    # Made once, as SQLAlchemy then compiles it once. Inline: nobody asks for the number that the row is given.
    return table.insert().inline()


def rows_from_json(table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[postgresql.Insert, dict[str, str]]:
    """Return an INSERT … SELECT of rows that are sent as one JSON text, in their order; and its parameter."""
    return _insert_from_json(table, tuple(rows[0])), {"rows": json.dumps(rows, default=str, ensure_ascii=False)}


@cache
def _insert_from_json(table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    source = func.json_populate_recordset(
        literal_column(f"NULL::{table.name}"), cast(bindparam("rows", type_=Text), JSON)
    )
    given = source.table_valued(*(table.c[name] for name in names))
    return postgresql.insert(table).from_select(names, select(*given.c))


def upsert(connection: Connection, table: Table, *rows: Mapping[str, Any]) -> None:
    """Insert the row, or set its other columns where its primary key is there.

    Many rows, of the same columns and different keys, take one statement where that saves round trips.
    """
    names = tuple(rows[0])
    if takes_json(connection, rows):
        statement, values = rows_from_json(table, rows)
        connection.execute(_or_update(statement, table, names), values)
    else:
        connection.execute(_or_update(engine_of(connection).insert(table), table, names), rows)


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows, as `insert_many` does, but for those whose primary key is there: these stay as they are."""
    if takes_json(connection, rows):
        statement, values = rows_from_json(table, rows)
        connection.execute(_or_nothing(statement), values)
    else:
        connection.execute(_or_nothing(engine_of(connection).insert(table)), rows)


@cache
def _or_nothing(statement: postgresql.Insert) -> postgresql.Insert:
    return statement.on_conflict_do_nothing()


@cache
def _or_update(statement: postgresql.Insert, table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    keys = [column.name for column in table.primary_key.columns]
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)
