"""Tickets for sockets, and checks of the credentials behind open sockets: `fl.tickets`.

A browser can't send a header with a socket, and a credential in an address ends in logs. So a client fetches a ticket
with its credential. A ticket opens one socket, once, within a minute, on any node.
"""

from collections.abc import Collection
from datetime import timedelta
from secrets import token_urlsafe
from typing import Final

from sqlalchemy import Connection

from fairlane.accounts.tokens import of_token
from fairlane.accounts.users import hash_of, of_jwt, of_session
from fairlane.domain.permissions import Credential, CredentialKind, Principal
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import credentials
from fairlane.store.transaction import Database

TICKET: Final = timedelta(seconds=60)
_SECRET_BYTES: Final = 32  # 256 bits


class Tickets:
    """Create and redeem tickets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, credential: Credential) -> str:
        """Create a ticket that stands for the credential. Only the ticket's hash is stored."""
        secret = token_urlsafe(_SECRET_BYTES)

        def work(connection: Connection) -> None:
            now = self._database.clock.now(connection)
            credentials.forget_expired_tickets(connection, now)
            of_whom = {"kind": credential.kind, "key": credential.key, "until": credential.until}
            credentials.create_ticket(connection, {"id": hash_of(secret), **of_whom, "expires_at": now + TICKET})

        self._database.write(work, of=EVERYONE)
        return secret

    def redeem(self, secret: str) -> Principal | None:
        """Return the principal of a ticket; None if the ticket was used or has expired, or its credential has."""
        hashed = hash_of(secret)
        # Otherwise a client that invents tickets would hold up all writers of a SQLite database.
        if not self._database.look(lambda connection: credentials.has_ticket(connection, hashed), of=EVERYONE):
            return None

        def work(connection: Connection) -> Credential | None:
            now = self._database.clock.now(connection)
            row = credentials.take_ticket(connection, hashed, now)
            return Credential(CredentialKind(row.kind), row.key, row.until) if row is not None else None

        credential = self._database.write(work, of=EVERYONE)
        return self.principals([credential]).get(credential) if credential is not None else None

    def principals(self, those: Collection[Credential]) -> dict[Credential, Principal]:
        """Return the principals of those credentials that are still valid, with their present rights."""
        return self._database.read(lambda connection: self._principals(connection, those), of=EVERYONE)

    def _principals(self, connection: Connection, those: Collection[Credential]) -> dict[Credential, Principal]:
        now = self._database.clock.now(connection)
        by_kind = {kind: {one.key for one in those if one.kind is kind} for kind in CredentialKind}
        found: list[Principal | None] = []
        if by_kind[CredentialKind.TOKEN]:
            found += map(of_token, credentials.live_tokens(connection, by_kind[CredentialKind.TOKEN], now))
        if by_kind[CredentialKind.SESSION]:
            found += map(of_session, credentials.live_sessions(connection, by_kind[CredentialKind.SESSION], now))
        jwts = [one for one in those if one.kind in {CredentialKind.JWT, CredentialKind.OPERATOR_JWT}]
        if jwts:
            users = {row.id: row for row in credentials.find_users(connection, {one.key for one in jwts})}
            found += [of_jwt(one, users.get(one.key)) for one in jwts if one.until is None or one.until > now]
        return {one.credential: one for one in found if one is not None and one.credential is not None}
