"""How PostgreSQL inserts many rows, and takes many jobs through a transition: all of them as one JSON text."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import JSON, Table, Text, TextualSelect, bindparam, cast, func, literal_column, select, text
from sqlalchemy.dialects import postgresql

from fairlane.store.statements.transition import RETURNED, Change
from fairlane.store.tables import live


@cache
def insert(table: Table) -> postgresql.Insert:
    """Return SQLAlchemy's own. Inline: nobody asks for the number that a row is given."""
    return postgresql.insert(table).inline()


def insert_from_json(table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[postgresql.Insert, dict[str, str]]:
    """Read the rows as the table has them."""
    return _insert_from_json(table, tuple(rows[0])), {"rows": json.dumps(rows, default=str, ensure_ascii=False)}


@cache
def _insert_from_json(table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    source = func.json_populate_recordset(
        literal_column(f"NULL::{table.name}"), cast(bindparam("rows", type_=Text), JSON)
    )
    given = source.table_valued(*(table.c[name] for name in names))
    return postgresql.insert(table).from_select(names, select(*given.c))


def values_of(changes: Sequence[Change]) -> dict[str, Any]:
    """Return what the changes say as one JSON text, and their keys as texts."""
    rows = {
        f"{one.organization}/{one.job_id}": {
            **one.transition.changes,
            "status": one.transition.target,
            "log_sequence": len(one.transition.steps),
            "source": one.transition.source,
            "lease": one.lease_token,
        }
        for one in changes
    }
    return {
        "given": json.dumps(rows, default=str, ensure_ascii=False),
        "organizations": [one.organization for one in changes],
        "ids": " ".join([one.job_id.hex for one in changes]),
    }


# Each row by a probe of its own: LATERAL with a lock leaves the planner no other way, and within the statement a row
# keeps its place. What is compared with a value of `given` tempts it into no index.
_PLACES: Final = """
WITH given AS (SELECT CAST(:given AS jsonb) AS rows), place AS MATERIALIZED (
  SELECT its.place FROM unnest(CAST(:organizations AS text[]), CAST(string_to_array(:ids, ' ') AS uuid[]))
    AS one(organization_id, id)
  CROSS JOIN LATERAL (SELECT ctid AS place FROM {table}
    WHERE organization_id = one.organization_id AND id = one.id FOR UPDATE) AS its
)
"""
_MINE: Final = "(SELECT rows FROM given) -> (job.organization_id || '/' || job.id)"
_AT_PLACES: Final = f"WHERE job.ctid = ANY(ARRAY(SELECT place FROM place)) AND job.status = {_MINE} ->> 'source'"  # noqa: S608 - ours
_UNDER_LEASE: Final = f"AND job.lease_token IS NOT DISTINCT FROM CAST({_MINE} ->> 'lease' AS uuid)"


@cache
def update_live(columns: tuple[str, ...]) -> TextualSelect:
    """Find the rows first, and change them where they stand."""
    names = ", ".join(columns)
    statement = text(f"""{_PLACES.format(table=live.name)}
UPDATE {live.name} AS job SET (status, log_sequence, {names}) = (
  SELECT status, job.log_sequence + log_sequence, {names} FROM jsonb_populate_record(NULL::{live.name}, {_MINE}))
{_AT_PLACES} {_UNDER_LEASE}
RETURNING organization_id, id, log_sequence, attempt, job_type
""")  # noqa: S608 - names of ours
    return statement.columns(*RETURNED).execution_options(fairlane_across="finish")


@cache
def take(table: Table) -> TextualSelect:
    """Find the rows first, and delete them where they stand."""
    under_lease = _UNDER_LEASE if table is live else ""
    statement = text(f"""{_PLACES.format(table=table.name)}
DELETE FROM {table.name} AS job {_AT_PLACES} {under_lease}
RETURNING {", ".join(f"job.{column.name}" for column in table.c)}
""")  # noqa: S608 - names of ours
    return statement.columns(*table.c).execution_options(fairlane_across="finish")
