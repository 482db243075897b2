"""Which logins row security binds. In production others are refused."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fairlane.domain.errors import ConfigurationError
from fairlane.store.row_policies import is_sound
from fairlane.store.row_security import Role

# USAGE of a role: its rights without taking it on. The application's sessions have no role that sees all, the worker's
# may have the worker's.
_LOGIN: Final = """
SELECT rolsuper OR rolbypassrls,
  EXISTS (SELECT FROM pg_class WHERE pg_class.oid = to_regclass('fairlane_jobs')
          AND pg_has_role(mine.oid, relowner, 'MEMBER')),
  EXISTS (SELECT FROM pg_roles AS seeing WHERE seeing.rolname = ANY(%(seeing)s)
          AND pg_has_role(mine.oid, seeing.oid, 'USAGE'))
FROM pg_roles AS mine WHERE rolname = session_user
"""


def guard(role: Role) -> Callable[[Any, str | None], None]:
    """A check for the connections of one engine: raises `ConfigurationError` where row security would not bind them.

    That is for a superuser, for the tables' owner, for who has a role's eyes without taking it on, where the role is
    not there, and, asked at the first connection, where the policies or the roles are not as we made them.
    """
    seeing = [Role.OPERATOR] if role is Role.WORKER else [Role.OPERATOR, Role.WORKER]
    seen_sound = False

    def refuse(driver: Any, taken: str | None) -> None:
        nonlocal seen_sound
        is_above, is_owner, inherits = driver.execute(_LOGIN, {"seeing": seeing}).fetchone()
        if is_above or is_owner or inherits or taken is None:
            raise ConfigurationError(_unfit(is_above=is_above, is_owner=is_owner, inherits=inherits))

        def ask(statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
            return list(driver.execute(statement, values).fetchall())

        if not seen_sound and not is_sound(ask):
            raise ConfigurationError(
                "Row security in this database is not as Fairlane makes it: a policy or a role was changed, so nothing "
                "below the code would keep tenants apart. Run `fairlane migrate` as the tables' owner; what "
                "only an administrator may mend, `fairlane check` still tells then."
            )
        seen_sound = True

    return refuse


def _unfit(*, is_above: bool, is_owner: bool, inherits: bool) -> str:
    if is_above:
        who = "is a superuser's (or one that row security does not bind)"
    elif is_owner:
        who = "owns Fairlane's tables"
    elif inherits:
        who = "inherits the rights of a role that sees all organizations"
    else:
        who = "may not take on Fairlane's roles"
    return (
        f"In production the login of the database URL must not be one that {who}, as nothing below the code would keep "
        "tenants apart. Migrate as the owner (FAIRLANE_OWNER_URL), and let applications and workers log in as a role "
        f"of their own: CREATE ROLE jobs LOGIN NOINHERIT; GRANT {', '.join(Role)} TO jobs. From PostgreSQL 16 on, a "
        f"login that inherits other roles is granted them so: GRANT {', '.join(Role)} TO jobs WITH INHERIT FALSE."
    )
