"""Row-level security: PostgreSQL holds the tenant boundary below our code.

Five roles, which nobody logs in as; sessions take them on. `fairlane_app` sees the rows of the organizations that its
transaction has named, and none where it has named none; so does `fairlane_tenant`, of one organization at most. These
two submit and read. `fairlane_admin` sees one organization, too, and may change it and what is in it.
`fairlane_operator` and `fairlane_worker` see all. The app's transactions become the tenant's, the admin's or the
operator's, one at a time; workers' sessions are the worker's from their beginning. Row security is forced: the tables'
owner is bound by it, too. What each role may do is in `row_rights`, what of it is in the database in `row_policies`;
which logins are fit for it, in `row_logins`.

SQLite has no roles: there the query layer alone holds the boundary.

A transaction of the app that names nobody would see nothing of tenants' there, in silence, and all of it on SQLite. So
whatever it asks of their tables is refused, on both: somebody forgot to say whose rows they want.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, event

from fairlane.domain.texts import ORGANIZATION_IDS
from fairlane.store.engine import NoConnection, engine_of
from fairlane.store.tables import metadata, organizations, pauses

# Asks the database in plain SQL, on a connection of SQLAlchemy's or of the driver's.
Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]


class DatabaseRole(StrEnum):
    """Whose eyes a session has."""

    APP = "fairlane_app"
    TENANT = "fairlane_tenant"
    ADMIN = "fairlane_admin"
    OPERATOR = "fairlane_operator"
    WORKER = "fairlane_worker"


def grant(roles: str, login: str) -> str:
    """Return the sentence by which an administrator lets a login take on these of Fairlane's roles."""
    return (
        f"Say as an administrator: GRANT {roles} TO {login}; from PostgreSQL 16 on, for a login that inherits other "
        f"roles: GRANT {roles} TO {login} WITH INHERIT FALSE."
    )


class ScopeForgotten(RuntimeError):
    """A mistake in our code: a statement on tenants' rows in a transaction that does not say whose."""


class Everyone:
    """The scope of who looks across organizations."""


EVERYONE: Final = Everyone()


@dataclass(frozen=True, slots=True)
class Administered:
    """The scope of who changes an organization, or what is in it, by more than a submission."""

    organization: str


# Whose rows a transaction is open to: an organization, several, or all; () = nobody's. Where nothing is given, it may
# not even ask for such rows.
Scope = str | Collection[str] | Everyone | Administered

_ROLE_OF: Final = "fairlane_role"  # in a connection's info: the role that its session has taken on
_MAY_BE: Final = "fairlane_roles"  # in a connection's info: the roles that its session may take on
_SCOPE: Final = "fairlane_scope"  # execution option: what to set for a statement outside of transactions
EYES: Final = "fairlane_eyes"  # execution option of an engine: the role that its sessions are meant to have
SETTING: Final = "fairlane.organizations"
_NAMES: Final = f"current_setting('{SETTING}', true)"
# Subqueries are evaluated once a statement, not once a row. Ids hold no comma (R1).
#
# A tenant's is an equality, since statements say `organization_id = …` themselves: the planner makes one condition of
# the two (an equivalence class), compares the two names once a statement, and guesses as if there were no policy.
# Beside `= ANY` it expects of those rows what ten average organizations have of all, with a thousand a hundredth: a
# page of 50 by a common label of 700,000 jobs took two seconds, for a sort of 420,000 (`make bench-lists`).
_WHOSE: Final = {
    # The empty name is the platform's, whose rows are the operator's alone; a comma has one on either side.
    DatabaseRole.APP: f"= ANY ((SELECT array_remove(string_to_array({_NAMES}, ','), '') AS names)::text[])",
    DatabaseRole.TENANT: f"= (SELECT NULLIF({_NAMES}, '') AS name)",
}
_WHOSE[DatabaseRole.ADMIN] = _WHOSE[DatabaseRole.TENANT]
_OWN: Final = {organizations: "id {whose}", pauses: "subject <> 'organization' OR name {whose}"}
# What `pg_has_role` is asked: from PostgreSQL 16 on a member may be one without the right to take a role on.
TAKING_ON: Final = "CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END"
# A role is taken on only in a database whose tables are granted to it.
_MAY: Final = f"""
SELECT rolname FROM pg_roles WHERE rolname = ANY(%(roles)s) AND pg_has_role(oid, {TAKING_ON})
  AND has_table_privilege(oid, to_regclass('fairlane_jobs'), 'SELECT')
"""  # noqa: S608 - a constant of ours
_BECOME: Final = "SELECT set_config('role', %(role)s, false)"
_BECOME_FOR_NOW: Final = "SELECT set_config('role', %(role)s, true)"
_POOLED: Final = "fairlane_pooled"  # in a connection's info, behind a pooler: what each transaction has to set
_NO_POOLER: Final = (
    "A worker keeps its sessions, so it can't work behind a pooler such as PgBouncer; "
    "let FAIRLANE_WORKER_URL lead to PostgreSQL itself."
)


def is_of_tenants(table: Table) -> bool:
    """Return True if the table holds rows of organizations."""
    return "organization_id" in table.c or table in _OWN


