"""Who exists and who may what: a protocol for host applications, and the directory that Fairlane keeps itself."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from sqlalchemy import Connection

from fairlane.domain.errors import OrganizationSuspended
from fairlane.domain.permissions import Access, Principal, access
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.domain.texts import ORGANIZATION_IDS, USER_IDS, is_storable
from fairlane.store.statements import organizations as statements
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database


@dataclass(frozen=True, slots=True)
class Membership:
    """A user in an organization. `permissions` are names that job types may require; an admin has them all."""

    role: Role
    permissions: frozenset[str] = frozenset()

    def may_submit(self, permission: str | None) -> bool:
        """Return True if this member may submit a type that requires `permission`."""
        if self.role is Role.VIEWER:
            return False
        return permission is None or self.role is Role.ADMIN or permission in self.permissions


@lru_cache(1024)
def roles_for(permission: str | None) -> tuple[Role, ...]:
    """Return the roles that may submit what requires the permission, whatever other permissions a member has."""
    return tuple(role for role in Role if Membership(role).may_submit(permission))


@dataclass(frozen=True, slots=True)
class Standing:
    """How an organization stands, its share beside others' (1 or more), and its limits: None = unlimited, 0 = none."""

    status: OrganizationStatus
    max_live_jobs: int | None = None
    max_running: int | None = None
    weight: int = 1


class Directory(Protocol):
    """A host application's own users and organizations. Asked in bulk, once per submission and per claim batch.

    Both methods may raise: then jobs wait and submissions get `StorageUnavailable`; only a definite no, an id that is
    missing from the answer, ends a job. An answer of another form makes jobs wait, too; submissions get
    `ConfigurationError`. Workers keep answers for `directory_max_age` seconds (5 unless set otherwise), but never a no.

    They are called from threads, several at once.
    """

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        """Return those of the organizations that exist, with how they stand."""

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
    """Return what is open to the principal in the organization now; None: nothing, as if it were not there."""
    # What no organization can be called is not asked for: a database may not even store it.
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
    """Refuse results of a suspended organization, which are locked (R5).

    Raises:
        OrganizationSuspended
    """
    standing = directory.organizations([organization]).get(organization)
    if standing is not None and standing.status is OrganizationStatus.SUSPENDED:
        raise OrganizationSuspended(
            f"Organization {organization} is suspended; its results are locked until it is active."
        )


def standings(connection: Connection, ids: Collection[str]) -> dict[str, Standing]:
    """Return those of the organizations that exist, deleted ones too, in a transaction that is open already."""
    return {row.id: standing_of(row) for row in statements.find(connection, ids)}


def standing_of(row: AnyRow) -> Standing:
    """Return how an organization stands, by its row."""
    return Standing(OrganizationStatus(row.status), row.max_live_jobs, row.max_running, row.weight)


def locked_membership(connection: Connection, organization: str, user: str) -> Membership | None:
    """Return a membership that stays as it is until this transaction ends; None if they are no member."""
    row = statements.lock_member(connection, organization, user)
    return stored_membership(row.role, row.permissions) if row is not None else None


def memberships(connection: Connection, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], Membership]:
    """Do as `StoredDirectory.members` in a transaction that is open already."""
    return {
        (row.organization_id, row.user_id): member
        for row in statements.find_members(connection, pairs)
        if (member := stored_membership(row.role, row.permissions)) is not None
    }


@lru_cache(1024)
def stored_membership(role: str, permissions: str) -> Membership | None:
    """Return a membership as its row has it; None, as for no member, where nobody can read what somebody planted there.

    One such row must not keep others' jobs of the same claim from beginning.
    """
    try:
        return Membership(Role(role), frozenset(json.loads(permissions)))
    except (ValueError, TypeError, RecursionError):
        return None
