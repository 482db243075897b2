"""Checks of logins for row security: whether it binds them, why it is off, and the SQL that switches it on.

In production a login that row security does not bind is refused.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError
from fairlane.store.engine import NoConnection
from fairlane.store.row_policies import asking, is_complete, is_sound, rights_of_others, roles_amiss, tables_amiss
from fairlane.store.row_security import TAKING_ON, Ask, DatabaseRole, grant, is_of_platform
from fairlane.store.tables import jobs

ROLES: Final = ", ".join(DatabaseRole)
_MIGRATE: Final = "then run `fairlane migrate` again (FAIRLANE_OWNER_URL names its login)."
_TOLD: Final = 5  # faults in a message; the same command mends all

# About the tables' owner, as whom `fairlane migrate` works. A superuser may take on every role.
_STATE: Final = f"""
SELECT quote_ident(owner.rolname), owner.rolsuper OR owner.rolcreaterole,
  ARRAY(SELECT name FROM unnest(%(roles)s::text[]) AS name
        WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)),
  EXISTS (SELECT FROM pg_roles AS ours
          WHERE ours.rolname = ANY(%(roles)s) AND NOT pg_has_role(owner.oid, ours.oid, {TAKING_ON}))
FROM pg_class JOIN pg_roles AS owner ON owner.oid = relowner WHERE pg_class.oid = to_regclass(%(jobs)s)
"""  # noqa: S608 - a constant
# USAGE of a role gives its rights without taking it on. The application's sessions have no role that sees all
# organizations; a worker's sessions may have the worker's role.
_LOGIN: Final = f"""
SELECT quote_ident(rolname), rolsuper OR rolbypassrls,
  EXISTS (SELECT FROM pg_class WHERE pg_class.oid = to_regclass(%(jobs)s)
          AND pg_has_role(mine.oid, relowner, 'MEMBER')),
  EXISTS (SELECT FROM pg_roles AS seeing WHERE seeing.rolname = ANY(%(seeing)s)
          AND pg_has_role(mine.oid, seeing.oid, 'USAGE')),
  ARRAY(SELECT rolname::text FROM pg_roles AS ours
        WHERE ours.rolname = ANY(%(roles)s) AND pg_has_role(mine.oid, ours.oid, {TAKING_ON})),
  to_regclass(%(jobs)s) IS NOT NULL,
  coalesce(has_table_privilege(current_user, to_regclass(%(jobs)s), 'SELECT'), false)
FROM pg_roles AS mine WHERE rolname = session_user
"""  # noqa: S608 - a constant
_MAY: Final = "EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{}' AND pg_has_role({}, oid, {}))"
# The query for what `role_for` needs to know of a session.
LENT: Final = ", ".join(
    (
        "quote_ident(session_user)",
        f"row_security_active(to_regclass('{jobs.name}'))",
        _MAY.format(DatabaseRole.TENANT, "session_user", TAKING_ON),
        _MAY.format(DatabaseRole.APP, "session_user", TAKING_ON),
        _MAY.format(DatabaseRole.APP, "current_user", "'USAGE'"),
    )
)
_CAN: Final = {
    DatabaseRole.ADMIN: "change an organization or what is in it (cancel, retry, schedules, members)",
    DatabaseRole.OPERATOR: "look across organizations, or submit the platform's jobs",
    DatabaseRole.WORKER: "run a worker",
}
# Advice for a login that row security does not bind.
ADVICE: Final = (
    "Migrate as the owner (FAIRLANE_OWNER_URL), and let applications and workers log in as a role "
    f"of their own: CREATE ROLE jobs LOGIN NOINHERIT; GRANT {ROLES} TO jobs. From PostgreSQL 16 on, a "
    f"login that inherits other roles is granted them so: GRANT {ROLES} TO jobs WITH INHERIT FALSE."
)


@dataclass(frozen=True, slots=True)
class Login:
    """A session's login, as the database knows it.

    `above`: why row security does not bind it, as half a sentence; None = it is bound. `may_be`: Fairlane's roles that
    it may take on. `reads`: whether its session, with its present role, may read the tables, if there are any.
    """

    name: str
    above: str | None
    may_be: Collection[str]
    has_tables: bool
    reads: bool

    @property
    def needs(self) -> str:
        """Say how to grant it Fairlane's roles."""
        return f"The login {self.name} may not take on Fairlane's roles. {grant(ROLES, self.name)}"

    @property
    def needs_tenant(self) -> str:
        """Say how to grant it only the tenant's role."""
        return (
            f"The login {self.name} may not take on {DatabaseRole.TENANT}, so lists of large organizations take long. "
            f"{grant(DatabaseRole.TENANT, self.name)} Then restart applications and workers."
        )

    @property
    def lack(self) -> str | None:
        """Say what it can't do if it may only submit and read, and how to change that; None: it may do more."""
        if DatabaseRole.APP not in self.may_be or DatabaseRole.OPERATOR in self.may_be:
            return None
        lacking = [role for role in _CAN if role not in self.may_be]
        return (
            f"Login {self.name} submits and reads; it can't {', or '.join(_CAN[role] for role in lacking)}. If it "
            f"should: {grant(', '.join(lacking), self.name)}"
        )


def login_of(ask: Ask, role: DatabaseRole) -> Login:
    """Return the login of a session that should have this role."""
    seeing = [DatabaseRole.OPERATOR] if role is DatabaseRole.WORKER else [DatabaseRole.OPERATOR, DatabaseRole.WORKER]
    values = {"seeing": seeing, "roles": list(DatabaseRole), "jobs": jobs.name}
    ((name, is_above, is_owner, inherits, may_be, has_tables, reads),) = ask(_LOGIN, values)
    above = None
    if is_above:
        above = "is a superuser's (or one that row security does not bind)"
    elif is_owner:
        above = "owns Fairlane's tables"
    elif inherits:
        above = "inherits the rights of a role that sees all organizations"
    return Login(name, above, may_be, has_tables, reads)


