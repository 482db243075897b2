"""Compare the outcomes of the planned jobs with the expected ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # for the annotations only: comparing needs no engine
    from uuid import UUID

    from fairlane import JobStatus


class JobView(Protocol):
    """The part of a job that is looked at."""

    @property
    def id(self) -> UUID: ...
    @property
    def status(self) -> JobStatus: ...
    @property
    def progress(self) -> float | None: ...
    @property
    def error_message(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Planned:
    """A submitted job of the plan. `cancel_at`: cancel it, as `user`, once its progress reaches so many percent."""

    job_id: UUID
    organization: str
    user: str
    name: str
    job_type: str
    expected: JobStatus
    cancel_at: int | None = None


def verdict(planned: Iterable[Planned], jobs: Iterable[JobView]) -> list[str]:
    """Return a sentence for each job that did not end as planned; no sentence, all well."""
    found = {job.id: job for job in jobs}
    return [sentence for plan in planned if (sentence := _mismatch(plan, found.get(plan.job_id)))]


def due_for_cancel(planned: Iterable[Planned], jobs: Iterable[JobView]) -> list[Planned]:
    """Return the jobs that have got as far as the plan lets them.

    A job stays in the list until its status changes.
    """
    found = {job.id: job for job in jobs}
    return [plan for plan in planned if plan.cancel_at is not None and _reached(plan.cancel_at, found.get(plan.job_id))]


def _mismatch(plan: Planned, job: JobView | None) -> str | None:
    who = f"{plan.organization}: {plan.name} ({plan.job_type})"
    if job is None:
        return f"{who} was submitted and is not to be found."
    if job.status == plan.expected:
        return None
    because = f": {job.error_message}" if job.error_message else ""
    return f"{who} should be {plan.expected} and is {job.status}{because}."


def _reached(percent: int, job: JobView | None) -> bool:
    return job is not None and (job.progress or 0) >= percent
