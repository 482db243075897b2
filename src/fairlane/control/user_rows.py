"""Users as they are shown and told, from their rows, and what may be given to them."""

import json
from collections.abc import Iterable

from sqlalchemy import Connection

from fairlane.domain.accounts import User
from fairlane.domain.errors import ConfigurationError, remedied
from fairlane.domain.permissions import Right, rights_of
from fairlane.store.statements import credentials
from fairlane.store.tables import AnyRow


def needed(rights: Iterable[str], kept: str | None, *, of_members: bool) -> set[Right]:
    """Return what an operator needs to give these.

    Nobody gives rights that they lack, nor comes in as somebody with them.
    """
    return {*rights_of(rights), *({Right.PAYLOAD_READ} if kept and of_members else ())}


def found_user(connection: Connection, user: str) -> User:
    """Return a user. Raises `ConfigurationError`: there is none."""
    return user_of(there(credentials.find_user(connection, user), user))


def there(row: AnyRow | None, user: str) -> AnyRow:
    """Return the row, which has to be there. Raises `ConfigurationError`: it is not."""
    if row is None:
        raise remedied(ConfigurationError(f"There is no user {user}; create them."), f"fl.users.create({user!r})")
    return row


def user_of(row: AnyRow) -> User:
    """Return a user as users are shown."""
    return User(
        id=row.id,
        has_password=row.password_hash is not None,
        is_operator=row.is_operator,
        rights=tuple(sorted(rights_of(json.loads(row.rights)))),
        disabled_at=row.disabled_at,
        created_at=row.created_at,
    )


def with_password(kept: str | None) -> dict[str, bool]:
    """Say that there is a new password, and never which."""
    return {"password": True} if kept is not None else {}


def told(user: User) -> dict[str, object]:
    """Return what the audit is told of a user."""
    return {"operator": user.is_operator, "rights": user.rights, "disabled": user.disabled_at is not None}


def operator_rights_of(names: Iterable[str], *, operator: bool) -> list[str]:
    """Return rights of an operator beyond the usual.

    Raises `ConfigurationError`: one is no right, or they are no operator.
    """
    rights = sorted(rights_of(names))
    if rights and not operator:
        raise ConfigurationError(
            "Rights of their own are for operators; what a member may, their role and permissions say."
        )
    return list(rights)
