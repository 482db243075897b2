"""Reads of the audit: `fl.audit`."""

from collections.abc import Iterator
from uuid import UUID

from fairlane.domain.accounts import AuditEntry
from fairlane.domain.arguments import LARGEST_PAGE, page_size
from fairlane.domain.secrets import shown_object
from fairlane.domain.texts import storable
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import audit as statements
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Directory
from fairlane.tenancy.tenants import Tenants


class Audit:
    """Reads of the audit, newest first. Each change writes its own entry, and nobody can change an entry."""

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._tenants = Tenants(database, directory)

    def list(
        self, *, organization: str | None, subject: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> tuple[AuditEntry, ...]:
        """Return a page of entries.

        Args:
            organization: of the entries; None = entries that concern all organizations, for operators.
            subject: only entries about it: the id of a job, token or worker, a member, a queue, a job type.
            before: the id of the last entry of the page before.
            limit: 1 to 1000.

        Raises:
            OrganizationNotFound, InvalidParameters
        """
        limit = page_size(limit)
        storable(organization=organization, subject=subject)
        # An export ends with an empty page, of an organization that an earlier page has found.
        read = self._tenants.read if before is None else self._database.read
        rows = read(
            lambda c: statements.page(c, organization, subject=subject, before=before, limit=limit),
            of=organization or EVERYONE,
        )
        return tuple(map(_entry, rows))

    def export(self, *, organization: str | None) -> Iterator[AuditEntry]:
        """Yield all entries, newest first, read a page at a time."""
        before = None
        while page := self.list(organization=organization, before=before, limit=LARGEST_PAGE):
            yield from page
            before = page[-1].id


def _entry(row: AnyRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        organization=row.organization_id or None,
        at=row.at,
        actor=row.actor,
        origin=row.origin,
        action=row.action,
        subject=row.subject,
        before=shown_object(row.before, "before", by_name=False) if row.before is not None else None,
        after=shown_object(row.after, "after", by_name=False) if row.after is not None else None,
    )
