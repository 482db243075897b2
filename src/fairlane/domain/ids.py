"""Ids of jobs as callers give them."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from fairlane.domain.errors import InvalidParameters, JobNotFound
from fairlane.domain.organizations import require_organization
from fairlane.domain.texts import storable

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def first_id(at: datetime) -> UUID:
    """The least UUIDv7 of a moment: an id has the moment in it when it was drawn."""
    return UUID(int=max((at - _EPOCH) // timedelta(milliseconds=1), 0) << 80)


def job_id_of(job_id: UUID | str, organization: str) -> UUID:
    """An id as UUID.

    Raises:
        JobNotFound: it is text, but no UUID, so no job has it.
        InvalidParameters: it is neither UUID nor text, but maybe the job itself; or no organization has such an id.
    """
    require_organization(organization)
    storable(organization=organization)
    if isinstance(job_id, UUID):
        return job_id
    if not isinstance(job_id, str):
        raise InvalidParameters(f"job_id must be a UUID or its text, not of type {type(job_id).__name__}; pass job.id.")
    try:
        return UUID(job_id)
    except ValueError:
        raise JobNotFound(
            f"Organization {organization} has no job {job_id:.80}; the whole id is needed here, as job.id has it."
        ) from None


def job_not_found(job_id: UUID | str, organization: str) -> JobNotFound:
    """The error for an id that the organization does not have, be it unknown or foreign."""
    return JobNotFound(f"Organization {organization} has no job {job_id!s:.80}.")
