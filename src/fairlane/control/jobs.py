"""Cancel, retry and delete a job; who may."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import IllegalTransition, JobNotFound, PermissionDenied
from fairlane.domain.jobs import Job
from fairlane.domain.statuses import TERMINAL, Role
from fairlane.registry.artifacts import ArtifactStorage
from fairlane.registry.directory import Directory, StoredDirectory, memberships
from fairlane.registry.job_types import Catalogue
from fairlane.store.statements import cancel, cleanup, dead_letters, rows
from fairlane.store.statements.transition import SYSTEM, lock_job
from fairlane.store.tables import AnyRow, jobs
from fairlane.store.transaction import Database


def job_id_of(job_id: UUID | str, organization: str) -> UUID:
    """An id as UUID.

    Raises:
        JobNotFound: it is no UUID, so no job has it.
    """
    if isinstance(job_id, UUID):
        return job_id
    try:
        return UUID(job_id)
    except ValueError:
        raise JobNotFound(f"Organization {organization} has no job {job_id:.80}.") from None


class JobControl:
    """The changing verbs on one job. `user=None` is the system, which may do all."""

    def __init__(
        self, database: Database, directory: Directory, catalogue: Catalogue, artifacts: ArtifactStorage
    ) -> None:
        self._database = database
        self._directory = directory
        self._catalogue = catalogue
        self._artifacts = artifacts

    def cancel(self, job_id: UUID | str, organization: str, *, user: str | None, reason: str) -> Job:
        """Cancel a waiting job at once, or ask a running one to stop.

        Raises:
            JobNotFound, IllegalTransition, PermissionDenied
        """
        key = job_id_of(job_id, organization)

        def work(connection: Connection) -> Job:
            self.check_change(connection, organization, key, user, "cancel")
            now = self._database.clock.now(connection)
            cancel.cancel(connection, now, organization, key, actor=user or SYSTEM, reason=reason)
            return self._read(connection, organization, key)

        return self._database.write(work)

    def retry(
        self,
        job_id: UUID | str,
        organization: str,
        *,
        user: str | None,
        parameters: Mapping[str, Any] | None = None,
        at: datetime | None = None,
    ) -> Job:
        """Queue a dead letter again, with a fresh count of retries, and revive the children that it took down.

        Args:
            parameters: to run it with instead of its own.
            at: not before this moment.

        Raises:
            JobNotFound, IllegalTransition, PermissionDenied, InvalidParameters
        """
        key = job_id_of(job_id, organization)

        def work(connection: Connection) -> Job:
            row = self.check_change(connection, organization, key, user, "retry")
            text = self._prepare(connection, row.job_type, parameters) if parameters is not None else None
            now = self._database.clock.now(connection)
            dead_letters.retry(connection, now, organization, key, actor=user or SYSTEM, parameters=text, at=at)
            return self._read(connection, organization, key)

        return self._database.write(work)

    def delete(self, job_id: UUID | str, organization: str, *, user: str | None) -> None:
        """Delete an ended job with all that is kept of it.

        Raises:
            JobNotFound, PermissionDenied
            IllegalTransition: it has not ended, or a live job depends on it.
        """
        key = job_id_of(job_id, organization)

        def work(connection: Connection) -> list[str]:
            row = self.check_change(connection, organization, key, user, "delete")
            if row.status not in TERMINAL:
                raise IllegalTransition(f"Job {key} is {row.status}; cancel it before you delete it.")
            if cleanup.has_live_child(connection, organization, key):
                raise IllegalTransition(f"A live job depends on job {key}; it can be deleted when that has ended.")
            return cleanup.delete_jobs(connection, organization, [key])

        for path in self._database.write(work):
            self._artifacts.delete(path)

    def _prepare(self, connection: Connection, job_type: str, parameters: Mapping[str, Any]) -> str:
        return self._catalogue.find(connection, [job_type])[job_type].schema.prepare(parameters).text

    def _read(self, connection: Connection, organization: str, job_id: UUID) -> Job:
        (job,) = rows.jobs_of(connection, organization, rows.select_jobs().where(jobs.c.id == job_id))
        return job

    def check_change(
        self, connection: Connection, organization: str, job_id: UUID, user: str | None, verb: str
    ) -> AnyRow:
        """The job's row, locked, if the user may change it: a member their own, an admin all.

        A stranger learns nothing: to them the job does not exist.
        """
        row = lock_job(connection, organization, job_id)
        membership = None
        if user is not None:
            pair = (organization, user)
            if isinstance(self._directory, StoredDirectory):
                membership = memberships(connection, [pair]).get(pair)
            else:
                membership = self._directory.members([pair]).get(pair)
        if row is None or (user is not None and membership is None):
            raise JobNotFound(f"Organization {organization} has no job {job_id}.")
        if membership is None or membership.role is Role.ADMIN:
            return row
        if membership.role is Role.MEMBER and row.submitted_by == user:
            return row
        raise PermissionDenied(
            f"{user} may not {verb} job {job_id}: it is not their own; ask an admin of {organization}."
        )
