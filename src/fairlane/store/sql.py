"""Helpers for SQL: fragments, statements from files (which any SQL tool can open), and inserts of many rows."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    String,
    Subquery,
    Table,
    TextClause,
    and_,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql

from fairlane.store.engine import engine_of

_HERE: Final = files("fairlane.store")
_MANY: Final = 4  # rows, from which on one statement with JSON is faster than a statement for each
# Separators, which are in no name, id, number, time, encrypted text or compact JSON.
_ROW: Final = "\n"
_COLUMN: Final = "\x1e"


def statement(path: str, *, without: str | None = None) -> TextClause:
    """Return the statement of a file of this package, without its comments.

    Args:
        path: without its ending, for example postgres/claim.
        without: omit the parts between the comments of this name with "{" and the comments with "}".
    """
    words = _HERE.joinpath(f"{path}.sql").read_text(encoding="utf-8")
    if without is not None:
        words = re.sub(rf"(?ms)^-- {without} \{{$.*?^-- }}$", "", words)
    return text("\n".join(line for line in words.splitlines() if not line.lstrip().startswith("--")))


def is_row(table: FromClause, *key: object) -> ColumnElement[bool]:
    """Compare the first columns of the table's primary key with these values, or with columns."""
    return and_(*(column == value for column, value in zip(table.primary_key, key, strict=False)))


def fixed(value: str) -> BindParameter[str]:
    """Write a constant into the SQL text instead of binding it.

    The planner uses a partial index only if it sees the index's predicate. In a prepared statement with one plan for
    all parameters (PostgreSQL's generic plan) it doesn't see `status = 'pending'` in `status = $1`.

    Args:
        value: never a value from outside.
    """
    return literal(str(value), String(), literal_execute=True)


def given(*columns: str) -> str:
    """Return a FROM item `given` with these columns of text, for the parameter that `as_given` makes.

    The statement is the same for any number of rows.
    """
    names = ", ".join(f"value ->> {place} AS {name}" for place, name in enumerate(columns))
    return f"(SELECT {names} FROM json_each(:given)) AS given"  # noqa: S608 - Fairlane's names


def rows_given(*columns: str) -> Subquery:
    """Return the same as `given`, for statements of SQLAlchemy Core."""
    values = (literal_column(f"value ->> {place}", String).label(name) for place, name in enumerate(columns))
    return select(*values).select_from(text("json_each(:given)")).subquery("given")


def as_given(rows: Iterable[Sequence[object]]) -> str:
    """Return the parameter `given`: a JSON object, from which both databases read the rows by `json_each`."""
    return json.dumps(dict(enumerate(rows)))


def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same columns; many rows in one statement.

    Raises:
        IntegrityError, DataError
    """
    connection.execute(*_inserting(connection, table, rows))


def upsert(connection: Connection, table: Table, *rows: Mapping[str, Any]) -> None:
    """Insert rows with the same columns and different keys, or update the rows whose primary key exists.

    Many rows take one statement.
    """
    statement, values = _inserting(connection, table, rows)
    connection.execute(_or_update(statement, table, tuple(rows[0])), values)


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows like `insert_many`, but skip rows whose primary key exists."""
    statement, values = _inserting(connection, table, rows)
    connection.execute(_or_nothing(statement), values)


def _inserting(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> tuple[postgresql.Insert, Any]:
    """Return the statement that inserts these rows, made once for their columns, and its values."""
    engine = engine_of(connection)
    return engine.insert_from_json(table, rows) if len(rows) >= _MANY else (engine.insert(table), rows)


@cache
def _or_nothing(statement: postgresql.Insert) -> postgresql.Insert:
    return statement.on_conflict_do_nothing()


@cache
def _or_update(statement: postgresql.Insert, table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    keys = [column.name for column in table.primary_key.columns]
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def unnest_texts(columns: Mapping[str, str], name: str, number: str | None = None) -> str:
    """Return PostgreSQL's FROM item for rows with columns of these types, from one parameter made by `texts_of`.

    One text costs far less than the driver's arrays, or than JSON with names. OFFSET hides the number of rows from
    PostgreSQL. Otherwise a plan for any number of rows would look more expensive, and PostgreSQL would plan the
    statement at each run.

    Args:
        name: the name of the rows and of the parameter.
        number: the column with the rows' numbers, from 1; None = no such column.
    """
    arrays = ",".join(
        f"string_to_array(t[{place}],E'\\n',''){'' if kind == 'text' else f'::{kind}[]'}"
        for place, kind in enumerate(columns.values(), 1)
    )
    listed = ",".join([*columns, number] if number else columns)
    rows = f"unnest({arrays}){' WITH ORDINALITY' if number else ''} AS r({listed})"
    return f"(SELECT r.* FROM (SELECT string_to_array(:{name},E'\\x1e','') AS t OFFSET 0) AS p, {rows}) AS {name}"  # noqa: S608 - ours


def texts_of(columns: Mapping[str, Sequence[str]]) -> str:
    """Return the parameter for `unnest_texts`, with the columns in the same order.

    An empty text is NULL. So are the values of an empty column, and of omitted last columns.
    """
    text = _COLUMN.join(map(_ROW.join, columns.values()))
    rows = sum(len(given) - 1 for given in columns.values() if given)
    if text.count(_ROW) != rows or text.count(_COLUMN) != len(columns) - 1:
        raise ValueError("A value has a character in it that separates values.")
    return text


def joined(rows: Sequence[str]) -> str:
    """Return the parameter for many rows from the parameters that `texts_of` made for each."""
    if len(rows) == 1:
        return rows[0]
    return _COLUMN.join(map(_ROW.join, zip(*(row.split(_COLUMN) for row in rows), strict=True)))
