"""Users, sessions and tokens. Only the SHA-256 of sessions and tokens is stored, so a dump reveals no credential."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from fairlane.store.sql import is_row
from fairlane.store.statements import audit
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow, sessions, socket_tickets, tokens, users


def create_user(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert a user. The caller has checked that the id is free; the primary key refuses a concurrent insert."""
    connection.execute(insert(users), dict(values))


def find_user(connection: Connection, user: str) -> AnyRow | None:
    """Return a user; None if there is none."""
    return connection.execute(select(users).where(users.c.id == user)).one_or_none()


def lock_user(connection: Connection, user: str) -> AnyRow | None:
    """Return a user, locked against changes until this transaction ends; None if there is none."""
    return connection.execute(select(users).where(users.c.id == user).with_for_update(read=True)).one_or_none()


def lock_user_to_change(connection: Connection, user: str) -> AnyRow | None:
    """Return a user, locked for a change until this transaction ends; None if there is none."""
    return connection.execute(select(users).where(users.c.id == user).with_for_update()).one_or_none()


def find_rights(connection: Connection, user: str) -> AnyRow | None:
    """Return a user's rights, and whether the user is disabled: the app may read no more. None if there is none."""
    statement = select(users.c.id, users.c.is_operator, users.c.rights, users.c.disabled_at)
    return connection.execute(statement.where(users.c.id == user)).one_or_none()


def all_users(connection: Connection) -> Sequence[AnyRow]:
    """Return all users, by id."""
    return connection.execute(select(users).order_by(users.c.id)).all()


def change_user(connection: Connection, user: str, values: Mapping[str, Any]) -> bool:
    """Set columns of a user; False if there is none."""
    return connection.execute(update(users).where(users.c.id == user).values(dict(values))).rowcount == 1


def delete_user(connection: Connection, user: str) -> AnyRow | None:
    """Delete a user with their sessions, and return them; None if there is none."""
    # Locked first: a concurrent login has inserted its session by now, which is deleted, or will find no user.
    found = lock_user_to_change(connection, user)
    connection.execute(delete(sessions).where(sessions.c.user_id == user))
    connection.execute(delete(users).where(users.c.id == user))
    return found


