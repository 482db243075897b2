"""The parts of row security in the database: the roles, their rights, and the policies."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Final

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError

from fairlane.store import row_ending
from fairlane.store.driver_errors import was_granted_on
from fairlane.store.row_ending import END_WAITING, OWNED, SIGNATURE
from fairlane.store.row_rights import HOLD, SUBMITTERS, holders_of, rights_of, writable_by
from fairlane.store.row_security import TAKING_ON, Ask, DatabaseRole, is_of_tenants, policy_of
from fairlane.store.tables import ended, metadata

# A holder, a right, and True if the right is one too many, False if it is missing.
Odd = tuple[str, str, bool]


@dataclass(frozen=True, slots=True)
class Amiss:
    """A difference from what `establish` makes: a sentence, the SQL that mends it, and if it defeats row security."""

    what: str
    mend: str
    lets_past: bool


_VERSION_TABLE: Final = "fairlane_schema_version"
# Whether this login may take on all roles.
_TAKE_ON: Final = text(
    f"SELECT bool_and(pg_has_role(role, {TAKING_ON})) "  # noqa: S608 - a constant
    "FROM unnest(CAST(:roles AS text[])) AS role"
)
_USE_SCHEMA: Final = text(
    "SELECT bool_and(has_schema_privilege(role, current_schema(), 'USAGE')) FROM unnest(CAST(:roles AS text[])) AS role"
)
_READ_VERSION: Final = text(
    f"SELECT bool_and(has_table_privilege(role, '{_VERSION_TABLE}', 'SELECT')) "  # noqa: S608 - a constant
    "FROM unnest(CAST(:roles AS text[])) AS role"
)
_SECRET: Final = [table.name for table in metadata.sorted_tables if is_of_tenants(table) or holders_of(table)]
_HELD: Final = "fairlane_hold"  # the policy under which rows are locked and not changed
_OWNED: Final = "fairlane_owner"  # the policy under which the owner's function works
_FUNCTION: Final = f"FUNCTION {SIGNATURE}"

# Each right on a table, a column or the function: its holder, who granted it, and whether with the grant option. The
# owner has all rights.
_RIGHTS: Final = f"""
SELECT name, coalesce(quote_ident(rolname), 'PUBLIC') AS holder, privilege_type || part AS privilege, is_grantable,
  grantor::regrole::text AS giver, grantor = owner AS is_of_owner,
  grantor = owner AND (grantee = 0 OR rolname = ANY(%(roles)s)) AS is_ours
FROM (SELECT relname::text AS name, relowner AS owner, '' AS part, (aclexplode(relacl)).*
      FROM pg_class WHERE oid = ANY(%(oids)s::oid[])
      UNION ALL
      SELECT relname, relowner, ' (' || attname || ')', (aclexplode(attacl)).*
      FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE attrelid = ANY(%(oids)s::oid[])
      UNION ALL
      SELECT '{_FUNCTION}', proowner, '', (aclexplode(coalesce(proacl, acldefault('f', proowner)))).*
      FROM pg_proc WHERE oid = to_regprocedure('{SIGNATURE}')) AS granted
LEFT JOIN pg_roles ON pg_roles.oid = grantee
WHERE grantee <> owner
"""  # noqa: S608 - a constant
# The rights that the owner granted to Fairlane's roles or to everybody. `establish` changes them to those of
# `row_rights`.
_GRANTED: Final = f"""
SELECT name, holder, unnest(
  CASE WHEN is_grantable THEN ARRAY['', 'GRANT OPTION FOR '] ELSE ARRAY[''] END) || privilege
FROM ({_RIGHTS}) AS one WHERE is_ours
"""  # noqa: S608 - a constant
# All other rights are the host's, and `establish` keeps them: their holders, and the SQL that revokes them. Only the
# role that granted a right can revoke it. A used grant option is revoked after the rights that it granted, so the
# owner's come last. A host's table that refers to Fairlane's tables needs REFERENCES.
_OTHERS: Final = f"""
SELECT holder,
  'SET ROLE ' || giver || '; REVOKE ' || rights || ' ON ' || string_agg(name, ', ' ORDER BY name) || ' FROM ' || holder
