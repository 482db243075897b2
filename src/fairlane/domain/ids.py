"""Ids of jobs as callers give them."""

from typing import TypeAlias
from uuid import UUID

from fairlane.domain.errors import InvalidParameters, JobNotFound, JobTypeNotFound
from fairlane.domain.jobs import Job
from fairlane.domain.texts import require_organization, storable

JobOrId: TypeAlias = Job | UUID | str


def job_id_of(job: JobOrId, organization: str) -> UUID:
    """Return the id of a job that is named by itself or by its id.

    Raises:
        JobNotFound: it is text, but no UUID, so no job has it.
        InvalidParameters: it is neither a job nor an id; or no organization has such an id.
    """
    require_organization(organization)
    storable(organization=organization)
    if isinstance(job, UUID):
        return job
    if isinstance(job, Job):
        return job.id
    if not isinstance(job, str):
        raise InvalidParameters(f"Name a job by itself or by its id, such as job.id, not by a {type(job).__name__}.")
    try:
        return UUID(job)
    except ValueError:
        raise JobNotFound(
            f"Organization {organization} has no job {job:.80}; the whole id is needed here, as job.id has it."
        ) from None


def job_not_found(job_id: UUID | str, organization: str) -> JobNotFound:
    """Return the error for an id that the organization does not have, whether it is unknown or foreign."""
    return JobNotFound(f"Organization {organization} has no job {job_id!s:.80}.")


def job_type_not_found(name: str) -> JobTypeNotFound:
    """Return the error for a job type that no application or worker has registered."""
    return JobTypeNotFound(f"Job type {name:.200} is not registered; correct its name, or start a worker that has it.")