def of_application(connection: Connection) -> Login:
    """Return the login of the application's session, on PostgreSQL."""
    return login_of(asking(connection), DatabaseRole.APP)


def role_for(
    organizations: Collection[str],
    login: str,
    is_bound: bool | None,
    may_be_tenant: bool,
    may_be_app: bool,
    is_app: bool,
) -> DatabaseRole | None:
    """Return the role that a caller's session takes on for Fairlane's statements on PostgreSQL; None: it needs none.

    So a login that may take on the roles needs no rights of its own on Fairlane's tables.

    Args:
        organizations: the organizations whose rows the statements need.
        login, is_bound, may_be_tenant, may_be_app, is_app: the session's answer to `LENT`.

    Raises:
        ConfigurationError: its login has no right to a role that it needs.
    """
    if not is_bound:
        return None
    if is_of_platform(organizations):
        return DatabaseRole.OPERATOR
    if may_be_tenant and len(organizations) == 1:
        return DatabaseRole.TENANT
    if may_be_app:
        return DatabaseRole.APP
    if is_app:
        return None
    roles = f"{DatabaseRole.APP}, {DatabaseRole.TENANT}"
    raise ConfigurationError(
        f"The login {login} of your connection may not submit jobs. Pass a connection of the login that FAIRLANE_URL "
        f"names, or let this one submit. {grant(roles, login)}"
    )


def guard(role: DatabaseRole) -> Callable[[Any, str | None], None]:
    """Return a check for the connections of an engine, which raises `NoConnection` if row security does not bind them.

    It refuses a superuser, the tables' owner, and a login that has a role's rights without taking it on. It refuses a
    missing role. At the first connection it also refuses policies or roles that were changed.
    """
    seen_sound = False

    def refuse(driver: Any, taken: str | None) -> None:
        nonlocal seen_sound

        def ask(statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
            return list(driver.execute(statement, values).fetchall())

        login = login_of(ask, role)
        if login.above is not None:
            raise NoConnection(_unfit(login.above))
        if taken is None:
            raise NoConnection(_without_role(ask, login))
        if not seen_sound and not is_sound(ask):
            raise NoConnection(
                "Row security in this database is not as Fairlane makes it: a policy, a role or a function was "
                "changed, so nothing below the code would keep tenants apart. Run `fairlane migrate` as the tables' "
                "owner; what only an administrator may mend, `fairlane check` still tells then."
            )
        seen_sound = True

    return refuse


def _unfit(above: str) -> str:
    return (
        f"In production the login of the database URL must not be one that {above}, as nothing below the code would "
        f"keep tenants apart. {ADVICE}"
    )


def _without_role(ask: Ask, login: Login) -> str:
    """Say why the session does not have the role.

    It can't be taken on if it is not granted to the login, or if the tables are not granted to it.
    """
    if not login.has_tables:
        return (
            "The database has no Fairlane schema yet, or one that this login can't see; run `fairlane migrate` as the "
            "login that is to own the tables (FAIRLANE_OWNER_URL)."
        )
    missing = what_is_missing(ask)
    return login.needs if missing is None else f"In production row security has to be on. {missing}"


def what_is_missing(ask: Ask) -> str | None:
    """Say why row security is off, and what to do; None if it is on, or there are no tables of Fairlane.

    Every login may ask this: it reads catalogs that are open to all.
    """
    found = ask(_STATE, {"roles": list(DatabaseRole), "jobs": jobs.name})
    if not found or is_complete(ask):
        return None
    owner, makes_roles, absent, is_not_granted = found[0]
    grant = f"GRANT {ROLES} TO {owner};"
    if absent and not makes_roles:
        created = " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in absent)
        return (
            f"Row security is off: this server has no {', '.join(absent)}, and {owner}, who owns the tables, may not "
            f"create roles. Say as an administrator: {created} {grant} {_MIGRATE}"
        )
    if is_not_granted:
        return (
            f"Row security is off: {owner}, who owns the tables, may not take on Fairlane's roles. "
            f"Say as an administrator: {grant} {_MIGRATE}"
        )
    if roles := roles_amiss(ask):
        mends = "; ".join(one.mend for one in roles)
        return f"{_told([one.what for one in roles])} Say as an administrator: {mends}; {_MIGRATE}"
    return (
        f"{_told(tables_amiss(ask))} Run `fairlane migrate` as {owner}, who owns the tables "
        "(FAIRLANE_OWNER_URL names its login)."
    )


def rights_not_ours(ask: Ask) -> str | None:
    """Say who has rights on Fairlane's tables that Fairlane did not grant, and how to revoke them; None = nobody."""
    found = rights_of_others(ask)
    if not found:
        return None
    holders = ", ".join(dict.fromkeys(holder for holder, _ in found))
    return (
        f"These have rights on Fairlane's tables that Fairlane did not grant and leaves as they are: {holders}. "
        f"To revoke them, say as an administrator: {'; '.join(mend for _, mend in found)}; RESET ROLE."
    )


def _told(amiss: Sequence[str]) -> str:
    more = f", and {len(amiss) - _TOLD:,} more" if len(amiss) > _TOLD else ""
    return f"Row security is not as Fairlane makes it: {', '.join(amiss[:_TOLD])}{more}."
