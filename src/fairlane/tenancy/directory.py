"""Directories of organizations and members: the protocol for host applications, and the built-in directory."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from sqlalchemy import Connection

from fairlane.domain.errors import OrganizationSuspended
from fairlane.domain.origin import acts_as_operator
from fairlane.domain.permissions import Access, Principal, access
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.domain.texts import ORGANIZATION_IDS, PLATFORM, USER_IDS, is_storable
from fairlane.store.statements import credentials
from fairlane.store.statements import organizations as statements
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database


@dataclass(frozen=True, slots=True)
class Membership:
    """A user's membership in an organization. Job types may require `permissions`; an admin has them all."""

    role: Role
    permissions: frozenset[str] = frozenset()

    def may_submit(self, permission: str | None) -> bool:
        """Return True if this member may submit a type that requires `permission`."""
        if self.role is Role.VIEWER:
            return False
        return permission is None or self.role is Role.ADMIN or permission in self.permissions


@lru_cache(1024)
def roles_for(permission: str | None) -> tuple[Role, ...]:
    """Return the roles that may submit a job type that requires `permission`, without holding it themselves."""
    return tuple(role for role in Role if Membership(role).may_submit(permission))


@dataclass(frozen=True, slots=True)
class Standing:
    """An organization's status, weight (1 or more: its share beside others), and limits: None = unlimited, 0 = none."""

    status: OrganizationStatus
    max_live_jobs: int | None = None
    max_running: int | None = None
    weight: int = 1


# The platform has the weight of one organization, and no limits.
OF_PLATFORM: Final = Standing(OrganizationStatus.ACTIVE)


class Directory(Protocol):
    """A host application's own users and organizations. Fairlane asks in bulk: once per submission, once per claim.

    It is never asked about the platform, whose users are Fairlane's operators.

    Both methods may raise: then jobs wait, and submissions raise `StorageUnavailable`. Only a definite no ends a job:
    an id that is missing from the answer. An answer of a wrong form makes jobs wait, too, and submissions raise
    `ConfigurationError`. Workers cache answers for `directory_max_age` seconds (5 by default), but never a no.

    Several threads may call the methods at once.
    """

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        """Return the standing of each organization that exists; omit the others."""

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        """Return those of the (organization, user) pairs that are members."""


class StoredDirectory:
    """The built-in directory, in Fairlane's own tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        """Return those of the organizations that exist and are not deleted."""
        known = self._database.look(lambda connection: standings(connection, ids), of=set(ids))
        return {one: standing for one, standing in known.items() if standing.status is not OrganizationStatus.DELETED}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        """Return those of the (organization, user) pairs that are members."""
        return self._database.look(
            lambda connection: memberships(connection, pairs), of={organization for organization, _ in pairs}
        )


def access_of(directory: Directory, principal: Principal, organization: str) -> Access | None:
    """Return what the principal may do in the organization now; None = nothing, as if it did not exist."""
    if organization == PLATFORM:
        return access(principal, organization, None)
    # An id that no organization can have is not looked up: a database may be unable to store it.
    if not ORGANIZATION_IDS.fits(organization) or not is_storable(organization) or not USER_IDS.fits(principal.user):
        return None
    standing = directory.organizations([organization]).get(organization)
    pair = (organization, principal.user)
    membership = directory.members([pair]).get(pair)
    if standing is None or standing.status is OrganizationStatus.DELETED:
        return None
    if membership is None:
        return access(principal, organization, None)
    return access(principal, organization, membership.role, membership.permissions)


def refuse_suspended(directory: Directory, organization: str) -> None:
    """Refuse results of a suspended organization: they are locked (R5).

    Raises:
        OrganizationSuspended
    """
    standing = directory.organizations([organization]).get(organization)
    if standing is not None and standing.status is OrganizationStatus.SUSPENDED:
        raise OrganizationSuspended(
            f"Organization {organization} is suspended; its results are locked until it is active."
        )


def standings(connection: Connection, ids: Collection[str]) -> dict[str, Standing]:
    """Return those of the organizations that exist, even deleted ones, within an open transaction."""
    found = {row.id: standing_of(row) for row in statements.find(connection, ids)}
    return found | {PLATFORM: OF_PLATFORM} if PLATFORM in ids else found


def standing_of(row: AnyRow) -> Standing:
    """Return the standing of an organization from its row."""
    return Standing(OrganizationStatus(row.status), row.max_live_jobs, row.max_running, row.weight)


def locked_membership(connection: Connection, organization: str, user: str) -> Membership | None:
    """Return a membership, locked until this transaction ends; None if the user is no member."""
    row = statements.lock_member(connection, organization, user)
    return stored_membership(row.role, row.permissions) if row is not None else None


def memberships(connection: Connection, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], Membership]:
    """Return these members, read in an open transaction. Operators are the platform's admins."""
    found = {
        (row.organization_id, row.user_id): member
        for row in statements.find_members(connection, pairs)
        if (member := stored_membership(row.role, row.permissions)) is not None
    }
    of_platform = [pair for pair in pairs if pair[0] == PLATFORM]
    return found | {pair: Membership(Role.ADMIN) for pair in of_platform if is_operator(connection, pair[1])}


def is_operator(connection: Connection, user: str | None) -> bool:
    """Return True if the user is an operator, and acts as one here."""
    holder = credentials.find_rights(connection, user) if user is not None and USER_IDS.fits(user) else None
    return holder is not None and holder.is_operator and holder.disabled_at is None and acts_as_operator()


@lru_cache(1024)
def stored_membership(role: str, permissions: str) -> Membership | None:
    """Return the membership of a row; None, as for no member, if somebody wrote unreadable values into the row.

    Such a row must not keep other jobs of the same claim from starting.
    """
    try:
        return Membership(Role(role), frozenset(json.loads(permissions)))
    except (ValueError, TypeError, RecursionError):
        return None
