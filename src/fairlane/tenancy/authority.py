"""Whether whoever changes something still may, asked in the transaction of the change.

Who sent a request was asked for their rights before, and may have lost them meanwhile. So each verb says which right it
takes. Code that calls a verb itself is trusted, and not asked: there `user` only says whom the audit is to name. The
context knows which of the two it is: `is_trusted`.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Connection

from fairlane.domain.errors import PermissionDenied
from fairlane.domain.origin import acts_as_operator, is_trusted
from fairlane.domain.permissions import OPERATOR_RIGHTS, Principal, Right, access, rights_of
from fairlane.store.statements import credentials
from fairlane.store.tables import AnyRow
from fairlane.tenancy.directory import Directory, Membership, StoredDirectory, locked_membership


def operator_rights(row: AnyRow) -> frozenset[Right] | None:
    """Return what a row of users, or of a session with its user, gives in every organization."""
    return OPERATOR_RIGHTS | rights_of(json.loads(row.rights)) if row.is_operator else None


class Authority:
    """Asks about whoever changes something in an organization."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    @property
    def is_of_host(self) -> bool:
        """Return True if the application's own directory knows the members."""
        return not isinstance(self._directory, StoredDirectory)

    def actor(self, organization: str | None, user: str | None, right: Right) -> "Actor":
        """Return somebody who is asked about in the transaction of their change.

        A host's directory is asked at once: it may take long, and no row is locked yet.

        Args:
            organization: where; None = in all of them, which takes an operator.
            user: who; None = the system, which may all.
            right: which they need there.

        Raises:
            StorageUnavailable: the host's directory does not answer.
        """
        if organization is None or is_trusted():
            return Actor(organization, user, right, lambda _: None)
        return Actor(organization, user, right, self.membership(organization, user))

    def membership(self, organization: str, user: str | None) -> Callable[[Connection], Membership | None]:
        """Return a question for a transaction: what somebody is there, and stays until it ends; None: no member.

        A host's directory is asked at once, as for `actor`.
        """
        if user is None:
            return lambda _: None
        if not self.is_of_host:
            return lambda connection: locked_membership(connection, organization, user)
        membership = self._directory.members([(organization, user)]).get((organization, user))
        return lambda _: membership


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who changes something in an organization, or, where that is None, in all; see `Authority.actor`."""

    organization: str | None
    user: str | None
    right: Right
    membership: Callable[[Connection], Membership | None]

    def refuse_unless_may(self, connection: Connection, *, full: bool = False) -> None:
        """Refuse a change by somebody who does not have the right now.

        Args:
            full: whether it takes an admin or operator, beside the right.

        Raises:
            PermissionDenied
        """
        if self.user is None or is_trusted():
            return
        if self.organization is None:
            refuse_unless_operator(connection, self.user, self.right)
            return
        holder, member = credentials.find_rights(connection, self.user), self.membership(connection)
        principal = Principal(self.user, "", operator_rights=_rights_everywhere(holder))
        role, permissions = (member.role, member.permissions) if member is not None else (None, frozenset[str]())
        found = access(principal, self.organization, role, permissions)
        may = found is not None and self.right in found.rights and (found.is_full or not full)
        if _is_disabled(holder) or not may:
            raise _lost(self.user, self.right)


def is_operator(connection: Connection, user: str | None) -> bool:
    """Return True if they are an operator, and act as one here."""
    return user is not None and _rights_everywhere(credentials.find_rights(connection, user)) is not None


def refuse_unless_operator(
    connection: Connection, user: str | None, right: Right, also: Collection[Right] = ()
) -> None:
    """Refuse a change in all organizations by somebody who is not, or no more, an operator with the right.

    Args:
        user, right: as in `Authority.actor`.
        also: rights that they need beside it, such as those that they give to somebody.

    Raises:
        PermissionDenied
    """
    if user is None or is_trusted():
        return
    theirs = _rights_everywhere(credentials.find_rights(connection, user)) or frozenset()
    for one in (right, *also):
        if one not in theirs:
            raise _lost(user, one)


def _rights_everywhere(holder: AnyRow | None) -> frozenset[Right] | None:
    """Return what they may in every organization, as an operator; None if they are none, or don't act as one here."""
    if holder is None or _is_disabled(holder) or not acts_as_operator():
        return None
    return operator_rights(holder)


def _is_disabled(holder: AnyRow | None) -> bool:
    return holder is not None and holder.disabled_at is not None


def _lost(user: str, right: Right) -> PermissionDenied:
    return PermissionDenied(f"{user} may not do this any more: the right {right} was taken from them meanwhile.")
