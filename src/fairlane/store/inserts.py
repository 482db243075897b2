"""Inserts and upserts of many rows: each statement is made once, and many rows go in one where that is quicker."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import JSON, Connection, Insert, Table, Text, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects import postgresql

from fairlane.store.dialects import insert, is_sqlite

_MANY: Final = 4  # rows, from which on one statement of JSON is quicker than one for each


def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same columns; many of them in one statement, as JSON, where that saves round trips.

    Raises:
        IntegrityError, DataError
    """
    if takes_json(connection, rows):
        connection.execute(*rows_from_json(table, rows))
    else:
        connection.execute(_plain_insert(table), rows)


def takes_json(connection: Connection, rows: Sequence[object]) -> bool:
    """Return True if one statement with all these rows as JSON is quicker than one for each."""
    return len(rows) >= _MANY and not is_sqlite(connection)


# Of names, ids, numbers, moments, sealed texts and compact JSON none has a line break in it.
_BREAK: Final = "\n"


def unnest_texts(columns: Mapping[str, str], name: str = "given", number: str | None = None) -> str:
    """Return PostgreSQL's FROM item of rows whose columns, of these types, are given by `texts_of`, a parameter each.

    One text costs far less than the driver's array of as many values, and than JSON that names each.

    Args:
        number: the column that numbers the rows from 1; None = there is none.
    """
    arrays = ", ".join(
        f"string_to_array(:{column}, E'\\n', ''){'' if kind == 'text' else f'::{kind}[]'}"
        for column, kind in columns.items()
    )
    listed = ", ".join([*columns, number] if number else columns)
    return f"unnest({arrays}){' WITH ORDINALITY' if number else ''} AS {name}({listed})"


def texts_of(columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the parameters of `unnest_texts`; an empty text is NULL."""
    texts = {name: _BREAK.join(column) for name, column in columns.items()}
    for name, column in columns.items():
        if texts[name].count(_BREAK) >= len(column):
            raise ValueError(f"A {name} has a line break in it, which would move all rows below.")
    return texts


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
        connection.execute(_or_update(insert(connection, table), table, names), rows)


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows, as `insert_many` does, but for those whose primary key is there: these stay as they are."""
    if takes_json(connection, rows):
        statement, values = rows_from_json(table, rows)
        connection.execute(_or_nothing(statement), values)
    else:
        connection.execute(_or_nothing(insert(connection, table)), rows)


@cache
def _or_nothing(statement: postgresql.Insert) -> postgresql.Insert:
    return statement.on_conflict_do_nothing()


@cache
def _or_update(statement: postgresql.Insert, table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    keys = [column.name for column in table.primary_key.columns]
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)
