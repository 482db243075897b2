"""Users with a login of their own, and operators: `fl.users`. And the sessions that a login opens."""

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
        """Create a user. The organizations that they are a member of read in their audit of a password.

        Args:
            user_id: the same that members, submissions and an identity provider's tokens name.
            password: 12 to 1024 characters; None = they have another way to log in.
            operator: whether they look after all organizations.
            rights: an operator's beyond the usual, such as "payload:read".
            user: who creates them; None = the system.
            of_members: whether they may get a password where they are a member of an organization: whoever knows it
                reads there what they may.

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
                raise UserExists(f"There is a user {user_id} already; change them instead.")
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
        """Return one user. Raises `ConfigurationError`: there is none of this id."""
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
        """Change what is given; the rest stays. A new password and disabling end the user's sessions.

        Disabling also revokes their tokens and what was made with them, for others, too; enabling gives none back.

        Args:
            of_members: as for `create`.

        Raises:
            ConfigurationError: there is no such user, or a value is wrong.
            PermissionDenied: they are a member of an organization, and may not get a password.
        """
        storable(user_id=user_id)
        kept = hashed(password) if password is not None else None
        actor = Actor(user, Right.MEMBERS_CHANGE)

        def work(connection: Connection) -> User:
            # Locked before anybody is asked: another may change them meanwhile and so take the rights of `user`.
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
        """Delete a user and their sessions, and revoke their tokens and what was made with them. False: there was none.

        Tokens of organizations, too. Memberships of the same id stay. Whoever is not to come in by an identity provider
        either is disabled instead.
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
        """Check a password and open a session; returns its secret, which is not kept.

        Raises:
            PermissionDenied: user and password do not belong together; which of them is wrong nobody is told.
        """

        def work(connection: Connection, found: AnyRow, now: datetime) -> str:
            audit.record(connection, now, None, found.id, "users.log_in", found.id)
            return _opened(connection, now, found.id, SESSION)

        return self._by_password(user_id, password, work)

    def _by_password(self, user_id: str, password: str, work: Callable[[Connection, AnyRow, datetime], str]) -> str:
        """Return what `work` gives for a user who has proved their password, and is not disabled."""
        row = (
            self._database.read(lambda c: credentials.find_user(c, user_id), of=EVERYONE)
            if USER_IDS.fits(user_id)
            else None
        )
        is_right = fits(row.password_hash if row is not None else None, password)

        def proved(connection: Connection) -> str | None:
            # Read again: the password may have been changed, or the user disabled, while this one was being checked.
            found = credentials.lock_user_to_change(connection, user_id) if row is not None else None
            now = self._database.clock.now(connection)
            same = found is not None and row is not None and found.password_hash == row.password_hash
            if found is None or not same or found.disabled_at is not None or not is_right:
                # What is no user's id is not told: somebody may have typed their password there.
                audit.record(connection, now, None, SYSTEM, "users.log_in_refused", row.id if row else _NOBODY)
                return None
            return work(connection, found, now)

        given = self._database.write(proved, of=EVERYONE)
        if given is None:
            raise PermissionDenied("User and password do not belong together.")
        return given

    def change_password(self, user_id: str, current: str, new: str) -> str:
        """Change one's own password, which ends all of one's sessions; returns the secret of a new one.

        The organizations that they are a member of read in their audit that there is a new password.

        Args:
            new: 12 to 1024 characters.

        Raises:
            ConfigurationError: the new password is too short or too long.
            PermissionDenied: the current one is wrong.
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
        """Return a secret to be exchanged for a session, once, within ten minutes.

        Args:
            user: who asks for it; None = the system.

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
        """Exchange the secret of a link for that of a session.

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
        """Return whose session this is; None if it is none, or has ended."""

        def look(connection: Connection) -> AnyRow | None:
            return credentials.find_session(connection, hash_of(secret), self._database.clock.now(connection))

        row = self._database.read(look, of=EVERYONE)
        return of_session(row) if row is not None else None

    def identified(self, user_id: str, *, until: datetime | None = None, as_operator: bool = False) -> Principal | None:
        """Return the principal that an identity provider has proved `user_id` to be; None if they are disabled here.

        Args:
            until: when the proof ends.
            as_operator: whether the provider's word is enough to be an operator, if `user_id` is one.
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
    """Return what is kept of a secret of 256 random bits, in hex."""
    return sha256(secret.encode(errors="replace")).hexdigest()


def of_session(row: AnyRow) -> Principal | None:
    """Return whom a session's row, with its user's columns, proves; None if it is a link."""
    if row.is_link:
        return None
    credential = Credential(CredentialKind.SESSION, row.id)
    return Principal(row.user_id, "session", operator_rights=operator_rights(row), credential=credential)


def of_jwt(credential: Credential, user: AnyRow | None) -> Principal | None:
    """Return whom a JWT proves. `user`: the row of that name, if there is one; None: they are disabled here."""
    if user is not None and user.disabled_at is not None:
        return None
    may_operate = credential.kind is CredentialKind.OPERATOR_JWT
    rights = operator_rights(user) if user is not None and may_operate else None
    return Principal(credential.key, "jwt", operator_rights=rights, credential=credential)


def _tell_organizations(connection: Connection, now: datetime, user: str, by: str | None, *, of_members: bool) -> None:
    """Write into the audit of each organization of a user that they were given a password, or refuse it."""
    for membership in organizations.memberships_of(connection, user):
        if not of_members:
            raise PermissionDenied(
                "They are a member of an organization, and whoever knows their password reads there what they may: "
                f"giving them one needs the right {Right.PAYLOAD_READ}."
            )
        audit.record(connection, now, membership.id, by or SYSTEM, "users.password", user)


def _needed(rights: Iterable[str], kept: str | None, *, of_members: bool) -> set[Right]:
    """Return what an operator needs to give these.

    Nobody gives rights that they lack, nor comes in as somebody with them.
    """
    return {*rights_of(rights), *({Right.PAYLOAD_READ} if kept and of_members else ())}


def _found_user(connection: Connection, user: str) -> User:
    """Return a user. Raises `ConfigurationError`: there is none."""
    return _user_of(_there(credentials.find_user(connection, user), user))


def _there(row: AnyRow | None, user: str) -> AnyRow:
    """Return the row, which has to be there. Raises `ConfigurationError`: it is not."""
    if row is None:
        raise remedied(ConfigurationError(f"There is no user {user}; create them."), f"fl.users.create({user!r})")
    return row


def _user_of(row: AnyRow) -> User:
    """Return a user as users are shown."""
    return User(
        id=row.id,
        has_password=row.password_hash is not None,
        is_operator=row.is_operator,
        rights=tuple(sorted(rights_of(json.loads(row.rights)))),
        disabled_at=row.disabled_at,
        created_at=row.created_at,
    )


def _with_password(kept: str | None) -> dict[str, bool]:
    """Say that there is a new password, and never which."""
    return {"password": True} if kept is not None else {}


def _told(user: User) -> dict[str, object]:
    """Return what the audit is told of a user."""
    return {"operator": user.is_operator, "rights": user.rights, "disabled": user.disabled_at is not None}


def _operator_rights_of(names: Iterable[str], *, operator: bool) -> list[str]:
    """Return rights of an operator beyond the usual.

    Raises `ConfigurationError`: one is no right, or they are no operator.
    """
    rights = sorted(rights_of(names))
    if rights and not operator:
        raise ConfigurationError(
            "Rights of their own are for operators; what a member may, their role and permissions say."
        )
    return list(rights)