FROM (SELECT holder, giver, is_of_owner, name, string_agg(privilege, ', ' ORDER BY privilege) AS rights
      FROM ({_RIGHTS}) AS one WHERE NOT is_ours AND NOT starts_with(privilege, 'REFERENCES')
      GROUP BY holder, giver, is_of_owner, name) AS of_table
GROUP BY holder, giver, is_of_owner, rights ORDER BY is_of_owner, holder, giver, rights
"""  # noqa: S608 - a constant
_POLICIES: Final = """
SELECT relname, relrowsecurity AND relforcerowsecurity, polname, polcmd::text, polpermissive,
  ARRAY(SELECT CASE WHEN one = relowner THEN '' ELSE coalesce(rolname, 'public') END
        FROM unnest(polroles) AS one LEFT JOIN pg_roles ON pg_roles.oid = one),
  pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
FROM pg_class LEFT JOIN pg_policy ON polrelid = pg_class.oid WHERE pg_class.oid = ANY(%(oids)s::oid[])
"""
# Faults of Fairlane's roles, and of the function's owner: the fault, the SQL that mends it, and whether it defeats row
# security. The tables' owner, and a login that may create roles, may give Fairlane's roles to others.
_ROLES: Final = f"""
WITH ours AS (SELECT * FROM pg_roles WHERE rolname = ANY(%(roles)s)),
  tables AS (SELECT relowner AS owner FROM pg_class WHERE oid = to_regclass('fairlane_jobs'))
SELECT rolname || ' has ' || attribute, 'ALTER ROLE ' || rolname || ' NO' || attribute, is_past
FROM ours, LATERAL (VALUES
  ('SUPERUSER', rolsuper, true), ('BYPASSRLS', rolbypassrls, true), ('CREATEROLE', rolcreaterole, true),
  ('REPLICATION', rolreplication, true), ('CREATEDB', rolcreatedb, false), ('LOGIN', rolcanlogin, false)
) AS one(attribute, has, is_past) WHERE has
UNION ALL
SELECT ours.rolname || ' is a member of ' || name, 'REVOKE ' || name || ' FROM ' || ours.rolname, true
FROM pg_auth_members JOIN ours ON ours.oid = member JOIN pg_roles AS above ON above.oid = roleid,
  LATERAL quote_ident(above.rolname) AS name
UNION ALL
SELECT name || ' may give ' || ours.rolname || ' to others',
  'REVOKE ADMIN OPTION FOR ' || ours.rolname || ' FROM ' || name || CASE
    WHEN current_setting('server_version_num')::int < 160000 THEN ''
    ELSE ' GRANTED BY ' || grantor::regrole END,
  false
FROM tables, pg_auth_members JOIN ours ON ours.oid = roleid JOIN pg_roles AS one ON one.oid = member,
  LATERAL quote_ident(one.rolname) AS name
WHERE admin_option AND member <> owner AND NOT (one.rolsuper OR one.rolcreaterole)
UNION ALL
SELECT '{END_WAITING} belongs to ' || quote_ident(pg_get_userbyid(proowner)),
  'ALTER {_FUNCTION} OWNER TO ' || quote_ident(pg_get_userbyid(owner)), false
