"""What of row security is in the database: the roles, what each may do, and the policies."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError

from fairlane.store.row_rights import HOLD, holders_of, rights_of
from fairlane.store.row_security import TAKING_ON, Role, is_of_tenants, policy_of
from fairlane.store.tables import metadata

# Asks the database in plain SQL, on a connection of SQLAlchemy's or of the driver's.
Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]

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

_GRANTED: Final = """
SELECT name, coalesce(grantee.rolname, 'public'), right_
FROM (SELECT relname AS name, entry.grantee, entry.privilege_type AS right_
      FROM pg_class, aclexplode(relacl) AS entry WHERE pg_class.oid = ANY(%(oids)s::oid[])
      UNION ALL
      SELECT attrelid::regclass::text, entry.grantee, entry.privilege_type || ' (' || attname || ')'
      FROM pg_attribute, aclexplode(attacl) AS entry WHERE attrelid = ANY(%(oids)s::oid[])) AS granted
LEFT JOIN pg_roles AS grantee ON grantee.oid = granted.grantee
WHERE granted.grantee = 0 OR grantee.rolname = ANY(%(roles)s)
"""
_POLICIES: Final = """
SELECT relname, relrowsecurity AND relforcerowsecurity, polname, polcmd::text, polpermissive,
  ARRAY(SELECT coalesce(rolname, 'public') FROM unnest(polroles) AS one LEFT JOIN pg_roles ON pg_roles.oid = one),
  pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
FROM pg_class LEFT JOIN pg_policy ON polrelid = pg_class.oid WHERE pg_class.oid = ANY(%(oids)s::oid[])
"""
# A role that is above row security, or one that gets at more than its own by way of another.
_ROLES_ABOVE: Final = """
SELECT rolname FROM pg_roles WHERE rolname = ANY(%(roles)s) AND (rolsuper OR rolbypassrls)
UNION SELECT member.rolname FROM pg_auth_members JOIN pg_roles AS member ON member.oid = pg_auth_members.member
WHERE member.rolname = ANY(%(roles)s)
"""
_OIDS: Final = (
    "SELECT name, to_regclass(name)::oid FROM unnest(%(names)s::text[]) AS name WHERE to_regclass(name) IS NOT NULL"
)


def establish(connection: Connection) -> bool:
    """Make the roles, grant them what they need, and switch row security on, as far as it is not so.

    For PostgreSQL, as the tables' owner, in a transaction.

    Returns:
        Whether it is on: False where the roles are not there and this login may not create them, or take them on. An
        administrator does what `row_advice` says, then `fairlane migrate` the rest.
    """
    if not _have_roles(connection):
        return False
    _bring_down(connection)
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    everybody = ", ".join(Role)
    # Asked before: a GRANT takes a lock, and one that changes nothing is not needed at each start.
    for right, is_granted in (
        (f"USAGE ON SCHEMA {schema}", _USE_SCHEMA),
        (f"SELECT ON {_VERSION_TABLE}", _READ_VERSION),
    ):
        if not connection.scalar(is_granted, {"roles": list(Role)}):
            connection.exec_driver_sql(f"GRANT {right} TO {everybody}")
    ask = asking(connection)
    oddly_granted, oddly_bound = _oddly_granted(ask), _oddly_bound(ask)
    for table in metadata.sorted_tables:
        if table.name in oddly_granted:
            _grant(connection, table)
        if table.name in oddly_bound:
            _bind(connection, table)
    return True


def is_on(connection: Connection) -> bool:
    """Whether the roles, their rights and the policies are as `establish` makes them, no more and no less."""
    return is_complete(asking(connection))


def is_complete(ask: Ask) -> bool:
    """The same, of whoever can ask the database."""
    return bool(_oids(ask, _SECRET)) and is_sound(ask) and not _oddly_granted(ask)


def is_sound(ask: Ask) -> bool:
    """Whether row security binds our roles on each table with an organization's rows that is there."""
    return not ask(_ROLES_ABOVE, {"roles": list(Role)}) and not _oddly_bound(ask)


def asking(connection: Connection) -> Ask:
    """Ask on a connection of SQLAlchemy's."""
    return lambda statement, values: [tuple(row) for row in connection.exec_driver_sql(statement, dict(values))]


def _have_roles(connection: Connection) -> bool:
    count = text("SELECT count(*) FROM pg_roles WHERE rolname = ANY(CAST(:roles AS text[]))")
    if connection.scalar(count, {"roles": list(Role)}) < len(Role):
        may = connection.scalar(text("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"))
        if not may:
            return False
        for role in Role:
            _create_role(connection, role)
    return bool(connection.scalar(_TAKE_ON, {"roles": list(Role)}))


