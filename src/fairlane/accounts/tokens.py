"""API tokens: `fl.tokens`."""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Final
from uuid import UUID

from sqlalchemy import Connection
from uuid_utils.compat import uuid7

from fairlane.accounts.users import hash_of
from fairlane.domain.accounts import Token
from fairlane.domain.arguments import Seconds, count, seconds, text
from fairlane.domain.errors import ConfigurationError, PermissionDenied, StorageUnavailable
from fairlane.domain.permissions import Credential, CredentialKind, Principal, Right, rights_of
from fairlane.domain.texts import require_user_id, storable
from fairlane.domain.timing import CENTURY, LOCK_WAIT_OF_ROUND
from fairlane.store.row_security import EVERYONE, Administered
from fairlane.store.statements import audit, credentials
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import operator_rights
from fairlane.tenancy.directory import Directory, Membership
from fairlane.tenancy.tenants import Tenants, unknown

PREFIX: Final = "fl_"  # so that scanners of secrets, and people, see what it is
_SECRET_BYTES: Final = 32  # 256 bits
_MOST: Final = 200  # of one user in one organization that open something
_KEPT: Final = timedelta(days=30)  # how long one is listed that opens nothing any more
_NOTED: Final = timedelta(minutes=1)  # how old `last_used_at` may be


class Tokens:
    """Create, list and revoke API tokens.

    A token acts as its user. It never opens more than its user may at that moment. A user has 200 in an organization
    at most that are neither revoked nor expired. One that has been either for 30 days is deleted when its user gets a
    new one there.
    """

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._directory = directory
        self._tenants = Tenants(database, directory)

    def create(
        self,
        *,
        organization: str | None,
        as_user: str,
        name: str,
        scopes: Iterable[str] | None = None,
        expires_in: Seconds | None = None,
        made_with: Principal | None = None,
        user: str | None = None,
    ) -> tuple[Token, str]:
        """Create a token; its secret is returned here and never again.

        Args:
            organization: the only one that it opens; None = an operator's, for all.
            as_user: as whom it acts: a member of the organization, or an operator.
            name: what it is for.
            scopes: rights that it is cut to, such as ["jobs:read"]; None = all that its user may.
            expires_in: seconds or a timedelta; None = it does not expire.
            made_with: who asks for it; None = trusted code. If by a token, the new one expires with that at the latest,
                and is revoked with it.
            user: who creates it; None = the system.

        Raises:
            OrganizationNotFound
            PermissionDenied: `user` lacks the right, or the token or session that asks for it has ended.
            ConfigurationError: `as_user` is neither a member nor an operator, or is disabled, or has 200 tokens there,
                or a value is wrong.
        """
        require_user_id(as_user)
        named = text("name", name)
        rights = sorted(rights_of(scopes)) if scopes is not None else None
        length = _length(expires_in) if expires_in is not None else None
        secret, token = PREFIX + token_urlsafe(_SECRET_BYTES), uuid7()
        place, actor = organization or audit.PLATFORM, self._tenants.actor(organization, user, Right.TOKENS_CHANGE)
        self._check_organization(organization)
        membership = self._tenants.membership(organization, as_user) if organization is not None else None

        def work(connection: Connection) -> Token:
            # Locked, so that whoever disables or deletes the user, revokes the token or ends a membership, waits and
            # finds this one, too; in their order, the user first.
            holder = credentials.lock_user(connection, as_user)
            now = self._database.clock.now(connection)
            maker = _lock_maker(connection, made_with, now)
            actor.refuse_unless_may(connection, full=as_user != user)
            _check_holder(connection, membership, organization, as_user, holder)
            _make_room(connection, place, as_user, now)
            bounds = (now + length if length is not None else None, maker.expires_at if maker is not None else None)
            ends = [one for one in bounds if one is not None]
            credentials.create_token(
                connection,
                {
                    "organization_id": place,
                    "id": token,
                    "hash": hash_of(secret),
                    "name": named,
                    "user_id": as_user,
                    "scopes": json.dumps(rights),
                    "created_at": now,
                    "created_by": user or SYSTEM,
                    "made_with": maker.hash if maker is not None else None,
                    "expires_at": min(ends) if ends else None,
                },
            )
            told = {"name": named, "user": as_user, "scopes": rights}
            audit.record(connection, now, organization, user or SYSTEM, "tokens.create", token, after=told)
            row = credentials.find_token(connection, place, token)
            assert row is not None
            return _token(row)

        # The app may lock no users, and the token that asks for it may be an operator's, of no organization.
        return self._database.write(work, of=EVERYONE), secret

    def list(
        self,
        *,
        organization: str | None,
        user: str | None = None,
        before: UUID | None = None,
        limit: int | None = None,
    ) -> tuple[Token, ...]:
        """Return the organization's tokens, or operators' (None), newest first; of one user, or of all.

        Args:
            before: only older ones than this.
            limit: how many at most; None = all.

        Raises:
            OrganizationNotFound
        """
        storable(user=user)
        count("limit", limit)
        place = organization or audit.PLATFORM
        found = self._tenants.read(
            lambda c: credentials.tokens_of(c, place, user, before, limit), of=organization or EVERYONE
        )
        return tuple(map(_token, found))

    def get(self, token: UUID, *, organization: str | None) -> Token | None:
        """Return one token of the organization, or of an operator; None if there is none.

        Raises:
            OrganizationNotFound
        """
        row = self._tenants.read(
            lambda c: credentials.find_token(c, organization or audit.PLATFORM, token), of=organization or EVERYONE
        )
        return _token(row) if row is not None else None

    def is_empty(self) -> bool:
        """Return True if nobody, in whichever organization, has a token that is good."""
        return not self._database.read(
            lambda connection: credentials.has_tokens(connection, self._database.clock.now(connection)), of=EVERYONE
        )

    def revoke(self, token: UUID, *, organization: str | None, user: str | None = None) -> bool:
        """Let a token, and what was made with it, open nothing any more, at once; False if there is none that does.

        Of the tokens of others it takes an admin.

        Raises:
            OrganizationNotFound, PermissionDenied
        """
        actor, place = self._tenants.actor(organization, user, Right.TOKENS_CHANGE), organization or audit.PLATFORM

        def work(connection: Connection) -> bool:
            # Asked once it is known whose the token is.
            found = credentials.find_token(connection, place, token)
            actor.refuse_unless_may(connection, full=found is not None and found.user_id != user)
            now = self._database.clock.now(connection)
            revoked = credentials.revoke_token(connection, place, token, now)
            credentials.audit_revoked(connection, now, user, revoked)
            return bool(revoked)

        # With an operator's token others may have been made, of organizations.
        return self._tenants.write(work, organization)

    def principal(self, secret: str) -> Principal | None:
        """Return whose token this is; None if it is none, was revoked or has expired."""
        if not secret.startswith(PREFIX):
            return None

        def look(connection: Connection) -> AnyRow | None:
            now = self._database.clock.now(connection)
            row = next(iter(credentials.live_tokens(connection, [hash_of(secret)], now)), None)
            if row is not None and (row.last_used_at is None or row.last_used_at < now - _NOTED):
                stale.append((row.organization_id, row.id))
            return row

        stale: list[tuple[str, UUID]] = []
        row = self._database.read(look, of=EVERYONE)
        for organization, token in stale:
            # Whoever only looks is not to wait for, nor fail with, what others write.
            with suppress(StorageUnavailable):
                self._note(organization, token)
        return of_token(row) if row is not None else None

    def _note(self, organization: str, token: UUID) -> None:
        def work(connection: Connection) -> None:
            now = self._database.clock.now(connection)
            credentials.note_use(connection, organization, token, now, now - _NOTED)

        of = Administered(organization) if organization else EVERYONE
        self._database.write(work, of=of, lock_seconds=LOCK_WAIT_OF_ROUND)

    def _check_organization(self, organization: str | None) -> None:
        if organization is not None and organization not in self._directory.organizations([organization]):
            raise unknown(organization, is_stored=not self._tenants.is_of_host)


