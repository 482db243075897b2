"""How SQLite inserts many rows, and takes many jobs through a transition: all of them as one JSON text.

Python's module for SQLite gives up the interpreter's lock at each row that it is handed, and has to get it back from a
busy loop, while nobody else may write. And each statement costs Python more than a row costs SQLite.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Table, TextualSelect, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite

from fairlane.store.statements.transition import RETURNED, Change
from fairlane.store.tables import Instant, live


@cache
def insert(table: Table) -> postgresql.Insert:
    """Return SQLAlchemy's own, which shares with PostgreSQL's all that is used here."""
    return sqlite.insert(table).inline()  # type: ignore[return-value]


def insert_from_json(table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[postgresql.Insert, dict[str, str]]:
    """Read the values by their places."""
    names = tuple(rows[0])
    return _insert_from_json(table, names), {"rows": _json([[row[name] for name in names] for row in rows])}


@cache
def _insert_from_json(table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    values: list[ColumnElement[Any]] = [literal_column(f"value ->> {place}") for place in range(len(names))]
    # WHERE tells SQLite that ON CONFLICT begins no join.
    given = select(*values).select_from(text("json_each(:rows)")).where(text("true"))
    return insert(table).from_select(names, given)


def values_of(changes: Sequence[Change]) -> dict[str, str]:
    """Return what the changes say as one JSON text for all."""
    rows = []
    for one in changes:
        transition = one.transition
        proof = one.organization, one.job_id, transition.source, one.lease_token
        rows.append((*proof, transition.target, len(transition.steps), *transition.changes.values()))
    return {"given": _json(rows)}


def _json(rows: Sequence[Sequence[object]]) -> str:
    return json.dumps(rows, default=_as_text, ensure_ascii=False)


def _as_text(value: UUID | datetime) -> str:
    """Return the text by which SQLite has the value."""
    return value.hex if isinstance(value, UUID) else Instant.as_text(value)


# The plus keeps SQLite from the index of a status.
_PLACES: Final = """
  SELECT job.rowid AS place, given.value FROM json_each(:given) AS given CROSS JOIN {table} AS job
    ON job.organization_id = given.value ->> 0 AND job.id = given.value ->> 1
  WHERE +job.status = given.value ->> 2 {under_lease}"""
_UNDER_LEASE: Final = "AND job.lease_token IS given.value ->> 3"


@cache
def update_live(columns: tuple[str, ...]) -> TextualSelect:
    """Find the rows first, and change them where they stand."""
    values = "".join(f", {name} = mine.value ->> {place}" for place, name in enumerate(columns, 6))
    mine = _PLACES.format(table=live.name, under_lease=_UNDER_LEASE)
    statement = text(f"""
UPDATE {live.name} SET status = mine.value ->> 4, log_sequence = log_sequence + (mine.value ->> 5){values}
FROM ({mine}) AS mine WHERE {live.name}.rowid = mine.place
RETURNING {", ".join(column.name for column in RETURNED)}
""")  # noqa: S608 - names of ours
    return statement.columns(*RETURNED).execution_options(fairlane_across="finish")


@cache
def take(table: Table) -> TextualSelect:
    """Find the rows first, and delete them where they stand."""
    mine = _PLACES.format(table=table.name, under_lease=_UNDER_LEASE if table is live else "")
    statement = text(f"""
DELETE FROM {table.name} WHERE rowid IN (SELECT place FROM ({mine}))
RETURNING {", ".join(column.name for column in table.c)}
""")  # noqa: S608 - names of ours
    return statement.columns(*table.c).execution_options(fairlane_across="finish")