FROM tables, pg_proc WHERE oid = to_regprocedure('{SIGNATURE}') AND proowner <> owner
"""  # noqa: S608 - a constant
_OIDS: Final = (
    "SELECT name, to_regclass(name)::oid FROM unnest(%(names)s::text[]) AS name WHERE to_regclass(name) IS NOT NULL"
)


def establish(connection: Connection) -> bool:
    """Create the roles, grant them their rights, and switch row security on, where that is not done yet.

    This is for PostgreSQL, as the tables' owner, in a transaction.

    Returns:
        True if row security is on. False if there are no roles, and this login may not create or take them on. Then an
        administrator does what `row_logins` says, and `fairlane migrate` does the rest.
    """
    if not _have_roles(connection):
        return False
    _bring_down(connection)
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    everybody = ", ".join(DatabaseRole)
    # Compared first: a GRANT takes a lock, so it should not run at each start if it changes nothing.
    for right, is_granted in (
        (f"USAGE ON SCHEMA {schema}", _USE_SCHEMA),
        (f"SELECT ON {_VERSION_TABLE}", _READ_VERSION),
    ):
        if not connection.scalar(is_granted, {"roles": list(DatabaseRole)}):
            connection.exec_driver_sql(f"GRANT {right} TO {everybody}")
    ask = asking(connection)
    place = row_ending.find(ask)
    if place is not None and not place.is_made:
        row_ending.make(connection, place)
    for name, odd in sorted(_oddly_granted(ask).items()):
        _grant(connection, name, odd)
    for name in sorted(_oddly_bound(ask)):
        _bind(connection, metadata.tables[name])
    return True


def is_complete(ask: Ask) -> bool:
    """Return True if the roles, their rights and the policies are exactly as `establish` makes them."""
    return bool(_oids(ask, _SECRET)) and not roles_amiss(ask) and not tables_amiss(ask)


def is_sound(ask: Ask) -> bool:
    """Return True if row security binds Fairlane's roles on each existing table with organizations' rows."""
    return not any(one.lets_past for one in roles_amiss(ask)) and not _oddly_bound(ask) and not _functions_amiss(ask)


def roles_amiss(ask: Ask) -> list[Amiss]:
    """Return the faults of Fairlane's roles, and of the function's owner."""
    return [Amiss(*row) for row in ask(_ROLES, {"roles": list(DatabaseRole)})]


def tables_amiss(ask: Ask) -> list[str]:
    """Return the faults of Fairlane's tables: extra or missing rights, the function, the policies."""
    rights = sorted(
        f"{grantee} {'has' if is_given else 'lacks'} {right} on {name}"
        for name, odd in _oddly_granted(ask).items()
        for grantee, right, is_given in odd
    )
    return [
        *rights,
        *_functions_amiss(ask),
        *(f"the policies of {name} were changed" for name in sorted(_oddly_bound(ask))),
    ]


def rights_of_others(ask: Ask) -> list[tuple[str, str]]:
    """Return the holders of rights on Fairlane's tables that `establish` keeps, with the SQL that revokes them."""
    values = {"oids": list(_oids(ask, list(metadata.tables)).values()), "roles": list(DatabaseRole)}
    return [(holder, mend) for holder, mend in ask(_OTHERS, values)]


def asking(connection: Connection) -> Ask:
    """Return a function that asks on a SQLAlchemy connection."""
    return lambda statement, values: [tuple(row) for row in connection.exec_driver_sql(statement, dict(values))]


def _have_roles(connection: Connection) -> bool:
    count = text("SELECT count(*) FROM pg_roles WHERE rolname = ANY(CAST(:roles AS text[]))")
    if connection.scalar(count, {"roles": list(DatabaseRole)}) < len(DatabaseRole):
        may = connection.scalar(text("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"))
        if not may:
            return False
        for role in DatabaseRole:
            _create_role(connection, role)
    return bool(connection.scalar(_TAKE_ON, {"roles": list(DatabaseRole)}))


def _create_role(connection: Connection, role: DatabaseRole) -> None:
    """Create a role. Roles belong to the whole server: a migration of another database may create it just now."""
    there = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    if connection.scalar(there, {"role": role}):
        return
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
            connection.exec_driver_sql(f"GRANT {role} TO CURRENT_USER")
    except DBAPIError:
        if not connection.scalar(there, {"role": role}):
            raise


def _bring_down(connection: Connection) -> None:
    """Take extra attributes from Fairlane's roles. If this login may not, `fairlane check` says so."""
    for one in roles_amiss(asking(connection)):
        with suppress(DBAPIError), connection.begin_nested():
            connection.exec_driver_sql(one.mend)


def _grant(connection: Connection, name: str, odd: Iterable[Odd]) -> None:
    for grantee, right, is_given in odd:
        if is_given:
            _revoke(connection, f"{right} ON {name} FROM {grantee}")
    # Grant all rights again: the revocation of a right on a table also revokes it on the table's columns.
    for (thing, role), rights in _wanted().items():
        if thing == name and rights:
            connection.exec_driver_sql(f"GRANT {', '.join(rights)} ON {name} TO {role}")


