"""The function by which submitters delete waiting jobs from `fairlane_live`, and nothing else from any table.

A submission ends a waiting job whose place it takes, and children whose parent has ended badly. DELETE of the table
would let its session lock the table against all others (see `row_rights`), so PostgreSQL runs this function with the
rights of the tables' owner. The function's own condition holds where the owner is above row security. Where row
security binds the owner, a policy of the same condition shows it these rows and no others.
"""

from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from fairlane.domain.statuses import WAITING
from fairlane.store.dialects import is_sqlite
from fairlane.store.row_security import Ask, Role, policy_of
from fairlane.store.tables import live

DELETE_WAITING: Final = "fairlane_delete_waiting"
SIGNATURE: Final = f"{DELETE_WAITING}(text, uuid, text)"
# The rows that it may delete: of organizations that the transaction has named.
_STATUSES: Final = ", ".join(f"'{status}'" for status in sorted(WAITING))
DELETABLE: Final = f"status = ANY (ARRAY[{_STATUSES}]) AND {policy_of(live, Role.APP)}"
# The table is named with its schema, so the path needs no schema in which others may create functions.
_BODY: Final = (
    f"DELETE FROM {{schema}}.{live.name} "  # noqa: S608 - names of ours
    f"WHERE organization_id = $1 AND id = $2 AND status = $3 AND {DELETABLE} RETURNING *"
)
_PATH: Final = "pg_catalog, pg_temp"
_FOUND: Final = f"""
SELECT quote_ident(nspname), quote_ident(pg_get_userbyid(relowner)), prosrc, proconfig,
  prosecdef AND proretset AND prorettype = reltype AND lanname = 'sql'
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  LEFT JOIN pg_proc ON pg_proc.oid = to_regprocedure('{SIGNATURE}') LEFT JOIN pg_language ON pg_language.oid = prolang
WHERE pg_class.oid = to_regclass('{live.name}')
"""  # noqa: S608 - names of ours
_MAY_DELETE: Final = text(f"SELECT has_table_privilege('{live.name}', 'DELETE')")


class Place(NamedTuple):
    """Where the function belongs: the schema and the owner of the table, quoted; and whether it is there as made."""

    schema: str
    owner: str
    is_made: bool


def find(ask: Ask) -> Place | None:
    """Return the function's place; None where the table is not there."""
    for schema, owner, body, settings, is_alike in ask(_FOUND, {}):
        is_made = body == _BODY.format(schema=schema) and settings == [f"search_path={_PATH}"] and is_alike
        return Place(schema, owner, is_made)
    return None


def make(connection: Connection, place: Place) -> None:
    """Create the function, or make it as it should be. Who may execute it is said with all other rights."""
    connection.exec_driver_sql(
        f"CREATE OR REPLACE FUNCTION {place.schema}.{SIGNATURE} RETURNS SETOF {place.schema}.{live.name} "
        f"LANGUAGE sql SECURITY DEFINER SET search_path = {_PATH} AS $${_BODY.format(schema=place.schema)}$$"
    )
    connection.exec_driver_sql(f"ALTER FUNCTION {place.schema}.{SIGNATURE} OWNER TO {place.owner}")


def may_delete(connection: Connection) -> bool:
    """Return False for a session that deletes waiting jobs by the function alone."""
    return is_sqlite(connection) or bool(connection.scalar(_MAY_DELETE))
