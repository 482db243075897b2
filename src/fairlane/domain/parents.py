"""What becomes of a job that waits for parents when some of them have ended (R9)."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from fairlane.domain import transitions
from fairlane.domain.statuses import ENDED_BADLY, JobStatus, ParentPolicy
from fairlane.domain.transitions import Transition


class EndedParent(NamedTuple):
    """A parent in a terminal status."""

    id: UUID
    job_type: str
    status: JobStatus


class Fate(NamedTuple):
    """What becomes of the child; `culprit`: the parent among these that ended without completing."""

    transition: Transition
    culprit: EndedParent | None


def fate(
    policy: ParentPolicy, ended: Sequence[EndedParent], *, unmet: int, run_at: datetime, now: datetime
) -> Fate | None:
    """Return what becomes of a pending child; None: it waits on, for others or for its time.

    Args:
        ended: parents that have just ended.
        unmet: how many had not ended before them, themselves included.
    """
    culprit = next((parent for parent in ended if parent.status in ENDED_BADLY), None)
    if culprit is not None and policy is not ParentPolicy.RUN_ANYWAY:
        return Fate(_taken_down(policy, culprit, now), culprit)
    if unmet <= len(ended) and run_at <= now:
        return Fate(transitions.release(), culprit)
    return None


def _taken_down(policy: ParentPolicy, culprit: EndedParent, now: datetime) -> Transition:
    reason = f"parent {culprit.id} ({culprit.job_type}) ended as {culprit.status.replace('_', ' ')}"
    if policy is ParentPolicy.CANCEL:
        return transitions.cancel(JobStatus.PENDING, "system", reason, now)
    return transitions.take_down(culprit.job_type, reason, now)