def _revoke(connection: Connection, right: str) -> None:
    """Revoke a right, but keep it if its holder granted it to others, who would lose it. See `rights_of_others`."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"REVOKE {right}")
    except DBAPIError as error:
        if not was_granted_on(error):
            raise


def _bind(connection: Connection, table: Table) -> None:
    for name in connection.scalars(
        text("SELECT quote_ident(polname) FROM pg_policy WHERE polrelid = to_regclass(:name)"), {"name": table.name}
    ).all():
        connection.exec_driver_sql(f"DROP POLICY {name} ON {table.name}")
    connection.exec_driver_sql(f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    for role in DatabaseRole:
        seen, written = _rows(role, table)
        connection.exec_driver_sql(
            f"CREATE POLICY {role} ON {table.name} TO {role} USING ({seen}) WITH CHECK ({written})"
        )
    if holders := holders_of(table):
        connection.exec_driver_sql(
            f"CREATE POLICY {_HELD} ON {table.name} AS RESTRICTIVE FOR UPDATE TO {', '.join(holders)} "
            "USING (true) WITH CHECK (false)"
        )
    if table in OWNED and (place := row_ending.find(asking(connection))) is not None:
        seen, written = OWNED[table]
        connection.exec_driver_sql(
            f"CREATE POLICY {_OWNED} ON {table.name} TO {place.owner} USING ({seen}) WITH CHECK ({written})"
        )


def _rows(role: DatabaseRole, table: Table) -> tuple[str, str]:
    """Return the conditions for the rows of the table that the role sees, and for those that it may write."""
    seen, writable = policy_of(table, role), writable_by(role, table)
    return seen, seen if writable is None else f"({seen}) AND {writable}"


def _wanted() -> dict[tuple[str, DatabaseRole], list[str]]:
    """Return all rights of Fairlane's roles in PostgreSQL's words, by object and role."""
    found = {(_FUNCTION, role): ["EXECUTE"] for role in SUBMITTERS}
    for table, role in product(metadata.sorted_tables, DatabaseRole):
        hold = f"UPDATE ({next(iter(table.primary_key)).name})"
        found[table.name, role] = [hold if right == HOLD else right for right in rights_of(role, table)]
    return found


def _oids(ask: Ask, names: Sequence[str]) -> dict[str, int]:
    """Return the OIDs of those tables that exist."""
    return {row[0]: row[1] for row in ask(_OIDS, {"names": list(names)})}


def _oddly_granted(ask: Ask) -> dict[str, set[Odd]]:
    """Return the extra and the missing rights on each table and on the function."""
    oids = _oids(ask, list(metadata.tables))
    there = {*oids, _FUNCTION} if ended.name in oids else set(oids)
    granted = {tuple(row) for row in ask(_GRANTED, {"oids": list(oids.values()), "roles": list(DatabaseRole)})}
    wanted = {
        (name, role.value, right) for (name, role), rights in _wanted().items() for right in rights if name in there
    }
    odd = defaultdict[str, set[Odd]](set)
    for one in granted ^ wanted:
        name, grantee, right = one
        odd[name].add((grantee, right, one in granted))
    return odd


def _functions_amiss(ask: Ask) -> list[str]:
    place = row_ending.find(ask)
    return [] if place is None or place.is_made else [f"the function {END_WAITING} is missing or was changed"]


def _oddly_bound(ask: Ask) -> set[str]:
    """Return the existing tables with organizations' rows whose policies differ from those of `_bind`."""
    oids = _oids(ask, _SECRET)
    found: dict[str, set[object]] = {name: set() for name in oids}
    for table, is_forced, name, command, is_permissive, roles, using, check in ask(
        _POLICIES, {"oids": list(oids.values())}
    ):
        found[table].add((is_forced, name, command, is_permissive, *sorted(roles or ()), _gist(using), _gist(check)))
    return {name for name, policies in found.items() if policies != _policies(metadata.tables[name])}


def _policies(table: Table) -> set[object]:
    """Return a policy for each role, with the role's name: other roles see nothing.

    There is one more for roles that only lock rows, and one for the owner. The owner is written as "",
    which is no role's name.
    """
    made: set[object] = {
        (True, role.value, "*", True, role.value, *map(_gist, _rows(role, table))) for role in DatabaseRole
    }
    if holders := sorted(role.value for role in holders_of(table)):
        made.add((True, _HELD, "w", False, *holders, "true", "false"))
    if table in OWNED:
        made.add((True, _OWNED, "*", True, "", *map(_gist, OWNED[table])))
    return made


def _gist(condition: str | None) -> str | None:
    """Return a policy's condition without the brackets and casts that PostgreSQL adds."""
    return condition and re.sub(r"[()\s]|::(character varying|double precision|\w+)(\[\])?", "", condition)
