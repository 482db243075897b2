"""Dead letters: `fl.dead_letters`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.arguments import page_size
from fairlane.domain.bulk import BulkVerb
from fairlane.domain.errors import IllegalTransition, InvalidParameters, JobNotFound, PermissionDenied
from fairlane.domain.jobs import (
    DeadLetter,
    DeadLetterGroup,
    Job,
    JobOrId,
    Page,
    RetriedGroup,
    decode_cursor,
    encode_cursor,
    job_id_of,
)
from fairlane.domain.sealing import Field, is_sealed
from fairlane.domain.statuses import JobStatus, Resolution
from fairlane.domain.texts import storable
from fairlane.encryption.keyring import Keyring, Shown
from fairlane.engine.jobs import JobControl
from fairlane.engine.system.bulk_work import check_pace
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import dead_letters as statements
from fairlane.store.statements.dead_letters import Group, WantedDeadLetters
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Directory
from fairlane.tenancy.tenants import Tenants

_BATCH = 500
# The most dead letters that are counted of a group, and the most groups that are shown of an organization.
_COUNTED = 10_000
_GROUPS_OF_ONE = 1000


class DeadLetters:
    """Look at dead letters, group them by error, retry them, and record decisions about them."""

    def __init__(self, database: Database, jobs: JobControl, keyring: Keyring, directory: Directory) -> None:
        self._database = database
        self._tenants = Tenants(database, directory, has_platform=True)
        self._jobs = jobs
        self._keyring = keyring

    def list(
        self,
        *,
        organization: str,
        resolution: Resolution | str | None = Resolution.PENDING,
        fingerprint: str | None = None,
        job_type: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[DeadLetter]:
        """Return dead letters, newest first.

        Args:
            resolution: None = with any decision.
            fingerprint: the error; together with `job_type` it names a group.
            limit: 1 to 1000.
            cursor: the `next_cursor` of the page before.

        Raises:
            OrganizationNotFound, InvalidParameters
        """
        limit = page_size(limit)
        storable(fingerprint=fingerprint, job_type=job_type)
        wanted = WantedDeadLetters(_resolution(resolution), fingerprint, job_type)
        before = decode_cursor(cursor) if cursor is not None else None

        def read(connection: Connection) -> Page[DeadLetter]:
            shown = self._keyring.shown(connection)
            rows = statements.page(connection, organization, wanted, before=before, limit=limit + 1)
            items, more = tuple(_dead_letter(row, shown) for row in rows[:limit]), len(rows) > limit
            following = encode_cursor(items[-1].entered_at, items[-1].job_id) if more else None
            return Page(items, following, statements.count(connection, organization, wanted))

        return self._tenants.read(read, of=organization)

    def groups(
        self,
        *,
        organization: str,
        resolution: Resolution | str | None = Resolution.PENDING,
        limit: int | None = None,
    ) -> tuple[DeadLetterGroup, ...]:
        """Return dead letters by job type and error, the largest group first.

        Args:
            limit: the most groups to return; None = all.

        Raises:
            OrganizationNotFound, InvalidParameters
        """
        wanted = _resolution(resolution)

        def read(connection: Connection) -> tuple[DeadLetterGroup, ...]:
            rows = statements.groups(connection, organization, resolution=wanted, limit=limit)
            # A sealed reason is bound to its job, which a group does not name: the reason of one of the jobs is enough.
            sealed = [(organization, UUID(row.one_id)) for row in rows if is_sealed(row.reason)]
            shown, letters = self._keyring.shown(connection), statements.dead_letters_of(connection, sealed)
            return tuple(
                _group(organization, row, letters.get((organization, UUID(row.one_id))), shown) for row in rows
            )

        return self._tenants.read(read, of=organization)

    def groups_of_all(self, *, limit: int = 20, cursor: str | None = None) -> Page[DeadLetterGroup]:
        """Return unresolved dead letters of all organizations by organization and error, newest first. For operators.

        An error that several job types have is one group here: its `job_type` and `reason` are those of its newest.
        Each group is counted to 10,000 at most, and an organization has 1,000 groups at most.

        Args:
            limit: 1 to 1000.
            cursor: the `next_cursor` of the page before.

        Raises:
            InvalidParameters
        """
        limit = page_size(limit)
        before = decode_cursor(cursor) if cursor is not None else None

        def read(connection: Connection) -> Page[DeadLetterGroup]:
            shown = self._keyring.shown(connection)
            found = statements.undecided_groups(
                connection, before=before, limit=limit + 1, up_to=_COUNTED + 1, most=_GROUPS_OF_ONE
            )
            last = found.page[limit - 1].newest if len(found.page) > limit else None
            return Page(
                tuple(_group_of_all(one, shown) for one in found.page[:limit]),
                encode_cursor(last.entered_at, last.job_id) if last is not None else None,
                found.total,
                total_is_capped=found.is_capped,
            )

        return self._database.read(read, of=EVERYONE)

    def retry(
        self,
        job: JobOrId,
        *,
        organization: str,
        user: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Job:
        """Queue a dead letter again, as `Fairlane.retry`."""
        return self._jobs.retry(job, organization, user=user, parameters=parameters)

    def retry_group(
        self,
        fingerprint: str,
        *,
        organization: str,
        job_type: str | None = None,
        user: str | None = None,
        per_second: float = 10.0,
    ) -> RetriedGroup:
        """Queue all unresolved dead letters of a group again, paced so that they don't fail together a second time.

        Args:
            job_type: of the group; None: of all types that have this error.
            per_second: the number of jobs that become ready each second.

        Returns:
            The counts of those queued, and of those refused as they are not the user's. A dead letter that somebody
            else has retried, deleted or decided about meanwhile is skipped. So is one whose parent is a dead letter:
            it follows when the parent is retried.

        Raises:
            JobNotFound: the user is not a member of the organization.
            OrganizationNotFound: there is none, or it was deleted.
            InvalidParameters: `fingerprint` is empty or None, which never means all; or `per_second` is out of range.
        """
        storable(fingerprint=fingerprint)
        if not (fingerprint and fingerprint.strip()):
            raise InvalidParameters(
                "fingerprint is empty; give the fingerprint of a group from fl.dead_letters.groups."
            )
        check_pace(BulkVerb.RETRY, per_second)
        start = self._database.read(self._database.clock.now)
        retried, refused, cursor = 0, 0, None
        while True:
            page = self.list(
                organization=organization, fingerprint=fingerprint, job_type=job_type, limit=_BATCH, cursor=cursor
            )
            for letter in page.items:
                at = start + timedelta(seconds=retried / per_second)
                try:
                    self._jobs.retry(letter.job_id, organization, user=user, at=at, same_since=start)
                except PermissionDenied:
                    refused += 1
                    continue
                except IllegalTransition:
                    continue  # another user was first, or has decided about it, or it follows its parent
                except JobNotFound:
                    if self._is_there(letter.job_id, organization):
                        raise  # the user is not a member
                    continue  # it was deleted meanwhile
                retried += 1
            if page.next_cursor is None:
                return RetriedGroup(retried, refused)
            cursor = page.next_cursor

    def resolve(self, job: JobOrId, *, organization: str, user: str | None = None, note: str | None = None) -> None:
        """Record that the cause was dealt with in another way.

        Raises:
            JobNotFound: it is no dead letter of the organization.
        """
        self._decide(job, organization, Resolution.RESOLVED, user, note)

    def ignore(self, job: JobOrId, *, organization: str, user: str | None = None, note: str | None = None) -> None:
        """Record that nothing needs to be done.

        Raises:
            JobNotFound: it is no dead letter of the organization.
        """
        self._decide(job, organization, Resolution.IGNORED, user, note)

    def delete(self, job: JobOrId, *, organization: str, user: str | None = None) -> None:
        """Delete the job with all its data, as `Fairlane.delete`.

        Args:
            user: an admin of the organization, or an operator; None = the system.

        Raises:
            JobNotFound, PermissionDenied, IllegalTransition
        """
        key = job_id_of(job, organization)
        if not self._is_there(key, organization):
            raise JobNotFound(f"Organization {organization} has no dead letter {key}.")
        self._jobs.delete(key, organization, user=user)

    def _is_there(self, job_id: UUID, organization: str) -> bool:
        return self._tenants.read(lambda c: statements.find(c, organization, job_id) is not None, of=organization)

    def _decide(
        self, job: JobOrId, organization: str, resolution: Resolution, user: str | None, note: str | None
    ) -> None:
        storable(note=note)

        def work(connection: Connection, row: AnyRow) -> None:
            # A job that was retried has left its entry behind, but is no dead letter any more.
            if row.status != JobStatus.DEAD_LETTER:
                raise JobNotFound(f"Organization {organization} has no dead letter {row.id}.")
            now = self._database.clock.now(connection)
            statements.resolve(connection, now, organization, row.id, resolution, actor=user or SYSTEM, note=note)

        verb = "ignore" if resolution is Resolution.IGNORED else "resolve"
        # A later decision replaces this note: then only the audit keeps it.
        told = {"resolution": resolution} | ({"note": note} if note is not None else {})
        self._jobs.change(job, organization, user, verb, work, after=told)


def _resolution(text: Resolution | str | None) -> Resolution | None:
    try:
        return Resolution(text) if text is not None else None
    except ValueError:
        raise InvalidParameters(f"resolution must be one of {', '.join(Resolution)}, not {text!r}.") from None


def _group(organization: str, row: AnyRow, letter: AnyRow | None, shown: Shown) -> DeadLetterGroup:
    reason = _reason(letter, shown) if letter is not None else row.reason
    return DeadLetterGroup(
        organization=organization,
        fingerprint=row.fingerprint,
        job_type=row.job_type,
        error_type=row.error_type,
        reason=reason,
        count=row.size,
        first_at=row.first_at,
        last_at=row.last_at,
        count_is_capped=False,
    )


def _group_of_all(group: Group, shown: Shown) -> DeadLetterGroup:
    newest = group.newest
    return DeadLetterGroup(
        organization=newest.organization_id,
        fingerprint=newest.fingerprint,
        job_type=newest.job_type,
        error_type=newest.error_type,
        reason=_reason(newest, shown),
        count=min(group.size, _COUNTED),
        first_at=group.first_at,
        last_at=newest.entered_at,
        count_is_capped=group.size > _COUNTED,
    )


def _dead_letter(row: AnyRow, shown: Shown) -> DeadLetter:
    return DeadLetter(
        job_id=row.job_id,
        organization=row.organization_id,
        job_type=row.job_type,
        reason=_reason(row, shown),
        error_type=row.error_type,
        fingerprint=row.fingerprint,
        entered_at=row.entered_at,
        resolution=Resolution(row.resolution),
        note=row.note,
        resolved_by=row.resolved_by,
        resolved_at=row.resolved_at,
        user=row.submitted_by,
        status=JobStatus(row.status),
        parent_deleted=row.parent_deleted_at is not None,
    )


def _reason(row: AnyRow, shown: Shown) -> str:
    return shown.text(row.organization_id, row.job_id, Field.REASON, row.reason) or ""
