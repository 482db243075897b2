"""The SQL function by which submitters end waiting jobs: it moves rows from `fairlane_live` to `fairlane_ended`.

A submission ends a waiting job that it replaces, and children whose parent failed. The right to DELETE from the live
table would let the submitter's session lock that table (see `row_rights`). The right to INSERT into `fairlane_ended` or
the dead letters would let it hold the key of a job that a worker is about to end. So PostgreSQL runs this function with
the rights of the tables' owner. A submitter can end only live jobs.

The function checks its condition itself if the owner is exempt from row security. If row security binds the owner,
policies with the same condition show the owner only these rows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, Table, text

from fairlane.domain.statuses import WAITING, JobStatus, Resolution
from fairlane.store.engine import engine_of
from fairlane.store.row_rights import MOMENTS
from fairlane.store.row_security import Ask, DatabaseRole, policy_of
from fairlane.store.tables import AnyRow, dead_letters, ended, live

END_WAITING: Final = "fairlane_end_waiting"
# The function's parameters: the job's key, its status before and after, the time, who canceled it, and its dead letter.
_TOLD: Final[Mapping[str, str]] = {
    "organization": "text",
    "id": "uuid",
    "source": "text",
    "target": "text",
    "at": "timestamptz",
    "canceled_by": "text",
    "error_type": "text",
    "reason": "text",
    "fingerprint": "text",
    "caused_by": "uuid",
}
SIGNATURE: Final = f"{END_WAITING}({', '.join(_TOLD.values())})"
_WAITING: Final = ", ".join(f"'{status}'" for status in sorted(WAITING))
_ENDABLE: Final = f"status = ANY (ARRAY[{_WAITING}]) AND {policy_of(live, DatabaseRole.APP)}"
# The rows that the owner may see, and those that it may write, if row security binds it.
OWNED: Final[Mapping[Table, tuple[str, str]]] = {
    live: (_ENDABLE, "false"),
    ended: (policy_of(ended, DatabaseRole.APP), policy_of(ended, DatabaseRole.APP)),
    dead_letters: (policy_of(dead_letters, DatabaseRole.APP), policy_of(dead_letters, DatabaseRole.APP)),
}
_ENDED: Final[Mapping[str, str]] = {
    **{one.name: one.name for one in ended.c if one.name in live.c},
    "status": "$4",
    "log_sequence": "log_sequence + 1",
    "error_type": "coalesce($7, error_type)",
    "error_message": "coalesce($8, error_message)",
    "finished_at": "$5",
    "canceled_at": f"CASE $4 WHEN '{JobStatus.CANCELED}' THEN $5 END",
    "canceled_by": "$6",
}
_LETTER: Final[Mapping[str, str]] = {
    "organization_id": "organization_id",
    "job_id": "id",
    "job_type": "job_type",
    "entered_at": "$5",
    "error_type": "$7",
    "reason": "$8",
    "fingerprint": "$9",
    "caused_by": "$10",
    "resolution": f"'{Resolution.PENDING}'",
    **dict.fromkeys(("note", "resolved_by", "resolved_at"), "NULL"),
}
# Tables are named with their schema, so the path needs no schema in which others may create functions.
_BODY: Final = f"""
WITH job AS (
  DELETE FROM {{schema}}.{live.name} WHERE organization_id = $1 AND id = $2 AND status = $3 AND {_ENDABLE}
    AND $4 = ANY (ARRAY['{JobStatus.CANCELED}', '{JobStatus.DEAD_LETTER}']) AND $5 >= {MOMENTS[0]} AND $5 < {MOMENTS[1]}
  RETURNING *
), letter AS (
  INSERT INTO {{schema}}.{dead_letters.name} ({", ".join(_LETTER)}) SELECT {", ".join(_LETTER.values())}
  FROM job WHERE $4 = '{JobStatus.DEAD_LETTER}'
  ON CONFLICT (organization_id, job_id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _LETTER if not dead_letters.c[name].primary_key)}
)
INSERT INTO {{schema}}.{ended.name} ({", ".join(_ENDED)}) SELECT {", ".join(_ENDED.values())} FROM job RETURNING *
"""  # noqa: S608 - Fairlane's names
_PATH: Final = "pg_catalog, pg_temp"
_FOUND: Final = f"""
SELECT quote_ident(nspname), quote_ident(pg_get_userbyid(relowner)), prosrc, proconfig,
  prosecdef AND proretset AND prorettype = reltype AND lanname = 'sql'
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  LEFT JOIN pg_proc ON pg_proc.oid = to_regprocedure('{SIGNATURE}') LEFT JOIN pg_language ON pg_language.oid = prolang
WHERE pg_class.oid = to_regclass('{ended.name}')
"""  # noqa: S608 - Fairlane's names
_END: Final = text(f"""
SELECT job.organization_id, job.id, job.log_sequence, job.attempt, job.job_type
FROM jsonb_to_recordset(CAST(:told AS jsonb)) AS one({", ".join(f"{name} {kind}" for name, kind in _TOLD.items())})
CROSS JOIN LATERAL {END_WAITING}({", ".join(f"one.{name}" for name in _TOLD)}) AS job
""")  # noqa: S608 - Fairlane's names
_MAY_DELETE: Final = text(f"SELECT has_table_privilege('{live.name}', 'DELETE')")


class FunctionPlace(NamedTuple):
    """The place of the function: the tables' schema and owner, quoted, and whether the function is up to date."""

    schema: str
    owner: str
    is_made: bool


def find(ask: Ask) -> FunctionPlace | None:
    """Return the function's place; None if there are no tables."""
    for schema, owner, body, settings, is_alike in ask(_FOUND, {}):
        is_made = body == _BODY.format(schema=schema) and settings == [f"search_path={_PATH}"] and is_alike
        return FunctionPlace(schema, owner, is_made)
    return None


def make(connection: Connection, place: FunctionPlace) -> None:
    """Create or replace the function. `row_rights` says who may execute it."""
    connection.exec_driver_sql(
        f"CREATE OR REPLACE FUNCTION {place.schema}.{SIGNATURE} RETURNS SETOF {place.schema}.{ended.name} "
        f"LANGUAGE sql SECURITY DEFINER SET search_path = {_PATH} AS $${_BODY.format(schema=place.schema)}$$"
    )
    connection.exec_driver_sql(f"ALTER FUNCTION {place.schema}.{SIGNATURE} OWNER TO {place.owner}")


def may_delete(connection: Connection) -> bool:
    """Return False if the session has to end waiting jobs by the function."""
    return not engine_of(connection).has_row_security or bool(connection.scalar(_MAY_DELETE))


def end_waiting(connection: Connection, told: Sequence[Mapping[str, object]]) -> Sequence[AnyRow]:
    """End jobs by the function, with their dead letters.

    Args:
        told: the function's parameters for each job, by name. Other names are ignored.

    Returns:
        The jobs that were still waiting: organization_id, id, log_sequence, attempt, job_type.
    """
    return connection.execute(_END, {"told": json.dumps(told, default=str, ensure_ascii=False)}).all()
