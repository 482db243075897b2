"""Verbs about the organizations of the built-in directory: `fl.organizations`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from fairlane.domain import transitions
from fairlane.domain.accounts import Organization
from fairlane.domain.arguments import INHERIT, LARGEST_COUNT, Inheriting, Seconds, count, seconds
from fairlane.domain.errors import (
    ConfigurationError,
    KeptByHost,
    OrganizationExists,
    OrganizationNotFound,
    StorageUnavailable,
)
from fairlane.domain.jobs import JobState
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import JobStatus, OrganizationStatus
from fairlane.domain.texts import NEW_ORGANIZATION_IDS, Platform, storable
from fairlane.domain.timing import CENTURY
from fairlane.store.driver_errors import is_held_up
from fairlane.store.row_security import EVERYONE, Administered
from fairlane.store.statements import bulk_actions, dependencies, job_types, schedules
from fairlane.store.statements import organizations as statements
from fairlane.store.statements.transition import SYSTEM, write
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Actor, Told
from fairlane.tenancy.directory import OF_PLATFORM, Directory, Standing, StoredDirectory, standing_of
from fairlane.tenancy.pausing import Pausable, Pauses
from fairlane.tenancy.tenants import Tenants, unknown

_BATCH: Final = 500
# The stored values of an organization for which nothing was set.
_FIRST: Final[Mapping[str, Any]] = {
    "status": OrganizationStatus.ACTIVE,
    "weight": 1,
    **dict.fromkeys(("max_running", "max_live_jobs", "retention_seconds")),
}


class Organizations:
    """Create, change, suspend and delete organizations.

    If the application has its own `Directory`, Fairlane keeps only retention, names to show and pauses. A change of
    anything that the directory keeps raises `KeptByHost`.
    """

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._host = None if isinstance(directory, StoredDirectory) else directory
        self._tenants = Tenants(database, directory)
        self._pauses = Pauses(database, Pausable.ORGANIZATION)

    def create(
        self,
        organization: str,
        *,
        name: str | None = None,
        weight: int = 1,
        max_running: int | None = None,
        max_live_jobs: int | None = None,
        retention: Seconds | None = None,
        user: str | None = None,
    ) -> Organization:
        """Create an organization.

        Args:
            organization: its id: 1 to 140 printable characters, no comma, no slash, no `-` at its beginning, not `.` or
                `..`.
            weight: its share of running jobs, relative to other organizations: 1 or more.
            max_running, max_live_jobs: None = unlimited, 0 = none.
            retention: how long its ended jobs are kept, in seconds or as a timedelta. It overrides the job type's
                value. None = the job type's value, or else the setting.
            user: who creates the organization; None = the system.

        Raises:
            OrganizationExists, PermissionDenied: nothing was changed.
            ConfigurationError: the id is that of a deleted organization, or a value is wrong.
        """
        self._refuse_host("create it")
        if not NEW_ORGANIZATION_IDS.fits(organization):
            raise ConfigurationError(
                "An organization's id has 1 to 140 printable characters and not spaces alone, no comma and no slash, "
                "begins with no hyphen "
                f"and is neither '.' nor '..'; {organization!r:.160} does not fit."
            )
        storable(name=name)
        values = {
            **_FIRST,
            "id": organization,
            "name": name or organization,
            "weight": _weight(weight),
            "max_running": count("max_running", max_running),
            "max_live_jobs": count("max_live_jobs", max_live_jobs),
            "retention_seconds": _retention(retention),
        }

        def work(connection: Connection) -> tuple[None, Told]:
            now = self._database.clock.now(connection)
            if not statements.create(connection, {**values, "created_at": now}):
                (row,) = statements.find(connection, [organization])
                if row.status != OrganizationStatus.DELETED:
                    raise OrganizationExists(f"Organization {organization} is there already, and stays as it is.")
                raise ConfigurationError(
                    f"The id {organization} is that of an organization that was deleted; choose another one."
                )
            return None, Told(organization, after=values, at=now)

        actor = Actor(user, Right.ORGANIZATION_CHANGE, organization)
        actor.change(self._database, "organizations.create", work, of=Administered(organization))
        return self.get(organization)

    def get(self, organization: str) -> Organization:
        """Return one organization. An application's own directory gives the status and limits of its organizations.

        The platform can be read like an organization, but is in no list of organizations.

        Raises:
            OrganizationNotFound
        """
        if isinstance(organization, Platform):
            return replace(_public(organization, OF_PLATFORM, None, frozenset()), name="platform")
        self._tenants.check(organization)
        found = self._database.read(lambda connection: statements.find(connection, [organization]), of=organization)
        kept = {row.id: row for row in found if row.status != OrganizationStatus.DELETED}
        organizations = self._organizations(kept if self._host is None else {organization: None, **kept})
        if not organizations:
            raise self._unknown(organization)
        return organizations[0]

    def list(self) -> tuple[Organization, ...]:
        """Return all organizations, by id.

        If the application has its own directory, these are only the organizations for which Fairlane stores something.
        """
        kept = {row.id: row for row in self._database.read(statements.everyone, of=EVERYONE)}
        paused = () if self._host is None else self._pauses.names()
        return self._organizations({**dict.fromkeys(paused), **kept})

    def _organizations(self, kept: Mapping[str, AnyRow | None]) -> tuple[Organization, ...]:
        """Return the organizations that exist, by id, each with its stored values."""
        paused = self._pauses.names()
        if self._host is None:
            return tuple(_public(row.id, standing_of(row), row, paused) for row in kept.values() if row is not None)
        standings = self._host.organizations(kept.keys())
        return tuple(
            _public(one, standings[one], kept[one], paused)
            for one in sorted(standings)
            if standings[one].status is not OrganizationStatus.DELETED
        )

    def update(
        self,
        organization: str,
        *,
        name: str | None = None,
        weight: int | None = None,
        max_running: int | Inheriting | None = INHERIT,
        max_live_jobs: int | Inheriting | None = INHERIT,
        retention: Seconds | Inheriting | None = INHERIT,
        user: str | None = None,
    ) -> Organization:
        """Change the given values; the others stay. `create` explains each.

        Raises: OrganizationNotFound, ConfigurationError, PermissionDenied
        """
        storable(name=name)
        if weight is not None or max_running is not INHERIT or max_live_jobs is not INHERIT:
            self._refuse_host("change its weight and limits")
        values: dict[str, Any] = {"name": name} if name else {}
        if weight is not None:
            values["weight"] = _weight(weight)
        if max_running is not INHERIT:
            values["max_running"] = count("max_running", max_running)
        if max_live_jobs is not INHERIT:
            values["max_live_jobs"] = count("max_live_jobs", max_live_jobs)
        if retention is not INHERIT:
            values["retention_seconds"] = _retention(retention)
        if self._host is not None:
            self.get(organization)  # nothing is stored for an unknown organization
        if values:
            self._change(organization, values, user, "organizations.update")
        return self.get(organization)

    def suspend(self, organization: str, *, user: str | None = None) -> None:
        """Refuse its submissions, start none of its jobs, and lock its results. Running jobs finish.

        Raises:
            OrganizationNotFound
        """
        self._refuse_host("suspend it")
        self._change(organization, {"status": OrganizationStatus.SUSPENDED}, user, "organizations.suspend")

    def activate(self, organization: str, *, user: str | None = None) -> None:
        """End a suspension.

        Raises:
            OrganizationNotFound
        """
        self._refuse_host("activate it")
        self._change(organization, {"status": OrganizationStatus.ACTIVE}, user, "organizations.activate")

    def pause(self, organization: str, *, user: str | None = None, reason: str = "") -> None:
        """Start none of its jobs; submissions go on.

        Args:
            user, reason: who paused the organization, and why. Members who ask why their jobs wait see both (R20).

        Raises:
            InvalidParameters: a text that can't be stored.
            OrganizationNotFound, PermissionDenied
        """
        self._tenants.require(organization)
        self._pauses.pause(organization, user=user, reason=reason)

    def resume(self, organization: str, *, user: str | None = None) -> bool:
        """End a pause; False if there was none. Raises `OrganizationNotFound`, `PermissionDenied`."""
        self._tenants.check(organization)
        was_paused = self._pauses.resume(organization, user=user)
        if not was_paused:
            self._tenants.require(organization)
        return was_paused

    def delete(self, organization: str, *, user: str | None = None) -> None:
        """Delete an organization: its waiting jobs go to dead letter, running ones finish, its id stays taken.

        Its schedules and bulk actions are deleted, and its pause ends. A running job that would return to its queue,
        for example after a failure, goes to dead letter at once. A job whose row is locked goes to dead letter when a
        worker is about to start it. If an outage interrupted this call, repeat it.

        Raises:
            OrganizationNotFound: there is no such organization, nor a deleted one with waiting jobs.
        """
        self._refuse_host("delete it")
        self._tenants.check(organization)
        gone = {"status": OrganizationStatus.DELETED}
        is_found = self._try_to_change(organization, gone, user, "organizations.delete")
        self._wait_for_ends(organization)
        while self._database.write(
            lambda connection: self._dead_letter_waiting(connection, organization, user or SYSTEM),
            of=Administered(organization),
        ):
            is_found = True
        if not is_found:
            raise self._unknown(organization)

    def _wait_for_ends(self, organization: str) -> None:
        """Wait for transactions that end jobs by the organization's old status, to find the jobs that they queue."""
        try:
            self._database.write(lambda connection: statements.wait_for_ends(connection, organization), of=organization)
        except StorageUnavailable as error:
            if not is_held_up(error):
                raise
            # A host application may lock a job's live row for long. That job goes to dead letter when its turn comes.

    def _dead_letter_waiting(self, connection: Connection, organization: str, actor: str) -> int:
        now = self._database.clock.now(connection)
        ended = []
        for row in statements.waiting_jobs(connection, organization, _BATCH):
            transition = transitions.refuse(JobStatus(row.status), transitions.ORGANIZATION_GONE, now)
            if write(connection, now, organization, row.id, transition, actor=actor) is not None:
                ended.append(JobState(organization, row.id, row.job_type, transition.target))
        dependencies.settle(connection, now, ended)
        return len(ended)

    def _change(self, organization: str, values: dict[str, Any], user: str | None, action: str) -> None:
        if not self._try_to_change(organization, values, user, action):
            raise self._unknown(organization)
        self._database.hint()  # there may be capacity now

    def _try_to_change(self, organization: str, values: dict[str, Any], user: str | None, action: str) -> bool:
        is_deleting = values.get("status") == OrganizationStatus.DELETED
        self._tenants.check(organization)

        def work(connection: Connection) -> tuple[bool, Told | None]:
            now = self._database.clock.now(connection)
            if self._host is not None:
                statements.create(connection, {**_FIRST, "id": organization, "name": organization, "created_at": now})
            found = statements.find(connection, [organization])
            if not statements.change(connection, organization, values):
                return False, None
            if is_deleting:
                job_types.resume(connection, Pausable.ORGANIZATION, organization)
                schedules.remove_all(connection, organization)
                bulk_actions.remove_all(connection, organization)
            before = {name: getattr(found[0], name) for name in values}
            return True, Told(organization, before, values, at=now)

        # Admins may change an organization's name. Only operators may change its limits and status.
        actor = Actor(user, Right.ORGANIZATION_CHANGE, organization)
        if values.keys() <= {"name"}:
            actor = self._tenants.actor(organization, user, Right.ORGANIZATION_CHANGE)
        # A deletion ends pauses, and only an operator's transaction may change their rows.
        return actor.change(self._database, action, work, of=EVERYONE if is_deleting else Administered(organization))

    def _refuse_host(self, what: str) -> None:
        if self._host is not None:
            raise KeptByHost(f"The application's own directory keeps the organizations; {what} there.")

    def _unknown(self, organization: str) -> OrganizationNotFound:
        kept = self._database.look(lambda connection: statements.find(connection, [organization]), of=organization)
        return unknown(organization, is_stored=self._host is None, was_deleted=bool(kept))


def _retention(retention: Seconds | None) -> float | None:
    if retention is None:
        return None
    number = seconds("retention", retention)
    if number > CENTURY:
        raise ConfigurationError(f"retention must be at most 100 years, not {number:g} s.")
    return number


def _weight(weight: object) -> int:
    if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= LARGEST_COUNT:
        raise ConfigurationError(f"weight must be a whole number from 1 to {LARGEST_COUNT}, not {weight!r:.80}.")
    return weight


def _public(organization: str, standing: Standing, kept: AnyRow | None, paused: frozenset[str]) -> Organization:
    """Return the public value of an organization. `kept`: its row; an application's own organization may have none."""
    return Organization(
        id=organization,
        name=kept.name if kept is not None else organization,
        status=standing.status,
        weight=standing.weight,
        max_running=standing.max_running,
        max_live_jobs=standing.max_live_jobs,
        retention=kept.retention_seconds if kept is not None else None,
        paused=organization in paused,
        created_at=kept.created_at if kept is not None else None,
    )
