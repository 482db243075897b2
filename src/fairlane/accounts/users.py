"""Users who log in to Fairlane, operators among them, and their sessions: `fl.users`."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Final

from sqlalchemy import Connection

from fairlane.accounts.passwords import fits, hashed
from fairlane.domain.accounts import User
from fairlane.domain.errors import ConfigurationError, PermissionDenied, UserExists, remedied
from fairlane.domain.permissions import Credential, CredentialKind, Principal, Right, rights_of
from fairlane.domain.texts import USER_IDS, require_user_id, storable
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import audit, credentials, organizations
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Actor, Told, operator_rights

SESSION: Final = timedelta(hours=12)
LINK: Final = timedelta(minutes=10)
_SECRET_BYTES: Final = 32  # 256 bits
_NOBODY: Final = "an unknown user"


class Users:
    """Create, change and remove users; log them in and out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        user_id: str,
        *,
        password: str | None = None,
        operator: bool = False,
        rights: Iterable[str] = (),
        user: str | None = None,
        of_members: bool = True,
    ) -> User:
        """Create a user. A password is noted in the audit of each organization that the user is a member of.

        Args:
            user_id: the same that members, submissions and an identity provider's tokens name.
            password: 12 to 1024 characters; None = they have another way to log in.
            operator: whether the user operates all organizations.
            rights: an operator's rights beyond the usual, for example "payload:read".
            user: who creates the user; None = the system.
            of_members: whether a member of an organization may get a password: anyone who knows it reads what the
                member may read.

        Raises:
            PermissionDenied: `user` lacks the right, or the user is such a member.
            UserExists: nothing was changed.
            ConfigurationError: a value is wrong.
        """
        require_user_id(user_id)
        kept = hashed(password) if password is not None else None
        more = _operator_rights_of(rights, operator=operator)

        def work(connection: Connection) -> tuple[User, Told]:
            if credentials.find_user(connection, user_id) is not None:
                raise UserExists(f"There is a user {user_id} already; change that user instead.")
            now = self._database.clock.now(connection)
            if kept:
                _tell_organizations(connection, now, user_id, user, of_members=of_members)
            values = {"id": user_id, "password_hash": kept, "is_operator": operator, "rights": json.dumps(more)}
            credentials.create_user(connection, {**values, "created_at": now})
            given = {"operator": operator, "rights": more, **_with_password(kept)}
            return _found_user(connection, user_id), Told(user_id, after=given, at=now)

        also = _needed(more, kept, of_members=of_members)
        return Actor(user, Right.MEMBERS_CHANGE).change(self._database, "users.create", work, also=also)

    def list(self) -> tuple[User, ...]:
        """Return all users, by id."""
        return tuple(map(_user_of, self._database.read(credentials.all_users, of=EVERYONE)))

    def get(self, user_id: str) -> User:
        """Return one user. Raises `ConfigurationError`: no user has this id."""
        storable(user_id=user_id)
        return self._database.read(lambda connection: _found_user(connection, user_id), of=EVERYONE)

    def update(
        self,
        user_id: str,
        *,
        password: str | None = None,
        operator: bool | None = None,
        rights: Iterable[str] | None = None,
        disabled: bool | None = None,
        user: str | None = None,
        of_members: bool = True,
    ) -> User:
        """Change the given values; the others stay. A new password and disabling end the user's sessions.

        Disabling also revokes the user's tokens, and all tokens that were made with these. Enabling restores none of
        them.

        Args:
            of_members: as for `create`.

        Raises:
            ConfigurationError: there is no such user, or a value is wrong.
            PermissionDenied: the user is a member of an organization, and may not get a password.
        """
        storable(user_id=user_id)
        kept = hashed(password) if password is not None else None
        actor = Actor(user, Right.MEMBERS_CHANGE)

        def work(connection: Connection) -> User:
            # Locked before rights are checked: a concurrent change of this user may take away the rights of `user`.
            before = _user_of(_there(credentials.lock_user_to_change(connection, user_id), user_id))
            is_operator = before.is_operator if operator is None else operator
            more = _operator_rights_of(before.rights if rights is None else rights, operator=is_operator)
            also = _needed([*before.rights, *more], kept, of_members=of_members)
            actor.refuse_unless_may(connection, also=also)
            now = self._database.clock.now(connection)
            if kept:
                _tell_organizations(connection, now, user_id, user, of_members=of_members)
            disabled_at = before.disabled_at if disabled is None else (before.disabled_at or now if disabled else None)
            values = {"is_operator": is_operator, "rights": json.dumps(more), "disabled_at": disabled_at}
            credentials.change_user(connection, user_id, {**values, **({"password_hash": kept} if kept else {})})
            if kept or disabled:
                credentials.end_sessions_of(connection, user_id)
            if disabled:
                credentials.audit_revoked(
                    connection, now, user, credentials.revoke_all_tokens_of(connection, user_id, now)
                )
            after = _found_user(connection, user_id)
            changed = {**_told(after), **_with_password(kept)}
            audit.record(
                connection, now, None, user or SYSTEM, "users.update", user_id, before=_told(before), after=changed
            )
            return after

        return self._database.write(work, of=EVERYONE)

    def delete(self, user_id: str, *, user: str | None = None) -> bool:
        """Delete a user with their sessions, and revoke their tokens. Return False if there is no such user.

        Tokens for organizations, and tokens that were made with these tokens, are revoked, too. Memberships of the same
        id stay. To keep a user out who logs in by an identity provider, disable the user instead.
        """
        storable(user_id=user_id)

        def work(connection: Connection) -> tuple[bool, Told | None]:
            deleted = credentials.delete_user(connection, user_id)
            if deleted is None:
                return False, None
            now = self._database.clock.now(connection)
            credentials.audit_revoked(connection, now, user, credentials.revoke_all_tokens_of(connection, user_id, now))
            return True, Told(user_id, _told(_user_of(deleted)), at=now)

        return Actor(user, Right.MEMBERS_CHANGE).change(self._database, "users.delete", work)

    def log_in(self, user_id: str, password: str) -> str:
        """Check a password, open a session and return its secret. Only the secret's hash is stored.

        Raises:
            PermissionDenied: user and password do not match. The error does not say which of the two is wrong.
        """

        def work(connection: Connection, found: AnyRow, now: datetime) -> str:
            audit.record(connection, now, None, found.id, "users.log_in", found.id)
            return _opened(connection, now, found.id, SESSION)

        return self._by_password(user_id, password, work)

    def _by_password(self, user_id: str, password: str, work: Callable[[Connection, AnyRow, datetime], str]) -> str:
        """Return what `work` returns, for an enabled user whose password is right."""
        row = (
            self._database.read(lambda c: credentials.find_user(c, user_id), of=EVERYONE)
            if USER_IDS.fits(user_id)
            else None
        )
        is_right = fits(row.password_hash if row is not None else None, password)

        def proved(connection: Connection) -> str | None:
            # Read again: the password may have changed, or the user may have been disabled, during the check.
            found = credentials.lock_user_to_change(connection, user_id) if row is not None else None
            now = self._database.clock.now(connection)
            same = found is not None and row is not None and found.password_hash == row.password_hash
            if found is None or not same or found.disabled_at is not None or not is_right:
                # An unknown id is not logged: people sometimes type their password into the field for the user.
                audit.record(connection, now, None, SYSTEM, "users.log_in_refused", row.id if row else _NOBODY)
                return None
            return work(connection, found, now)

        given = self._database.write(proved, of=EVERYONE)
        if given is None:
            raise PermissionDenied("User and password do not belong together.")
        return given

    def change_password(self, user_id: str, current: str, new: str) -> str:
        """Change a user's own password, end all of their sessions, and return the secret of a new session.

        The new password is noted in the audit of each organization that the user is a member of.

        Args:
            new: 12 to 1024 characters.

        Raises:
            ConfigurationError: the new password is too short or too long.
            PermissionDenied: the current password is wrong.
        """
        kept = hashed(new)

        def work(connection: Connection, found: AnyRow, now: datetime) -> str:
            _tell_organizations(connection, now, user_id, user_id, of_members=True)
            credentials.change_user(connection, user_id, {"password_hash": kept})
            credentials.end_sessions_of(connection, user_id)
            audit.record(connection, now, None, user_id, "users.update", user_id, after={"password": True})
            return _opened(connection, now, found.id, SESSION)

        return self._by_password(user_id, current, work)

    def link(self, user_id: str, *, user: str | None = None) -> str:
        """Return the secret of a link, to be exchanged for a session once, within ten minutes.

        Args:
            user: who asks for the link; None = the system.

        Raises:
            ConfigurationError: there is no such user.
        """
        storable(user_id=user_id)

        def work(connection: Connection) -> tuple[str, Told]:
            found = _found_user(connection, user_id)
            now = self._database.clock.now(connection)
            return _opened(connection, now, found.id, LINK, is_link=True), Told(found.id, at=now)

        return Actor(user, Right.MEMBERS_CHANGE).change(self._database, "users.link", work)

    def redeem(self, secret: str) -> str:
        """Exchange the secret of a link for the secret of a session.

        Raises:
            PermissionDenied: there is no such link, or it was used.
        """

        def work(connection: Connection) -> str:
            now = self._database.clock.now(connection)
            found = credentials.find_session(connection, hash_of(secret), now)
            user = credentials.lock_user(connection, found.user_id) if found is not None and found.is_link else None
            is_good = user is not None and user.disabled_at is None
            if found is None or not is_good or not credentials.end_session(connection, found.id):
                raise PermissionDenied("This link was used or has expired; ask for another one.")
            audit.record(connection, now, None, found.user_id, "users.redeem", found.user_id)
            return _opened(connection, now, found.user_id, SESSION)

        return self._database.write(work, of=EVERYONE)

    def log_out(self, secret: str) -> None:
        """End a session."""
        self._database.write(lambda connection: credentials.end_session(connection, hash_of(secret)), of=EVERYONE)

    def principal(self, secret: str) -> Principal | None:
        """Return the principal of a session; None if there is no such session, or it has ended."""

        def look(connection: Connection) -> AnyRow | None:
            return credentials.find_session(connection, hash_of(secret), self._database.clock.now(connection))

        row = self._database.read(look, of=EVERYONE)
        return of_session(row) if row is not None else None

    def identified(self, user_id: str, *, until: datetime | None = None, as_operator: bool = False) -> Principal | None:
        """Return the principal for a user whom an identity provider authenticated; None if the user is disabled here.

        Args:
            until: when the proof ends.
            as_operator: whether this proof is enough to act as an operator, if `user_id` is one.
        """
        kind = CredentialKind.OPERATOR_JWT if as_operator else CredentialKind.JWT
        row = self._database.look(lambda connection: credentials.find_user(connection, user_id), of=EVERYONE)
        return of_jwt(Credential(kind, user_id, until), row)


