"""Changes by a user: one transaction checks the user's right, makes the change and writes the audit entry.

An interface checked the sender's rights when the request came, but the sender may have lost them since. So each verb
names the right that it takes, and checks it again. Application code that calls a verb itself is trusted, and not
checked: there `user` only names the actor for the audit. `is_trusted` tells the two apart.

A verb that has to read its subject first, under a lock, calls `refuse_unless_may` itself.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from fairlane.domain.errors import PermissionDenied
from fairlane.domain.origin import acts_as_operator, is_trusted
from fairlane.domain.permissions import OPERATOR_RIGHTS, Principal, Right, access, rights_of
from fairlane.domain.texts import storable
from fairlane.store.clock import Clock
from fairlane.store.row_security import EVERYONE, Scope
from fairlane.store.statements import audit, credentials
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Membership

T = TypeVar("T")


class Told(NamedTuple):
    """An audit entry for a change: its subject, and the values before and after, without secrets and payloads.

    `at`: the time of the change; None = now.
    """

    subject: object
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    at: datetime | None = None


# The work of a verb in its transaction. It returns the verb's result, and the audit entry; None = no entry.
Work = Callable[[Connection], tuple[T, Told | None]]


@dataclass(frozen=True, slots=True)
class Actor:
    """A user who makes a change, and the right that it takes.

    Args:
        user: None = the system, which may do everything.
        right: the right that the change takes.
        organization: in whose audit the change belongs; None = it concerns all organizations.
        membership: reads the user's membership in a transaction; None = only an operator may make the change.
    """

    user: str | None
    right: Right
    organization: str | None = None
    membership: Callable[[Connection], Membership | None] | None = None

    def __post_init__(self) -> None:
        """Refuse names that can't be stored. Raises `InvalidParameters`."""
        storable(organization=self.organization, user=self.user)

    def change(
        self, database: Database, action: str, work: Work[T], *, of: Scope = EVERYONE, also: Collection[Right] = ()
    ) -> T:
        """Make a change in one transaction: check the right, do the work, and write the audit entry.

        Args:
            action: its name in the audit, for example "members.add".
            also: as for `refuse_unless_may`.

        Raises:
            PermissionDenied, and what `work` raises. Nothing was changed then.
        """
        return database.write(self.changing(database.clock, action, work, also=also), of=of)

    def changing(
        self, clock: Clock, action: str, work: Work[T], *, full: bool = False, also: Collection[Right] = ()
    ) -> Callable[[Connection], T]:
        """Return the function that `change` runs in its transaction."""

        def changed(connection: Connection) -> T:
            self.refuse_unless_may(connection, full=full, also=also)
            done, told = work(connection)
            if told is not None:
                now, actor = told.at or clock.now(connection), self.user or SYSTEM
                what = {"before": told.before, "after": told.after}
                audit.record(connection, now, self.organization, actor, action, told.subject, **what)
            return done

        return changed

    def refuse_unless_may(self, connection: Connection, *, full: bool = False, also: Collection[Right] = ()) -> None:
        """Refuse a change if the user does not have the right now.

        Args:
            full: whether the change takes an admin or operator, beside the right.
            also: further rights that an operator needs, for example those that they grant to another user.

        Raises:
            PermissionDenied
        """
        if self.user is None or is_trusted():
            return
        holder = credentials.find_rights(connection, self.user)
        everywhere = _rights_everywhere(holder)
        if self.organization is None or self.membership is None:
            for one in (self.right, *also):
                if one not in (everywhere or ()):
                    raise _lost(self.user, one)
            return
        member = self.membership(connection)
        principal = Principal(self.user, "", operator_rights=everywhere)
        role, permissions = (member.role, member.permissions) if member is not None else (None, frozenset[str]())
        found = access(principal, self.organization, role, permissions)
        may = found is not None and self.right in found.rights and (found.is_full or not full)
        if _is_disabled(holder) or not may:
            raise _lost(self.user, self.right)


def operator_rights(row: AnyRow) -> frozenset[Right] | None:
    """Return the rights that a row of a user, or of a session with its user, gives in every organization."""
    return OPERATOR_RIGHTS | rights_of(json.loads(row.rights)) if row.is_operator else None


def _rights_everywhere(holder: AnyRow | None) -> frozenset[Right] | None:
    """Return an operator's rights in every organization; None if the user is no operator, or does not act as one."""
    if holder is None or _is_disabled(holder) or not acts_as_operator():
        return None
    return operator_rights(holder)


def _is_disabled(holder: AnyRow | None) -> bool:
    return holder is not None and holder.disabled_at is not None


def _lost(user: str, right: Right) -> PermissionDenied:
    return PermissionDenied(f"{user} may not do this any more: the right {right} was taken from them meanwhile.")