def _check_holder(
    connection: Connection,
    membership: Callable[[Connection], Membership | None] | None,
    organization: str | None,
    user: str,
    holder: AnyRow | None,
) -> None:
    """Refuse a token of somebody who is no member of the organization, or, where `membership` is None, no operator.

    `holder`: their row of users, which a member need not have; who is disabled has none that opens anything.
    """
    if holder is not None and holder.disabled_at is not None:
        raise ConfigurationError(f"{user} is disabled, and a token opens nothing then; enable them first.")
    if membership is None:
        if holder is None or not holder.is_operator:
            raise ConfigurationError(f"{user} is no operator; a token for all organizations is an operator's.")
    elif membership(connection) is None:
        raise ConfigurationError(f"{user} is no member of {organization}; a token acts as one.")


def _make_room(connection: Connection, place: str, user: str, now: datetime) -> None:
    """Delete tokens of a user that ended long ago, and refuse another one where as many as may be are good."""
    credentials.forget_ended_tokens(connection, place, user, now - _KEPT)
    if credentials.count_live_tokens(connection, place, user, now, _MOST) >= _MOST:
        raise ConfigurationError(f"{user} has {_MOST} tokens, the most that a user may have; revoke one.")


def _lock_maker(connection: Connection, principal: Principal | None, now: datetime) -> AnyRow | None:
    """Lock the token that proved a principal until this transaction ends; None if it was none.

    Raises:
        PermissionDenied: the token, or the session, that proved them has ended.
    """
    credential = principal.credential if principal is not None else None
    kind = credential.kind if credential is not None else None
    if credential is None or kind not in {CredentialKind.TOKEN, CredentialKind.SESSION}:
        return None
    is_token = kind is CredentialKind.TOKEN
    key = credential.key
    found = credentials.lock_token(connection, key) if is_token else credentials.find_session(connection, key, now)
    if found is None:
        raise PermissionDenied("The token or session that asked for this has ended meanwhile; use another one.")
    return found if is_token else None


def of_token(row: AnyRow) -> Principal:
    """Return whom a token's row, with its user's columns if there are any, proves."""
    scopes = json.loads(row.scopes)
    return Principal(
        user=row.user_id,
        via=f"token {row.id.hex[:12]}",
        scopes=rights_of(scopes) if scopes is not None else None,
        organization=row.organization_id or None,
        operator_rights=operator_rights(row) if not row.organization_id else None,
        credential=Credential(CredentialKind.TOKEN, row.hash),
    )


def _length(expires_in: Seconds) -> timedelta:
    number = seconds("expires_in", expires_in)
    if number > CENTURY:
        raise ConfigurationError(f"expires_in must be at most 100 years, not {number:g} s; leave it out for ever.")
    return timedelta(seconds=number)


def _token(row: AnyRow) -> Token:
    scopes = json.loads(row.scopes)
    return Token(
        id=row.id,
        organization=row.organization_id or None,
        name=row.name,
        user=row.user_id,
        scopes=tuple(sorted(rights_of(scopes))) if scopes is not None else None,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
