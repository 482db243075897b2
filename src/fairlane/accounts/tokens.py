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

PREFIX: Final = "fl_"  # secret scanners and people recognize a token by it
_SECRET_BYTES: Final = 32  # 256 bits
_MOST: Final = 200  # valid tokens of one user in one organization
_KEPT: Final = timedelta(days=30)  # how long an invalid token is listed
_NOTED: Final = timedelta(minutes=1)  # how old `last_used_at` may be


class Tokens:
    """Create, list and revoke API tokens.

    A token acts as its user, and never may do more than its user may at that moment. A user has at most 200 valid
    tokens in an organization. A token that was revoked or expired 30 days ago is deleted when its user gets a new token
    there.
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
        """Create a token. Its secret is returned here and never again.

        Args:
            organization: the only organization that the token is for; None = an operator's token, for all
                organizations.
            as_user: the user as whom the token acts: a member of the organization, or an operator.
            name: the purpose of the token.
            scopes: the rights to which the token is restricted, for example ["jobs:read"]; None = all rights of its
                user.
            expires_in: seconds or a timedelta; None = it does not expire.
            made_with: the principal who asks; None = trusted code. If the principal used a token, the new token expires
                no later than that token, and is revoked with it.
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
        place, actor = organization or audit.ALL, self._tenants.actor(organization, user, Right.TOKENS_CHANGE)
        self._check_organization(organization)
        membership = self._tenants.membership(organization, as_user) if organization is not None else None

        def work(connection: Connection) -> Token:
            # Locked, so that a transaction that disables or deletes the user, revokes the token or ends a membership
            # waits, and then finds this token, too. It locks in the same order: the user first.
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

        # The application's role may not lock users, and the token used may be an operator's, which has no organization.
        return self._database.write(work, of=EVERYONE), secret

    def list(
        self,
        *,
        organization: str | None,
        user: str | None = None,
        before: UUID | None = None,
        limit: int | None = None,
    ) -> tuple[Token, ...]:
        """Return the tokens of an organization, or of operators (None), newest first: of one user, or of all users.

        Args:
            before: only tokens older than this one.
            limit: how many at most; None = all.

        Raises:
            OrganizationNotFound
        """
        storable(user=user)
        count("limit", limit)
        place = organization or audit.ALL
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
            lambda c: credentials.find_token(c, organization or audit.ALL, token), of=organization or EVERYONE
        )
        return _token(row) if row is not None else None

    def is_empty(self) -> bool:
        """Return True if there is no valid token in any organization."""
        return not self._database.read(
            lambda connection: credentials.has_tokens(connection, self._database.clock.now(connection)), of=EVERYONE
        )

    def revoke(self, token: UUID, *, organization: str | None, user: str | None = None) -> bool:
        """Revoke a token, and all tokens that were made with it, at once. Return False if it is not valid.

        Only an admin may revoke other users' tokens.

        Raises:
            OrganizationNotFound, PermissionDenied
        """
        actor, place = self._tenants.actor(organization, user, Right.TOKENS_CHANGE), organization or audit.ALL

        def work(connection: Connection) -> bool:
            # The right that this takes depends on whose token it is, so it is checked only now.
            found = credentials.find_token(connection, place, token)
            actor.refuse_unless_may(connection, full=found is not None and found.user_id != user)
            now = self._database.clock.now(connection)
            revoked = credentials.revoke_token(connection, place, token, now)
            credentials.audit_revoked(connection, now, user, revoked)
            return bool(revoked)

        # With an operator's token, tokens for organizations may have been made.
        return self._tenants.write(work, organization)

    def principal(self, secret: str) -> Principal | None:
        """Return the principal of a token; None if there is no such token, or it was revoked or has expired."""
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
            # A read must not wait for other writers, nor fail with them.
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
    """Refuse a token for a user who is no member of the organization, or no operator where `membership` is None.

    `holder`: the user's row, which a member need not have. A token of a disabled user is not valid.
    """
    if holder is not None and holder.disabled_at is not None:
        raise ConfigurationError(f"{user} is disabled, and a token opens nothing then; enable that user first.")
    if membership is None:
        if holder is None or not holder.is_operator:
            raise ConfigurationError(f"{user} is no operator; a token for all organizations is an operator's.")
    elif membership(connection) is None:
        raise ConfigurationError(f"{user} is no member of {organization}; a token acts as one.")


def _make_room(connection: Connection, place: str, user: str, now: datetime) -> None:
    """Delete a user's tokens that ended long ago, and refuse a new one if the user has as many as allowed."""
    credentials.forget_ended_tokens(connection, place, user, now - _KEPT)
    if credentials.count_live_tokens(connection, place, user, now, _MOST) >= _MOST:
        raise ConfigurationError(f"{user} has {_MOST} tokens, the most that a user may have; revoke one.")


def _lock_maker(connection: Connection, principal: Principal | None, now: datetime) -> AnyRow | None:
    """Lock the token that authenticated a principal until this transaction ends; None if it was not a token.

    Raises:
        PermissionDenied: the token or session that authenticated the principal has ended.
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
    """Return the principal of a token's row, which has its user's columns if there is such a user."""
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
        raise ConfigurationError(f"expires_in must be at most 100 years, not {number:g} s; omit it for ever.")
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
