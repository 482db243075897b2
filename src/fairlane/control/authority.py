"""Whether whoever changes something still may, asked in the transaction of the change.

Who sent a request was asked for their rights before, and may have lost them meanwhile. Code that calls a verb itself is
trusted, and not asked: there `by` only says whom the audit is to name.
"""

import json

from sqlalchemy import Connection

from fairlane.domain.errors import PermissionDenied
from fairlane.domain.origin import acts_as_operator
from fairlane.domain.permissions import OPERATOR_RIGHTS, Access, Principal, Right, access, rights_of
from fairlane.registry.directory import memberships
from fairlane.store.statements import credentials
from fairlane.store.tables import AnyRow


def operator_rights(row: AnyRow) -> frozenset[Right] | None:
    """What a row of users, or of a session with its user, gives in every organization."""
    return OPERATOR_RIGHTS | rights_of(json.loads(row.rights)) if row.is_operator else None


def is_acting_operator(connection: Connection, user: str) -> bool:
    """Whether the user is an operator, and acts as one here."""
    return _acting_rights(credentials.find_rights(connection, user)) is not None


def refuse_unless_may(
    connection: Connection, organization: str | None, user: str | None, right: Right | None, *, full: bool = False
) -> None:
    """Refuse a change by somebody who does not have the right now.

    Args:
        organization: where; None = in all of them, which takes an operator.
        user: who; None = the system, which may.
        right: which; None = trusted code, which is not asked.
        full: whether it takes an admin or operator, beside the right.

    Raises:
        PermissionDenied
    """
    if user is None or right is None:
        return
    holder = credentials.find_rights(connection, user)
    is_disabled = holder is not None and holder.disabled_at is not None
    rights = _acting_rights(holder)
    principal = Principal(user, "", operator_rights=rights)
    if organization is None:
        may = right in (rights or ())
    else:
        found = _access(connection, principal, organization)
        may = found is not None and right in found.rights and (found.is_full or not full)
    if is_disabled or not may:
        raise PermissionDenied(f"{user} may not do this any more: the right {right} was taken from them meanwhile.")


def _acting_rights(holder: AnyRow | None) -> frozenset[Right] | None:
    """What they may in every organization, as an operator; None: they are none, or don't act as one here."""
    if holder is None or holder.disabled_at is not None or not acts_as_operator():
        return None
    return operator_rights(holder)


def _access(connection: Connection, principal: Principal, organization: str) -> Access | None:
    pair = (organization, principal.user)
    membership = memberships(connection, [pair]).get(pair)
    if membership is None:
        return access(principal, organization, None)
    return access(principal, organization, membership.role, membership.permissions)
