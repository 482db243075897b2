"""Row-level security: PostgreSQL enforces the tenant boundary below Fairlane's code.

There are five roles. Nobody logs in as a role; sessions take it on. `fairlane_app` sees the rows of the organizations
that its transaction names, and no rows if it names none. `fairlane_tenant` does the same for one organization at most.
These two submit and read. `fairlane_admin` also sees one organization, and may change it and its rows.
`fairlane_operator` and `fairlane_worker` see all organizations. The app's transactions become the tenant's, the admin's
or the operator's, one at a time. Workers' sessions take on the worker's role at their start. Row security is forced: it
binds the tables' owner, too. The rights of each role are in `row_rights`, the database's part in `row_policies`, and
the checks of logins in `row_logins`.

SQLite has no roles: there only the query layer enforces the boundary.

A transaction of the app that names no organization would silently see no tenant's rows on PostgreSQL, and all rows on
SQLite. So its statements on tenants' tables are refused on both databases: the code forgot to name the organization.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, event

from fairlane.domain.texts import ORGANIZATION_IDS, PLATFORM, Platform
from fairlane.store.engine import NoConnection, engine_of
from fairlane.store.tables import metadata, organizations, pauses

# A function that asks the database in plain SQL, on a connection of SQLAlchemy or of the driver.
Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]


class DatabaseRole(StrEnum):
    """The database role of a session, which decides whose rows it sees."""

    APP = "fairlane_app"
    TENANT = "fairlane_tenant"
    ADMIN = "fairlane_admin"
    OPERATOR = "fairlane_operator"
    WORKER = "fairlane_worker"


def grant(roles: str, login: str) -> str:
    """Return the sentence that tells an administrator how to grant a login these roles."""
    return (
        f"Say as an administrator: GRANT {roles} TO {login}; from PostgreSQL 16 on, for a login that inherits other "
        f"roles: GRANT {roles} TO {login} WITH INHERIT FALSE."
    )


class ScopeForgotten(RuntimeError):
    """A bug in Fairlane: a statement on tenants' rows, in a transaction that names no organization."""


class Everyone:
    """The scope of a transaction that looks across organizations."""


EVERYONE: Final = Everyone()


@dataclass(frozen=True, slots=True)
class Administered:
    """The scope of a transaction that changes an organization or its rows, beyond a submission."""

    organization: str


# The organizations whose rows a transaction sees: one, several, or all; () = none. Without a scope, a transaction may
# not even ask for such rows.
Scope = str | Collection[str] | Everyone | Administered

_ROLE_OF: Final = "fairlane_role"  # in a connection's info: the role that its session has taken on
_MAY_BE: Final = "fairlane_roles"  # in a connection's info: the roles that its session may take on
_SCOPE: Final = "fairlane_scope"  # execution option: what to set for a statement outside of transactions
SESSION_ROLE: Final = "fairlane_session_role"  # execution option of an engine: the role of its sessions
SETTING: Final = "fairlane.organizations"
_NAMES: Final = f"current_setting('{SETTING}', true)"
# Subqueries are evaluated once a statement, not once a row. Ids hold no comma (R1).
#
# The tenant's condition is an equality, because statements say `organization_id = …` themselves. The planner merges the
# two conditions (an equivalence class), compares the two names once a statement, and estimates as if there were no
# policy. With `= ANY` it expects the share of ten average organizations: a hundredth of the rows if there are a
# thousand. Then a page of 50 by a common label of 700,000 jobs took two seconds, for a sort of 420,000 (`make
# bench-lists`).
_WHOSE: Final = {
    # Only the operator sees rows of the empty name, which concern all organizations, and rows of the platform. A lone
    # comma gives two empty names. The platform's name has a comma in it, so it is never one of several names.
    DatabaseRole.APP: f"= ANY ((SELECT array_remove(string_to_array({_NAMES}, ','), '') AS names)::text[])",
    DatabaseRole.TENANT: f"= (SELECT NULLIF(NULLIF({_NAMES}, ''), '{PLATFORM}') AS name)",
}
_WHOSE[DatabaseRole.ADMIN] = _WHOSE[DatabaseRole.TENANT]
_OWN: Final = {organizations: "id {whose}", pauses: "subject <> 'organization' OR name {whose}"}
# The privilege for `pg_has_role`: from PostgreSQL 16 on, a member may lack the right to take a role on.
TAKING_ON: Final = "CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END"
# A session takes on a role only if the role has rights on the tables.
_MAY: Final = f"""
SELECT rolname FROM pg_roles WHERE rolname = ANY(%(roles)s) AND pg_has_role(oid, {TAKING_ON})
  AND has_table_privilege(oid, to_regclass('fairlane_jobs'), 'SELECT')
"""  # noqa: S608 - a constant
_BECOME: Final = "SELECT set_config('role', %(role)s, false)"
_BECOME_FOR_NOW: Final = "SELECT set_config('role', %(role)s, true)"
_POOLED: Final = "fairlane_pooled"  # in a connection's info, behind a pooler: the settings of each transaction
_NO_POOLER: Final = (
    "A worker keeps its sessions, so it can't work behind a pooler like PgBouncer; "
    "let FAIRLANE_WORKER_URL lead to PostgreSQL itself."
)