def _create_role(connection: Connection, role: Role) -> None:
    """Roles are the whole server's: whoever migrates another database may create them at this moment."""
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
    """Take from our roles what lets them past row security. Where this login may not, `fairlane check` says so."""
    ask, ours = asking(connection), {"roles": list(Role)}
    through = ask(
        "SELECT quote_ident(above.rolname), member.rolname FROM pg_auth_members "
        "JOIN pg_roles AS above ON above.oid = roleid JOIN pg_roles AS member ON member.oid = pg_auth_members.member "
        "WHERE member.rolname = ANY(%(roles)s)",
        ours,
    )
    changes = [f"REVOKE {above} FROM {member}" for above, member in through]
    above = ask("SELECT rolname FROM pg_roles WHERE rolname = ANY(%(roles)s) AND (rolsuper OR rolbypassrls)", ours)
    changes += [f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS" for (role,) in above]
    for change in changes:
        with suppress(DBAPIError), connection.begin_nested():
            connection.exec_driver_sql(change)


def _grant(connection: Connection, table: Table) -> None:
    connection.exec_driver_sql(f"REVOKE ALL ON {table.name} FROM PUBLIC, {', '.join(Role)}")
    for role in Role:
        if rights := _granted(role, table):
            connection.exec_driver_sql(f"GRANT {', '.join(rights)} ON {table.name} TO {role}")


def _bind(connection: Connection, table: Table) -> None:
    for name in connection.scalars(
        text("SELECT quote_ident(polname) FROM pg_policy WHERE polrelid = to_regclass(:name)"), {"name": table.name}
    ).all():
        connection.exec_driver_sql(f"DROP POLICY {name} ON {table.name}")
    connection.exec_driver_sql(f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    for role in Role:
        rows = policy_of(table, role)
        connection.exec_driver_sql(f"CREATE POLICY {role} ON {table.name} TO {role} USING ({rows}) WITH CHECK ({rows})")
    if holders := holders_of(table):
        connection.exec_driver_sql(
            f"CREATE POLICY {_HELD} ON {table.name} AS RESTRICTIVE FOR UPDATE TO {', '.join(holders)} "
            "USING (true) WITH CHECK (false)"
        )


def _granted(role: Role, table: Table) -> list[str]:
    """What the role's rights are in PostgreSQL's words."""
    hold = f"UPDATE ({next(iter(table.primary_key)).name})"
    return [hold if right == HOLD else right for right in rights_of(role, table)]


def _oids(ask: Ask, names: Sequence[str]) -> dict[str, int]:
    """Those of the tables that are there."""
    return {row[0]: row[1] for row in ask(_OIDS, {"names": list(names)})}


def _oddly_granted(ask: Ask) -> set[str]:
    """The tables that are there of which one of our roles, or everybody, may do other things than it should."""
    oids = _oids(ask, list(metadata.tables))
    granted = {tuple(row) for row in ask(_GRANTED, {"oids": list(oids.values()), "roles": list(Role)})}
    wanted = {
        (table.name, str(role), right)
        for table in metadata.sorted_tables
        if table.name in oids
        for role in Role
        for right in _granted(role, table)
    }
    return {name for name, _, _ in granted ^ wanted}


def _oddly_bound(ask: Ask) -> set[str]:
    """The tables that are there, hold an organization's rows, and have other policies than `_bind` makes."""
    oids = _oids(ask, _SECRET)
    found: dict[str, set[object]] = {name: set() for name in oids}
    for table, is_forced, name, command, is_permissive, roles, using, check in ask(
        _POLICIES, {"oids": list(oids.values())}
    ):
        found[table].add((is_forced, name, command, is_permissive, *sorted(roles or ()), _gist(using), _gist(check)))
    return {name for name, policies in found.items() if policies != _policies(metadata.tables[name])}


def _policies(table: Table) -> set[object]:
    """One for each role, which is called as the role: other roles see nothing; and one for who locks rows alone."""
    rows = {role: _gist(policy_of(table, role)) for role in Role}
    made: set[object] = {(True, role.value, "*", True, role.value, rows[role], rows[role]) for role in Role}
    holders = sorted(role.value for role in holders_of(table))
    return made | {(True, _HELD, "w", False, *holders, "true", "false")} if holders else made


def _gist(condition: str | None) -> str | None:
    """A policy's condition without what PostgreSQL adds to it as it writes it out: brackets and casts."""
    return condition and re.sub(r"[()\s]|::(character varying|\w+)(\[\])?", "", condition)
