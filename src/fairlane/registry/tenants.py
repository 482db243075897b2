"""`Tenants`: reads within one organization, which tell an unknown organization from one that has nothing."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from sqlalchemy import Connection

from fairlane.domain.errors import (
    BulkActionNotFound,
    FairlaneError,
    JobNotFound,
    OrganizationNotFound,
    ScheduleNotFound,
    remedied,
)
from fairlane.domain.jobs import Page
from fairlane.domain.metrics import JobCounts, Metrics
from fairlane.domain.organizations import require_organization
from fairlane.domain.texts import storable
from fairlane.domain.timeline import Timeline
from fairlane.registry.directory import Directory, StoredDirectory
from fairlane.store.row_security import EVERYONE, Everyone
from fairlane.store.statements import organizations
from fairlane.store.transaction import Database

T = TypeVar("T")


class Tenants:
    """Run the read verbs of one database, and ask its directory where there was nothing to read."""

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._directory = directory

    def read(self, work: Callable[[Connection], T], *, of: str | Everyone) -> T:
        """Run `work` in a read transaction that is open to the organization's rows, or to everybody's.

        What is found proves that its organization is there. So the directory is asked only where nothing was found.

        Raises:
            OrganizationNotFound: nothing was found, and the directory has no such organization.
            InvalidParameters: no organization has such an id.
        """
        if isinstance(of, Everyone):
            return self._database.read(work, of=EVERYONE)
        require_organization(of)
        storable(organization=of)
        try:
            found = self._database.read(work, of=of)
        except (JobNotFound, ScheduleNotFound, BulkActionNotFound):
            self.require(of)
            raise
        if _is_empty(found):
            self.require(of)
        return found

    def require(self, organization: str) -> None:
        """Refuse an organization that is not there.

        One that was deleted here passes: what is left of it can be read. So does each while the host's directory does
        not answer.

        Raises:
            OrganizationNotFound
        """
        require_organization(organization)
        storable(organization=organization)
        if isinstance(self._directory, StoredDirectory):
            if not self._database.look(
                lambda connection: organizations.find(connection, [organization]), of=organization
            ):
                raise unknown(organization)
            return
        try:
            known = self._directory.organizations([organization])
        except FairlaneError:
            return
        if organization not in known:
            raise unknown(organization, is_stored=False)


def unknown(organization: str, *, is_stored: bool = True) -> OrganizationNotFound:
    """Return the error for an organization that is not there.

    Args:
        is_stored: whether Fairlane keeps the organizations, and not the host's directory.
    """
    if not is_stored:
        return OrganizationNotFound(
            f"There is no organization {organization!r}; the application's own directory says so."
        )
    error = OrganizationNotFound(f"There is no organization {organization!r}; create it.")
    return remedied(error, f"fl.organizations.create({organization!r})")


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
