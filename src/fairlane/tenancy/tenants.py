"""`Tenants`: reads and changes within one organization, with `OrganizationNotFound` for an unknown one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from fairlane.domain.errors import (
    BulkActionNotFound,
    FairlaneError,
    InvalidParameters,
    JobNotFound,
    OrganizationNotFound,
    PermissionDenied,
    ScheduleNotFound,
    remedied,
)
from fairlane.domain.jobs import Page
from fairlane.domain.metrics import JobCounts, Metrics
from fairlane.domain.origin import is_trusted
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import OrganizationStatus
from fairlane.domain.texts import Platform, require_organization, storable
from fairlane.domain.timeline import Timeline
from fairlane.store.row_security import EVERYONE, Administered, Everyone
from fairlane.store.statements import organizations
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Actor, Work
from fairlane.tenancy.directory import Directory, Membership, StoredDirectory, locked_membership, memberships

T = TypeVar("T")
_NOTHING_THERE = (JobNotFound, ScheduleNotFound, BulkActionNotFound)


class Tenants:
    """Run the verbs of a database, and ask its directory if there was nothing to read or to change.

    Args:
        has_platform: whether the verbs are about jobs, which the platform has, too.
    """

    def __init__(self, database: Database, directory: Directory, *, has_platform: bool = False) -> None:
        self._database = database
        self._directory = directory
        self._has_platform = has_platform

    @property
    def is_of_host(self) -> bool:
        """Return True if the application's own directory knows organizations and members."""
        return not isinstance(self._directory, StoredDirectory)

    def read(self, work: Callable[[Connection], T], *, of: str | Everyone) -> T:
        """Run `work` in a read transaction that sees the organization's rows, or all rows.

        Any row found proves that its organization exists. So the directory is asked only if nothing was found.

        Raises:
            OrganizationNotFound: nothing was found, and the directory has no such organization.
            InvalidParameters: no organization can have this id.
        """
        if isinstance(of, Everyone):
            return self._database.read(work, of=EVERYONE)
        self.check(of)
        try:
            found = self._database.read(work, of=of)
        except _NOTHING_THERE:
            self.require(of)
            raise
        if _is_empty(found):
            self.require(of)
        return found

    def write(self, work: Callable[[Connection], T], organization: str | None) -> T:
        """Run `work`, which changes existing rows, in a transaction.

        A changed row proves that its organization exists. So the directory is asked only if `work` returns False or
        raises a not-found error.

        Args:
            organization: whose rows the transaction sees; None = all rows.

        Raises:
            OrganizationNotFound: nothing was found, and the directory has no such organization.
        """
        if organization is not None:
            self.check(organization)
        try:
            done = self._database.write(work, of=EVERYONE if organization is None else Administered(organization))
        except _NOTHING_THERE:
            if organization is not None:
                self.require(organization)
            raise
        if done is False and organization is not None:
            self.require(organization)
        return done

    def change(
        self, action: str, work: Work[T], organization: str, user: str | None, right: Right, *, full: bool = False
    ) -> T:
        """Let `user` change something of the organization, by `Actor.change`, and ask the directory as `write` does.

        Args:
            full: whether the change takes an admin or operator, beside the right.

        Raises:
            PermissionDenied, OrganizationNotFound, StorageUnavailable
        """
        actor = self.actor(organization, user, right)
        return self.write(actor.changing(self._database.clock, action, work, full=full), organization)

    def actor(self, organization: str | None, user: str | None, right: Right) -> Actor:
        """Return the actor for a change in the organization; None = a change by an operator, for all organizations.

        A host's directory is asked now: that may take long, and no row is locked yet.

        Raises:
            InvalidParameters: a name can't be stored.
            StorageUnavailable: the host's directory does not answer.
        """
        actor = Actor(user, right, organization)
        if organization is not None:
            self.check(organization)
        if organization is None or is_trusted():
            return actor
        return replace(actor, membership=self.membership(organization, user))

    def membership(self, organization: str, user: str | None) -> Callable[[Connection], Membership | None]:
        """Return a function that reads a membership and locks it until its transaction ends; None = no member.

        A host's directory is asked now, as for `actor`.
        """
        if user is None:
            return lambda _: None
        if isinstance(organization, Platform):
            return lambda connection: memberships(connection, [(organization, user)]).get((organization, user))
        if not self.is_of_host:
            return lambda connection: locked_membership(connection, organization, user)
        membership = self._directory.members([(organization, user)]).get((organization, user))
        return lambda _: membership

    def check(self, organization: str) -> None:
        """Refuse an id that no organization can have, and the platform if these verbs are not for it.

        Raises:
            InvalidParameters
        """
        require_organization(organization)
        storable(organization=organization)
        if isinstance(organization, Platform) and not self._has_platform:
            raise InvalidParameters(
                "The platform is no organization: it has jobs and schedules, but no members, tokens, keys or settings. "
                "Operators look after its jobs; make an operator with fl.users."
            )

    def require(self, organization: str, *, deleted_too: bool = True) -> None:
        """Refuse an unknown organization.

        While the host's directory does not answer, every organization passes.

        Args:
            deleted_too: whether a deleted organization passes, so that its remains can be read and removed.

        Raises:
            OrganizationNotFound
        """
        self.check(organization)
        if isinstance(organization, Platform):
            return
        if not self.is_of_host:
            found = self._database.look(lambda c: organizations.find(c, [organization]), of=organization)
            if not found or (found[0].status == OrganizationStatus.DELETED and not deleted_too):
                raise unknown(organization, was_deleted=bool(found))
            return
        try:
            known = self._directory.organizations([organization])
        except FairlaneError:
            return
        standing = known.get(organization)
        if standing is None or (standing.status is OrganizationStatus.DELETED and not deleted_too):
            raise unknown(organization, is_stored=False)


def unknown(organization: str, *, is_stored: bool = True, was_deleted: bool = False) -> OrganizationNotFound:
    """Return the error for an unknown organization.

    Args:
        is_stored: whether Fairlane keeps the organizations, rather than the host's directory.
        was_deleted: whether the organization existed, and was deleted.
    """
    if not is_stored:
        return OrganizationNotFound(
            f"There is no organization {organization!r}; the application's own directory says so."
        )
    if was_deleted:
        return OrganizationNotFound(
            f"There is no organization {organization!r} any more: it was deleted, and its id stays taken; "
            "take another one."
        )
    error = OrganizationNotFound(f"There is no organization {organization!r}; create it.")
    return remedied(error, f"fl.organizations.create({organization!r})")


def no_member(user: str, organization: str, *, is_stored: bool = True) -> PermissionDenied:
    """Return the error for a user who is no member of the organization. `is_stored` is as in `unknown`."""
    if isinstance(organization, Platform):
        return PermissionDenied(
            f"{user or repr(user)} is no operator, and the platform's jobs are theirs alone; let an operator do it, or "
            "trusted code, which passes no user."
        )
    stranger = f"{user or repr(user)} is not a member of organization {organization}"
    if not is_stored:
        return PermissionDenied(f"{stranger}; the application's own directory says so.")
    return remedied(PermissionDenied(f"{stranger}; add them."), f"fl.members.add({organization!r}, {user!r})")


def _is_empty(found: object) -> bool:
    match found:
        case Page():
            return not found.items
        case Metrics():
            return _is_empty(found.jobs_by_status)
        case JobCounts():
            return _is_empty(found.by_status)
        case Timeline():
            return not any(one.submitted or one.completed or one.failed for one in found.steps)
        case Mapping():
            return not any(found.values())
        case _:
            return not found