def is_of_tenants(table: Table) -> bool:
    """Return True if the table holds rows of organizations."""
    return "organization_id" in table.c or table in _OWN


def policy_of(table: Table, role: DatabaseRole) -> str:
    """Return the condition for the rows of a tenants' table that a transaction with the role may see and write."""
    whose = _WHOSE.get(role) if is_of_tenants(table) else None
    return "true" if whose is None else _OWN.get(table, "organization_id {whose}").format(whose=whose)


_OF_TENANTS: Final = re.compile(
    rf"\b(?:{'|'.join(table.name for table in metadata.sorted_tables if is_of_tenants(table))})\b"
)


def take_on(
    engine: Engine, role: DatabaseRole, lock_seconds: float, refuse: Callable[[Any, str | None], None] | None = None
) -> None:
    """Make each session of the engine take on the role, if the database has it.

    Behind a pooler each transaction may run in another session. There each transaction takes on the role, and sets its
    lock timeout.

    Args:
        refuse: raises for a driver's connection, and the role that it has taken on, if row security does not bind it.
    """

    def on_connect(driver: Any, record: Any) -> None:
        may = {row[0] for row in driver.execute(_MAY, {"roles": list(DatabaseRole)}).fetchall()}
        taken = role if role in may else None
        is_pooled = is_behind_a_pooler(driver)
        if taken is not None:
            driver.execute(_BECOME_FOR_NOW if is_pooled else _BECOME, {"role": taken})
        try:
            if is_pooled and role is DatabaseRole.WORKER:
                raise NoConnection(_NO_POOLER)
            if refuse is not None:
                refuse(driver, taken)
            driver.commit()
        except BaseException:
            driver.close()
            raise
        record.info.update({_ROLE_OF: taken, _MAY_BE: may})
        if is_pooled:
            driver.prepare_threshold = None  # the next session does not know statements that another one prepared
            record.info[_POOLED] = ("lock_timeout", milliseconds(lock_seconds))

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "do_execute", _scope_of_one)


def is_behind_a_pooler(driver: Any) -> bool:
    """Return True if a pooler answers for PostgreSQL: it invents the number of the server process."""
    (pid,) = driver.execute("SELECT pg_backend_pid()").fetchone()
    return bool(pid != driver.info.backend_pid)


def is_pooled(info: Mapping[Any, Any]) -> bool:
    """Return True if a connection with this info goes through a pooler."""
    return _POOLED in info


