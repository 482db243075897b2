"""Ids of jobs as callers give them."""

from uuid import UUID

from fairlane.domain.errors import JobNotFound
from fairlane.domain.texts import storable


def job_id_of(job_id: UUID | str, organization: str) -> UUID:
    """An id as UUID.

    Raises:
        JobNotFound: it is no UUID, so no job has it.
        InvalidParameters: no organization has such an id.
    """
    storable(organization=organization)
    try:
        return job_id if isinstance(job_id, UUID) else UUID(job_id)
    except (AttributeError, TypeError, ValueError):
        raise job_not_found(job_id, organization) from None


def job_not_found(job_id: UUID | str, organization: str) -> JobNotFound:
    """The error for an id that the organization does not have, be it unknown, foreign or no id at all."""
    return JobNotFound(f"Organization {organization} has no job {job_id!s:.80}.")