def policy_of(table: Table, role: DatabaseRole) -> str:
    """Return which rows of a table of tenants a transaction may see and write that has taken the role on."""
    whose = _WHOSE.get(role) if is_of_tenants(table) else None
    return "true" if whose is None else _OWN.get(table, "organization_id {whose}").format(whose=whose)


_OF_TENANTS: Final = re.compile(
    rf"\b(?:{'|'.join(table.name for table in metadata.sorted_tables if is_of_tenants(table))})\b"
)


def take_on(
    engine: Engine, role: DatabaseRole, lock_seconds: float, refuse: Callable[[Any, str | None], None] | None = None
) -> None:
    """Have each session of the engine take on the role, where the database has it.

    Where a pooler stands between, each transaction may be another session's. There each takes it on for itself, and
    waits for locks so long.

    Args:
        refuse: raises for a driver's connection, and the role that it has taken on, where row security would not hold.
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
            driver.prepare_threshold = None  # what one session has prepared, the next does not know
            record.info[_POOLED] = ("lock_timeout", milliseconds(lock_seconds))

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "do_execute", _scope_of_one)


def is_behind_a_pooler(driver: Any) -> bool:
    """Return True if a pooler answers for PostgreSQL: it makes up which process of the server is at work."""
    (pid,) = driver.execute("SELECT pg_backend_pid()").fetchone()
    return bool(pid != driver.info.backend_pid)


def is_pooled(info: Mapping[Any, Any]) -> bool:
    """Return True if a pooler stands before a pooled connection with this info."""
    return _POOLED in info


def for_alone(info: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return what a statement for the driver needs behind a pooler: names, each with its value behind it."""
    if not is_pooled(info):
        return ()
    return (*(("role", info[_ROLE_OF]) if info[_ROLE_OF] is not None else ()), *info[_POOLED])


def milliseconds(seconds: float) -> str:
    """Return them as PostgreSQL's settings have them, at least one: 0 would mean for ever."""
    return str(max(1, round(seconds * 1000)))


def set_locally(settings: Sequence[str]) -> str:
    """Return the statement that sets these, until the transaction or the pipeline ends."""
    return f"SELECT {', '.join(['set_config(%s, %s, true)'] * (len(settings) // 2))}"


def open_to(
    connection: Connection, scope: Scope | None, *, seconds: float | None = None, lock_seconds: float | None = None
) -> None:
    """Open the connection's transaction to the rows of these organizations, and to no others, until it ends.

    Args:
        seconds: how long PostgreSQL may take for each of its statements; None = as long as it takes.
        lock_seconds: how long each of them may wait there for locks; None = as long as others.
    """
    settings = _settings(connection, scope, seconds)
    if lock_seconds is not None and engine_of(connection).is_server:
        settings = (*settings, "lock_timeout", milliseconds(lock_seconds))
    if settings:
        connection.exec_driver_sql(set_locally(settings), settings)


def open_each_to(connection: Connection, scope: Scope | None, *, seconds: float | None = None) -> None:
    """Open a connection without transactions in the same way: it holds for each statement by itself."""
    settings = _settings(connection, scope, seconds)
    if settings:
        connection.execution_options(**{_SCOPE: settings})


def named(scope: Collection[str]) -> str:
    """Return the value of the setting that names these organizations."""
    # What can be no id is nobody's; with a comma in it, it would name others.
    return ",".join(sorted(filter(ORGANIZATION_IDS.fits, scope)))


def _refuse_tenant_data(connection: Connection) -> None:
    # Of this connection only, and for this once: who says whose rows they want, and each worker, pays nothing for it.
    if connection.get_execution_options().get(EYES) == DatabaseRole.APP:
        event.listen(connection, "before_cursor_execute", _refuse)


def _refuse(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
    found = _OF_TENANTS.search(statement)
    if found is not None:
        raise ScopeForgotten(
            f"A statement on {found.group()} in a transaction that does not say whose rows it is open to; "
            f"pass of=organization to the transaction, or of=EVERYONE to look across them.\n{statement}"
        )


def _settings(connection: Connection, scope: Scope | None, seconds: float | None) -> tuple[str, ...]:
    """Return what to set for a transaction: names, each with its value behind it."""
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
        case Everyone():
            return "role", DatabaseRole.OPERATOR
        case Administered():
            return "role", DatabaseRole.ADMIN, SETTING, named([scope.organization])
        case str():
            names = named([scope])
        case _:
            names = named(scope)
    # A login that may not be the tenant goes on as the app: `fairlane check` says so.
    is_of_one = names and "," not in names and DatabaseRole.TENANT in may_be
    return ("role", DatabaseRole.TENANT, SETTING, names) if is_of_one else (SETTING, names)


def _scope_of_one(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    """Run a statement that stands alone with its scope, in one round trip.

    In a pipeline they are one transaction, which ends with it: so does the setting. Behind a pooler it is a transaction
    like others. psycopg sends a Flush behind the end of a pipeline: if it comes after the answer, the pooler takes it
    for the next transaction, and keeps a session for it until this client sends more.
    """
    settings = context.execution_options.get(_SCOPE) if context is not None else None
    if settings is None:
        return None
    driver = cursor.connection
    with driver.transaction() if is_pooled(context.root_connection.info) else nullcontext(), driver.pipeline():
        driver.execute(set_locally(settings), settings)
        context.dialect.do_execute(cursor, statement, parameters, context)
    return True
