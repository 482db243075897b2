"""What of row security is in the database: the roles, what each may do, and the policies."""

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

# Somebody, a right, and whether they have it and should not; else they should and have it not.
Odd = tuple[str, str, bool]


@dataclass(frozen=True, slots=True)
class Amiss:
    """What is not as `establish` makes it: a sentence, the SQL that mends it, and if it lets past row security."""

    what: str
    mend: str
    lets_past: bool


_VERSION_TABLE: Final = "fairlane_schema_version"
# Whether this login may take on all roles; and whether all may do so.
_TAKE_ON: Final = text(
    f"SELECT bool_and(pg_has_role(role, {TAKING_ON})) "  # noqa: S608 - a constant of ours
    "FROM unnest(CAST(:roles AS text[])) AS role"
)
_USE_SCHEMA: Final = text(
    "SELECT bool_and(has_schema_privilege(role, current_schema(), 'USAGE')) FROM unnest(CAST(:roles AS text[])) AS role"
)
_READ_VERSION: Final = text(
    f"SELECT bool_and(has_table_privilege(role, '{_VERSION_TABLE}', 'SELECT')) "  # noqa: S608 - a constant of ours
    "FROM unnest(CAST(:roles AS text[])) AS role"
)
_SECRET: Final = [table.name for table in metadata.sorted_tables if is_of_tenants(table) or holders_of(table)]
_HELD: Final = "fairlane_hold"  # the policy under which rows are locked and not changed
_OWNED: Final = "fairlane_owner"  # the policy under which the owner's function works
_FUNCTION: Final = f"FUNCTION {SIGNATURE}"

# Each right on a table, a column or the function: who has it, who granted it, and whether with the grant option. The
# owner has all.
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
"""  # noqa: S608 - a constant of ours
# What the owner granted to our roles or to everybody. `establish` changes these rights to those of `row_rights`.
_GRANTED: Final = f"""
SELECT name, holder, unnest(
  CASE WHEN is_grantable THEN ARRAY['', 'GRANT OPTION FOR '] ELSE ARRAY[''] END) || privilege
FROM ({_RIGHTS}) AS one WHERE is_ours
"""  # noqa: S608 - a constant of ours
# All other rights are the host's, and `establish` leaves them: who has them, and the SQL that revokes them. Only the
# role that granted a right revokes it. A grant option that was used is revoked after what it granted, so the owner's
# come last. A table of the host that refers to ours needs REFERENCES.
_OTHERS: Final = f"""
SELECT holder,
  'SET ROLE ' || giver || '; REVOKE ' || rights || ' ON ' || string_agg(name, ', ' ORDER BY name) || ' FROM ' || holder
FROM (SELECT holder, giver, is_of_owner, name, string_agg(privilege, ', ' ORDER BY privilege) AS rights
      FROM ({_RIGHTS}) AS one WHERE NOT is_ours AND NOT starts_with(privilege, 'REFERENCES')
      GROUP BY holder, giver, is_of_owner, name) AS of_table
GROUP BY holder, giver, is_of_owner, rights ORDER BY is_of_owner, holder, giver, rights
"""  # noqa: S608 - a constant of ours
_POLICIES: Final = """
SELECT relname, relrowsecurity AND relforcerowsecurity, polname, polcmd::text, polpermissive,
  ARRAY(SELECT CASE WHEN one = relowner THEN '' ELSE coalesce(rolname, 'public') END
        FROM unnest(polroles) AS one LEFT JOIN pg_roles ON pg_roles.oid = one),
  pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
FROM pg_class LEFT JOIN pg_policy ON polrelid = pg_class.oid WHERE pg_class.oid = ANY(%(oids)s::oid[])
"""
# What of our roles, and of who owns the function, is not as we make it: the fault, the SQL that mends it, and whether
# it lets a role past row security. Whoever owns the tables, or creates roles, may give our roles to others.
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
"""  # noqa: S608 - a constant of ours
_OIDS: Final = (
    "SELECT name, to_regclass(name)::oid FROM unnest(%(names)s::text[]) AS name WHERE to_regclass(name) IS NOT NULL"
)