def for_alone(info: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the settings that a driver's statement needs behind a pooler: each name, followed by its value."""
    if not is_pooled(info):
        return ()
    return (*(("role", info[_ROLE_OF]) if info[_ROLE_OF] is not None else ()), *info[_POOLED])


def milliseconds(seconds: float) -> str:
    """Return the seconds as a value for PostgreSQL's settings, at least 1 ms: 0 would mean no limit."""
    return str(max(1, round(seconds * 1000)))


def set_locally(settings: Sequence[str]) -> str:
    """Return the statement that makes these settings until the transaction or the pipeline ends."""
    return f"SELECT {', '.join(['set_config(%s, %s, true)'] * (len(settings) // 2))}"


def open_to(
    connection: Connection, scope: Scope | None, *, seconds: float | None = None, lock_seconds: float | None = None
) -> None:
    """Open the connection's transaction to the rows of these organizations, and to no others, until it ends.

    Args:
        seconds: the timeout of each statement on PostgreSQL; None = no timeout.
        lock_seconds: the lock timeout of each statement on PostgreSQL; None = the usual one.
    """
    settings = _settings(connection, scope, seconds)
    if lock_seconds is not None and engine_of(connection).is_server:
        settings = (*settings, "lock_timeout", milliseconds(lock_seconds))
    if settings:
        connection.exec_driver_sql(set_locally(settings), settings)


def open_each_to(connection: Connection, scope: Scope | None, *, seconds: float | None = None) -> None:
    """Open a connection without transactions in the same way, separately for each statement."""
    settings = _settings(connection, scope, seconds)
    if settings:
        connection.execution_options(**{_SCOPE: settings})


def is_of_platform(scope: Collection[str]) -> bool:
    """Return True if `PLATFORM` is among these organizations. Text that is equal to it does not count."""
    return any(isinstance(one, Platform) for one in scope)


def named(scope: Collection[str]) -> str:
    """Return the value of the setting that names these organizations."""
    # An invalid id names nobody. With a comma in it, it would name other organizations.
    return ",".join(sorted(filter(ORGANIZATION_IDS.fits, scope)))


def _refuse_tenant_data(connection: Connection) -> None:
    # Only for this connection and this transaction: transactions with a scope, and workers, pay nothing.
    if connection.get_execution_options().get(SESSION_ROLE) == DatabaseRole.APP:
        event.listen(connection, "before_cursor_execute", _refuse)


def _refuse(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
    found = _OF_TENANTS.search(statement)
    if found is not None:
        raise ScopeForgotten(
            f"A statement on {found.group()} in a transaction that does not say whose rows it is open to; "
            f"pass of=organization to the transaction, or of=EVERYONE to look across them.\n{statement}"
        )


def _settings(connection: Connection, scope: Scope | None, seconds: float | None) -> tuple[str, ...]:
    """Return the settings for a transaction: each name, followed by its value."""
    if scope is None:
        _refuse_tenant_data(connection)
    settings = _setting(scope, connection.info[_MAY_BE]) if connection.info.get(_ROLE_OF) == DatabaseRole.APP else ()
    if is_pooled(connection.info):
        own = ("role", DatabaseRole.APP) if settings and "role" not in settings[::2] else ()
        settings = (*own, *settings, *connection.info[_POOLED])
    if seconds is not None and engine_of(connection).is_server:
        settings = (*settings, "statement_timeout", milliseconds(seconds))
    return settings


def _setting(scope: Scope | None, may_be: Collection[str]) -> tuple[str, ...]:
    match scope:
        case None:
            return SETTING, ""
        case Everyone() | Platform() | Administered(Platform()):
            return "role", DatabaseRole.OPERATOR
        case Administered():
            return "role", DatabaseRole.ADMIN, SETTING, named([scope.organization])
        case str():
            names = named([scope])
        case _ if is_of_platform(scope):
            return "role", DatabaseRole.OPERATOR
        case _:
            names = named(scope)
    # A login that may not take on the tenant's role goes on as the app: `fairlane check` says so.
    is_of_one = names and "," not in names and DatabaseRole.TENANT in may_be
    return ("role", DatabaseRole.TENANT, SETTING, names) if is_of_one else (SETTING, names)


def _scope_of_one(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    """Run a statement without a transaction, with its scope, in one round trip.

    The two are one transaction in a pipeline, and the setting ends with it. Behind a pooler this uses a usual
    transaction: psycopg sends a Flush after the end of a pipeline. If the Flush comes after the answer, the pooler
    takes it for the next transaction, and keeps a session for it until this client sends more.
    """
    settings = context.execution_options.get(_SCOPE) if context is not None else None
    if settings is None:
        return None
    driver = cursor.connection
    with driver.transaction() if is_pooled(context.root_connection.info) else nullcontext(), driver.pipeline():
        driver.execute(set_locally(settings), settings)
        context.dialect.do_execute(cursor, statement, parameters, context)
    return True
