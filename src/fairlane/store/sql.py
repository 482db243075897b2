"""Words of SQL that both databases understand, and statements that stand in files, so that any SQL tool opens them."""

import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    FromClause,
    String,
    Subquery,
    TextClause,
    and_,
    literal,
    literal_column,
    select,
    text,
)

_HERE: Final = files("fairlane.store")


def statement(path: str, *, without: str | None = None) -> TextClause:
    """Return the statement of a file of this package, without the reasons that stand in it as comments.

    Args:
        path: without its ending, such as postgres/claim.
        without: leave out what stands between the comments of this name and "{", and of "}".
    """
    words = _HERE.joinpath(f"{path}.sql").read_text(encoding="utf-8")
    if without is not None:
        words = re.sub(rf"(?ms)^-- {without} \{{$.*?^-- }}$", "", words)
    return text("\n".join(line for line in words.splitlines() if not line.lstrip().startswith("--")))


def is_row(table: FromClause, *key: object) -> ColumnElement[bool]:
    """Compare the first columns of the table's primary key with these values, or with columns."""
    return and_(*(column == value for column, value in zip(table.primary_key, key, strict=False)))


def fixed(value: str) -> BindParameter[str]:
    """Write a constant of ours into the SQL text instead of binding it.

    A partial index serves a query only where the planner sees its predicate. In a prepared statement whose plan fits
    any parameters (PostgreSQL's generic plan) it doesn't see `status = 'pending'` in `status = $1`.

    Args:
        value: never anything that came from outside.
    """
    return literal(str(value), String(), literal_execute=True)


def given(*columns: str) -> str:
    """Return a FROM item `given` with these columns of text: the rows that `as_given` makes a parameter of.

    However many rows there are, the statement stays the same.
    """
    names = ", ".join(f"value ->> {place} AS {name}" for place, name in enumerate(columns))
    return f"(SELECT {names} FROM json_each(:given)) AS given"  # noqa: S608 - names of ours


def rows_given(*columns: str) -> Subquery:
    """Return what `given` says, for statements of SQLAlchemy Core."""
    values = (literal_column(f"value ->> {place}", String).label(name) for place, name in enumerate(columns))
    return select(*values).select_from(text("json_each(:given)")).subquery("given")


def as_given(rows: Iterable[Sequence[object]]) -> str:
    """Return the parameter `given`: JSON of an object, from which both databases read the rows by `json_each`."""
    return json.dumps(dict(enumerate(rows)))
