"""Row-level security: PostgreSQL holds the tenant boundary below our code.

Three roles, which nobody logs in as; sessions take them on. `fairlane_app` sees the rows of the organizations that its
transaction has named, and none where it has named none. `fairlane_operator` and `fairlane_worker` see all. The app's
transactions become the operator's one at a time, where an operator looks across organizations; workers' sessions are
the worker's from their beginning. Row security is forced: the tables' owner is bound by it, too.

SQLite has no roles: there the query layer alone holds the boundary.

A transaction of the app that names nobody would see nothing of tenants' there, in silence, and all of it on SQLite. So
whatever it asks of their tables is refused, on both: somebody forgot to say whose rows they want.
"""

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, event, text
from sqlalchemy.exc import DBAPIError

from fairlane.domain.errors import ConfigurationError
from fairlane.domain.organizations import is_organization_id
from fairlane.store.tables import (
    audit,
    feed_keys,
    metadata,
    organizations,
    pauses,
    sessions,
    socket_tickets,
    tokens,
    users,
)


class Role(StrEnum):
    """Whose eyes a session has."""

    APP = "fairlane_app"
    OPERATOR = "fairlane_operator"
    WORKER = "fairlane_worker"


class ScopeForgotten(RuntimeError):
    """A mistake in our code: a statement on tenants' rows in a transaction that does not say whose."""


class Everyone:
    """The scope of who looks across organizations."""


EVERYONE: Final = Everyone()
# Whose rows a transaction is open to: an organization, several, or all; () = nobody's. Where nothing is given, it may
# not even ask for such rows.
Scope = str | Collection[str] | Everyone

_ROLE_OF: Final = "fairlane_role"  # in a connection's info: the role that its session has taken on
_SCOPE: Final = "fairlane_scope"  # execution option: what to set for a statement outside of transactions
EYES: Final = "fairlane_eyes"  # execution option of an engine: the role that its sessions are meant to have
SETTING: Final = "fairlane.organizations"
# The subquery is evaluated once a statement, not once a row. Ids hold no comma (R1).
_NAMED: Final = f"ANY ((SELECT string_to_array(current_setting('{SETTING}', true), ','))::text[])"
_OWN: Final = {organizations: f"id = {_NAMED}", pauses: f"subject <> 'organization' OR name = {_NAMED}"}
_APPEND_ONLY: Final = frozenset({audit})
_NOT_FOR_WORKERS: Final = frozenset({users, sessions, tokens, socket_tickets, feed_keys})
_VERSION_TABLE: Final = "fairlane_schema_version"

# A role is taken on only in a database whose tables are granted to it.
_BECOME: Final = """
SELECT (SELECT set_config('role', rolname, false) FROM pg_roles
        WHERE rolname = %(role)s AND pg_has_role(oid, 'MEMBER')
          AND has_table_privilege(oid, to_regclass('fairlane_jobs'), 'SELECT')),
  mine.rolsuper OR mine.rolbypassrls,
  EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('fairlane_jobs') AND pg_has_role(mine.oid, relowner, 'MEMBER'))
FROM pg_roles AS mine WHERE mine.rolname = session_user
"""


def policy_of(table: Table) -> str | None:
    """Which rows of the table a transaction may see and write; None: it holds no organization's."""
    if "organization_id" in table.c:
        return f"organization_id = {_NAMED}"
    return _OWN.get(table)


_OF_TENANTS: Final = re.compile(
    rf"\b(?:{'|'.join(table.name for table in metadata.sorted_tables if policy_of(table) is not None)})\b"
)


def take_on(engine: Engine, role: Role, *, production: bool) -> None:
    """Have each session of the engine take on the role, where the database has it.

    Args:
        production: refuse to connect where row security would not hold: for a superuser, for the tables' owner, and
            where the role is not there.
    """

    def on_connect(driver: Any, record: Any) -> None:
        taken, is_above, is_owner = driver.execute(_BECOME, {"role": role}).fetchone()
        driver.commit()
        record.info[_ROLE_OF] = taken
        if production and (is_above or is_owner or taken is None):
            driver.close()
            raise ConfigurationError(_unfit(is_above=is_above, is_owner=is_owner))

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "do_execute", _scope_of_one)


def open_to(connection: Connection, scope: Scope | None) -> None:
    """Open the connection's transaction to the rows of these organizations, and to no others, until it ends."""
    if scope is None:
        _refuse_tenant_data(connection)
    if connection.info.get(_ROLE_OF) == Role.APP:
        connection.exec_driver_sql("SELECT set_config(%s, %s, true)", _setting(scope))


def open_each_to(connection: Connection, scope: Scope | None) -> None:
    """The same for a connection without transactions: it holds for each statement by itself."""
    if scope is None:
        _refuse_tenant_data(connection)
    if connection.info.get(_ROLE_OF) == Role.APP:
        connection.execution_options(**{_SCOPE: _setting(scope)})


def named(scope: Collection[str]) -> str:
    """The value of the setting that names these organizations."""
    # What can be no id is nobody's; with a comma in it, it would name others.
    return ",".join(sorted(filter(is_organization_id, scope)))


def _refuse_tenant_data(connection: Connection) -> None:
    # Of this connection only, and for this once: who says whose rows they want, and each worker, pays nothing for it.
    if connection.get_execution_options().get(EYES) == Role.APP:
        event.listen(connection, "before_cursor_execute", _refuse)