def create_session(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert a session, or a link that becomes one."""
    connection.execute(insert(sessions), dict(values))


def find_session(connection: Connection, session: str, now: datetime) -> AnyRow | None:
    """Return a live session with its user's columns; None if there is none."""
    return next(iter(live_sessions(connection, [session], now)), None)


def end_session(connection: Connection, session: str) -> bool:
    """Delete a session; False if there was none."""
    return connection.execute(delete(sessions).where(sessions.c.id == session)).rowcount == 1


def end_sessions_of(connection: Connection, user: str) -> None:
    """Delete all sessions of a user."""
    connection.execute(delete(sessions).where(sessions.c.user_id == user))


def forget_expired_sessions(connection: Connection, now: datetime) -> int:
    """Delete expired sessions; return their number."""
    return connection.execute(delete(sessions).where(sessions.c.expires_at <= now)).rowcount


def create_token(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert a token."""
    connection.execute(insert(tokens), dict(values))


def has_tokens(connection: Connection, now: datetime) -> bool:
    """Return True if there is any token that is neither revoked nor expired."""
    statement = select(select(tokens.c.id).where(_is_live(now)).exists())
    return connection.execute(statement.execution_options(fairlane_across="credentials")).scalar_one()


def tokens_of(
    connection: Connection, organization: str, user: str | None, before: UUID | None, limit: int | None
) -> Sequence[AnyRow]:
    """Return the organization's tokens, newest first; those of one user, or of all.

    Args:
        before: only tokens older than this one; None = from the newest on.
        limit: how many at most; None = all.
    """
    statement = select(tokens).where(tokens.c.organization_id == organization)
    if user is not None:
        statement = statement.where(tokens.c.user_id == user)
    if before is not None:
        statement = statement.where(tokens.c.id < before)
    return connection.execute(statement.order_by(tokens.c.id.desc()).limit(limit)).all()


def count_live_tokens(connection: Connection, organization: str, user: str, now: datetime, up_to: int) -> int:
    """Count the valid tokens of a user in an organization, up to a number."""
    theirs = select(tokens.c.id).where(tokens.c.organization_id == organization, tokens.c.user_id == user)
    found = theirs.where(_is_live(now)).limit(up_to).subquery()
    return connection.execute(select(func.count()).select_from(found)).scalar_one()


def forget_ended_tokens(connection: Connection, organization: str, user: str, before: datetime) -> None:
    """Delete the tokens of a user in an organization that were revoked, or expired, before this time."""
    has_ended = or_(tokens.c.revoked_at < before, tokens.c.expires_at < before)
    connection.execute(
        delete(tokens).where(tokens.c.organization_id == organization, tokens.c.user_id == user, has_ended)
    )


def find_token(connection: Connection, organization: str, token: UUID) -> AnyRow | None:
    """Return one token of the organization; None if there is none."""
    return connection.execute(select(tokens).where(is_row(tokens, organization, token))).one_or_none()


def revoke_token(connection: Connection, organization: str, token: UUID, now: datetime) -> Sequence[AnyRow]:
    """Revoke a token, and all tokens made with it, at any depth; return those that were not revoked before."""
    return _revoke(connection, now, is_row(tokens, organization, token))


def lock_token(connection: Connection, hashed: str) -> AnyRow | None:
    """Return an unrevoked token, locked against revocation until this transaction ends; None if there is none."""
    statement = select(tokens).where(tokens.c.hash == hashed, tokens.c.revoked_at.is_(None))
    statement = statement.execution_options(fairlane_across="credentials")
    return connection.execute(statement.with_for_update(read=True)).one_or_none()


def revoke_tokens_of(connection: Connection, organization: str, user: str, now: datetime) -> Sequence[AnyRow]:
    """Revoke all tokens of a user in an organization, as `revoke_token` does."""
    return _revoke(connection, now, (tokens.c.organization_id == organization) & (tokens.c.user_id == user))


def revoke_all_tokens_of(connection: Connection, user: str, now: datetime) -> Sequence[AnyRow]:
    """Revoke all tokens of a user in every organization, as `revoke_token` does."""
    return _revoke(connection, now, tokens.c.user_id == user)


def _revoke(connection: Connection, now: datetime, which: ColumnElement[bool]) -> Sequence[AnyRow]:
    # Follow revoked tokens, too: tokens made with them may be valid.
    ended = select(tokens.c.hash).where(which).cte(recursive=True)
    ended = ended.union(select(tokens.c.hash).join(ended, tokens.c.made_with == ended.c.hash))
    statement = (
        update(tokens)
        .where(tokens.c.hash.in_(select(ended.c.hash)), tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(tokens)
        .execution_options(fairlane_across="credentials")
    )
    revoked: list[AnyRow] = []
    # Repeated until there are none: the statement waits for a transaction that is making a token with one of these
    # tokens, but does not see that new token.
    while found := connection.execute(statement).all():
        revoked += sorted(found, key=lambda one: one.id)
    return revoked


def audit_revoked(connection: Connection, now: datetime, by: str | None, revoked: Iterable[AnyRow]) -> None:
    """Write the revocation of each of these tokens into the audit of its organization.

    Args:
        by: who revoked them; None = the system.
    """
    for one in revoked:
        before = {"name": one.name, "user": one.user_id, "scopes": json.loads(one.scopes)}
        audit.record(connection, now, one.organization_id or None, by or SYSTEM, "tokens.revoke", one.id, before=before)


def note_use(connection: Connection, organization: str, token: UUID, now: datetime, unless_after: datetime) -> None:
    """Store that a token was used, unless this was stored a short while ago."""
    connection.execute(
        update(tokens)
        .where(
            is_row(tokens, organization, token),
            or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < unless_after),
        )
        .values(last_used_at=now)
    )


def live_sessions(connection: Connection, ids: Collection[str], now: datetime) -> Sequence[AnyRow]:
    """Return those of the sessions that have not expired, with the columns of their users, if these are enabled."""
    return connection.execute(
        select(sessions, users.c.is_operator, users.c.rights)
        .join(users, users.c.id == sessions.c.user_id)
        .where(sessions.c.id.in_(sorted(ids)), sessions.c.expires_at > now, users.c.disabled_at.is_(None))
    ).all()


def live_tokens(connection: Connection, hashes: Collection[str], now: datetime) -> Sequence[AnyRow]:
    """Return the valid tokens of enabled users, with their users' rights."""
    statement = (
        select(tokens, users.c.is_operator, users.c.rights)
        .outerjoin(users, users.c.id == tokens.c.user_id)
        .where(
            tokens.c.hash.in_(sorted(hashes)),
            _is_live(now),
            users.c.disabled_at.is_(None),
        )
    )
    return connection.execute(statement.execution_options(fairlane_across="credentials")).all()


def _is_live(now: datetime) -> ColumnElement[bool]:
    return tokens.c.revoked_at.is_(None) & (tokens.c.expires_at.is_(None) | (tokens.c.expires_at > now))


def find_users(connection: Connection, ids: Collection[str]) -> Sequence[AnyRow]:
    """Return those of the users that exist."""
    return connection.execute(select(users).where(users.c.id.in_(sorted(ids)))).all()


def create_ticket(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert a ticket for a socket."""
    connection.execute(insert(socket_tickets), dict(values))


def has_ticket(connection: Connection, hashed: str) -> bool:
    """Return True if there is such a ticket, valid or expired."""
    return connection.scalar(select(socket_tickets.c.id).where(socket_tickets.c.id == hashed)) is not None


def take_ticket(connection: Connection, hashed: str, now: datetime) -> AnyRow | None:
    """Delete and return a ticket that has not expired; None if there is none. Of two callers only one gets it."""
    return connection.execute(
        delete(socket_tickets)
        .where(socket_tickets.c.id == hashed, socket_tickets.c.expires_at > now)
        .returning(socket_tickets.c.kind, socket_tickets.c.key, socket_tickets.c.until)
    ).one_or_none()


def forget_expired_tickets(connection: Connection, now: datetime) -> int:
    """Delete expired tickets; return their number."""
    return connection.execute(delete(socket_tickets).where(socket_tickets.c.expires_at <= now)).rowcount