def _opened(connection: Connection, now: datetime, user: str, length: timedelta, *, is_link: bool = False) -> str:
    secret = token_urlsafe(_SECRET_BYTES)
    credentials.forget_expired_sessions(connection, now)
    values = {"id": hash_of(secret), "user_id": user, "is_link": is_link, "created_at": now}
    credentials.create_session(connection, {**values, "expires_at": now + length})
    return secret


def hash_of(secret: str) -> str:
    """Return the hash under which a secret of 256 random bits is stored, in hex."""
    return sha256(secret.encode(errors="replace")).hexdigest()


def of_session(row: AnyRow) -> Principal | None:
    """Return the principal of a session's row, which has its user's columns; None if the row is a link."""
    if row.is_link:
        return None
    credential = Credential(CredentialKind.SESSION, row.id)
    return Principal(row.user_id, "session", operator_rights=operator_rights(row), credential=credential)


def of_jwt(credential: Credential, user: AnyRow | None) -> Principal | None:
    """Return the principal of a JWT; None if the user is disabled here. `user`: the user's row, if there is one."""
    if user is not None and user.disabled_at is not None:
        return None
    may_operate = credential.kind is CredentialKind.OPERATOR_JWT
    rights = operator_rights(user) if user is not None and may_operate else None
    return Principal(credential.key, "jwt", operator_rights=rights, credential=credential)