def _refuse(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
    found = _OF_TENANTS.search(statement)
    if found is not None:
        raise ScopeForgotten(
            f"A statement on {found.group()} in a transaction that does not say whose rows it is open to; "
            f"pass of=organization to the transaction, or of=EVERYONE to look across them.\n{statement}"
        )


def _setting(scope: Scope | None) -> tuple[str, str]:
    match scope:
        case None:
            return SETTING, ""
        case Everyone():
            return "role", Role.OPERATOR
        case str():
            return SETTING, named([scope])
        case _:
            return SETTING, named(scope)


def _scope_of_one(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    """Run a statement that stands alone with its scope, in one round trip.

    In a pipeline they are one transaction, which ends with it: so does the setting.
    """
    setting = context.execution_options.get(_SCOPE) if context is not None else None
    if setting is None:
        return None
    driver = cursor.connection
    with driver.pipeline():
        driver.execute("SELECT set_config(%s, %s, true)", setting)
        context.dialect.do_execute(cursor, statement, parameters, context)
    return True


def establish(connection: Connection) -> bool:
    """Make the roles, grant them what they need, and switch row security on, as far as it is not so.

    For PostgreSQL, as the tables' owner, in a transaction.

    Returns:
        Whether it is on: False where the roles are not there and this login may not create them. An administrator
        creates them (`roles_sql`), then `fairlane migrate` does the rest.
    """
    if not _have_roles(connection):
        return False
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    everybody = ", ".join(Role)
    # Asked before: a GRANT takes a lock, and one that changes nothing is not needed at each start.
    if not connection.scalar(
        text(
            "SELECT bool_and(has_schema_privilege(role, current_schema(), 'USAGE')) "
            "FROM unnest(CAST(:roles AS text[])) AS role"
        ),
        {"roles": list(Role)},
    ):
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {everybody}")
    if not connection.scalar(
        text("SELECT has_table_privilege(:role, :name, 'SELECT')"), {"role": Role.APP, "name": _VERSION_TABLE}
    ):
        connection.exec_driver_sql(f"GRANT SELECT ON {_VERSION_TABLE} TO {everybody}")
    secured = _secured(connection)
    for table in metadata.sorted_tables:
        if table.name not in secured:
            _secure(connection, table)
    return True


def is_on(connection: Connection) -> bool:
    """Whether each table with an organization's rows is under row security, forced and with our policies."""
    wanted = {table.name for table in metadata.tables.values() if policy_of(table) is not None}
    return wanted <= _secured(connection)


def roles_sql(login: str) -> str:
    """What an administrator has to say where the owner's login may not create roles.

    Args:
        login: the one that `fairlane migrate` uses, and each that applications and workers use.
    """
    made = "\n".join(f"CREATE ROLE {role} NOLOGIN;" for role in Role)
    return f"{made}\nGRANT {', '.join(Role)} TO {login};"


def _have_roles(connection: Connection) -> bool:
    count = text("SELECT count(*) FROM pg_roles WHERE rolname = ANY(CAST(:roles AS text[]))")
    if connection.scalar(count, {"roles": list(Role)}) < len(Role):
        may = connection.scalar(text("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"))
        if not may:
            return False
        for role in Role:
            _create_role(connection, role)
    mine = text("SELECT bool_and(pg_has_role(role, 'MEMBER')) FROM unnest(CAST(:roles AS text[])) AS role")
    return bool(connection.scalar(mine, {"roles": list(Role)}))


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


def _secure(connection: Connection, table: Table) -> None:
    rights = "SELECT, INSERT" if table in _APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
    granted = [role for role in Role if role is not Role.WORKER or table not in _NOT_FOR_WORKERS]
    connection.exec_driver_sql(f"GRANT {rights} ON {table.name} TO {', '.join(granted)}")
    policy = policy_of(table)
    if policy is None:
        return
    connection.exec_driver_sql(f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    connection.exec_driver_sql(f"CREATE POLICY fairlane_tenant ON {table.name} USING ({policy}) WITH CHECK ({policy})")
    connection.exec_driver_sql(
        f"CREATE POLICY fairlane_all ON {table.name} TO {Role.OPERATOR}, {Role.WORKER} USING (true) WITH CHECK (true)"
    )


def _secured(connection: Connection) -> set[str]:
    """The tables that are as `_secure` leaves them."""
    rows = connection.execute(
        text("""
SELECT name FROM unnest(CAST(:names AS text[])) AS name
WHERE has_table_privilege(:app, name, 'INSERT') AND (NOT name = ANY(CAST(:secret AS text[])) OR EXISTS (
  SELECT FROM pg_class WHERE oid = to_regclass(name) AND relrowsecurity AND relforcerowsecurity
    AND (SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid
         AND polname IN ('fairlane_tenant', 'fairlane_all')) = 2))
"""),
        {
            "names": list(metadata.tables),
            "app": Role.APP,
            "secret": [table.name for table in metadata.tables.values() if policy_of(table) is not None],
        },
    )
    return set(rows.scalars())


def _unfit(*, is_above: bool, is_owner: bool) -> str:
    if is_above:
        who = "is a superuser's (or one that row security does not bind)"
    elif is_owner:
        who = "owns Fairlane's tables"
    else:
        who = "may not take on Fairlane's roles"
    return (
        f"In production the login of the database URL must not be one that {who}, as nothing below the code would keep "
        "tenants apart. Migrate as the owner (FAIRLANE_OWNER_URL), and let applications and workers log in as a role "
        f"of their own: CREATE ROLE jobs LOGIN; GRANT {', '.join(Role)} TO jobs."
    )