def establish(connection: Connection) -> bool:
    """Make the roles, grant them what they need, and switch row security on, as far as it is not so.

    For PostgreSQL, as the tables' owner, in a transaction.

    Returns:
        Whether it is on: False where the roles are not there and this login may not create them, or take them on. An
        administrator does what `row_logins` says, then `fairlane migrate` the rest.
    """
    if not _have_roles(connection):
        return False
    _bring_down(connection)
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    everybody = ", ".join(DatabaseRole)
    # Asked before: a GRANT takes a lock, and one that changes nothing is not needed at each start.
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
    """Return True if the roles, their rights and the policies are as `establish` makes them, no more and no less."""
    return bool(_oids(ask, _SECRET)) and not roles_amiss(ask) and not tables_amiss(ask)


def is_sound(ask: Ask) -> bool:
    """Return True if row security binds our roles on each table with an organization's rows that is there."""
    return not any(one.lets_past for one in roles_amiss(ask)) and not _oddly_bound(ask) and not _functions_amiss(ask)


def roles_amiss(ask: Ask) -> list[Amiss]:
    """Return what of our roles, and of who owns the function, is not as `establish` makes it."""
    return [Amiss(*row) for row in ask(_ROLES, {"roles": list(DatabaseRole)})]


def tables_amiss(ask: Ask) -> list[str]:
    """Return what of our tables is not as `establish` makes them: rights too many or too few, function, policies."""
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
    """Return who has rights on our tables that `establish` leaves as they are, and the SQL that revokes them."""
    values = {"oids": list(_oids(ask, list(metadata.tables)).values()), "roles": list(DatabaseRole)}
    return [(holder, mend) for holder, mend in ask(_OTHERS, values)]


def asking(connection: Connection) -> Ask:
    """Ask on a connection of SQLAlchemy's."""
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
    """Create a role. It is the whole server's: whoever migrates another database may do so at this moment."""
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
    """Take from our roles what they have too much. Where this login may not, `fairlane check` says so."""
    for one in roles_amiss(asking(connection)):
        with suppress(DBAPIError), connection.begin_nested():
            connection.exec_driver_sql(one.mend)


def _grant(connection: Connection, name: str, odd: Iterable[Odd]) -> None:
    for grantee, right, is_given in odd:
        if is_given:
            _revoke(connection, f"{right} ON {name} FROM {grantee}")
    # All of them, since a right on a table that is revoked takes those on its columns along.
    for (thing, role), rights in _wanted().items():
        if thing == name and rights:
            connection.exec_driver_sql(f"GRANT {', '.join(rights)} ON {name} TO {role}")


def _revoke(connection: Connection, right: str) -> None:
    """Leave a right that its holder granted to others: theirs would end with it. `rights_of_others` names them."""
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
    """Return which rows of the table the role sees, and which it may write."""
    seen, writable = policy_of(table, role), writable_by(role, table)
    return seen, seen if writable is None else f"({seen}) AND {writable}"


def _wanted() -> dict[tuple[str, DatabaseRole], list[str]]:
    """Return all rights of our roles in PostgreSQL's words, by what they are on and whose they are."""
    found = {(_FUNCTION, role): ["EXECUTE"] for role in SUBMITTERS}
    for table, role in product(metadata.sorted_tables, DatabaseRole):
        hold = f"UPDATE ({next(iter(table.primary_key)).name})"
        found[table.name, role] = [hold if right == HOLD else right for right in rights_of(role, table)]
    return found


def _oids(ask: Ask, names: Sequence[str]) -> dict[str, int]:
    """Return those of the tables that are there."""
    return {row[0]: row[1] for row in ask(_OIDS, {"names": list(names)})}


def _oddly_granted(ask: Ask) -> dict[str, set[Odd]]:
    """Return of each table what somebody may do with it and should not, and what they should and may not.

    So it does of the function.
    """
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
    """Return the tables that are there, hold an organization's rows, and have other policies than by `_bind`."""
    oids = _oids(ask, _SECRET)
    found: dict[str, set[object]] = {name: set() for name in oids}
    for table, is_forced, name, command, is_permissive, roles, using, check in ask(
        _POLICIES, {"oids": list(oids.values())}
    ):
        found[table].add((is_forced, name, command, is_permissive, *sorted(roles or ()), _gist(using), _gist(check)))
    return {name for name, policies in found.items() if policies != _policies(metadata.tables[name])}


def _policies(table: Table) -> set[object]:
    """Return a policy for each role, which is called as the role: other roles see nothing.

    One is for who locks rows alone, and one of the owner, who is written as "" since another role may have any name.
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
    """Return a policy's condition without what PostgreSQL adds as it writes it out: brackets and casts."""
    return condition and re.sub(r"[()\s]|::(character varying|double precision|\w+)(\[\])?", "", condition)