def _tell_organizations(connection: Connection, now: datetime, user: str, by: str | None, *, of_members: bool) -> None:
    """Write into the audit of each organization of a user that the user got a password, or refuse the password."""
    for membership in organizations.memberships_of(connection, user):
        if not of_members:
            raise PermissionDenied(
                "They are a member of an organization, and anyone who knows their password reads there what they may: "
                f"giving them one needs the right {Right.PAYLOAD_READ}."
            )
        audit.record(connection, now, membership.id, by or SYSTEM, "users.password", user)


def _needed(rights: Iterable[str], kept: str | None, *, of_members: bool) -> set[Right]:
    """Return the rights that an operator needs to grant these rights.

    Nobody may grant rights that they lack, nor set the password of a user who has such rights.
    """
    return {*rights_of(rights), *({Right.PAYLOAD_READ} if kept and of_members else ())}


def _found_user(connection: Connection, user: str) -> User:
    """Return a user. Raises `ConfigurationError`: there is none."""
    return _user_of(_there(credentials.find_user(connection, user), user))


def _there(row: AnyRow | None, user: str) -> AnyRow:
    """Return the row. Raises `ConfigurationError`: there is none."""
    if row is None:
        raise remedied(ConfigurationError(f"There is no user {user}; create that user."), f"fl.users.create({user!r})")
    return row


def _user_of(row: AnyRow) -> User:
    """Return the public value of a user's row."""
    return User(
        id=row.id,
        has_password=row.password_hash is not None,
        is_operator=row.is_operator,
        rights=tuple(sorted(rights_of(json.loads(row.rights)))),
        disabled_at=row.disabled_at,
        created_at=row.created_at,
    )


def _with_password(kept: str | None) -> dict[str, bool]:
    """Return what the audit says of a new password: that there is one, never the password itself."""
    return {"password": True} if kept is not None else {}


def _told(user: User) -> dict[str, object]:
    """Return what the audit records of a user."""
    return {"operator": user.is_operator, "rights": user.rights, "disabled": user.disabled_at is not None}


def _operator_rights_of(names: Iterable[str], *, operator: bool) -> list[str]:
    """Return an operator's rights beyond the usual.

    Raises `ConfigurationError`: a name is no right, or the user is no operator.
    """
    rights = sorted(rights_of(names))
    if rights and not operator:
        raise ConfigurationError(
            "Rights of their own are for operators; what a member may, their role and permissions say."
        )
    return list(rights)
