"""What people may change of a job that has not started: when it may start, and how urgent it is. Pure."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from fairlane.domain import transitions
from fairlane.domain.errors import IllegalTransition
from fairlane.domain.statuses import WAITING, JobStatus, Priority
from fairlane.domain.transitions import Transition

# What to do with a job that does not wait any more.
_INSTEAD: Final[Mapping[JobStatus, str]] = MappingProxyType(
    {JobStatus.RUNNING: "let it end, or cancel it", JobStatus.DEAD_LETTER: "retry it"}
)


class Start(NamedTuple):
    """A job as far as its start goes. `is_ready`: a worker may claim it."""

    job_id: UUID
    status: JobStatus
    is_ready: bool
    unmet_parents: int
    run_at: datetime
    priority: Priority


def run_now(start: Start, now: datetime) -> Transition | None:
    """Let a job start at once; None: it may already.

    Raises:
        IllegalTransition: it has started, or it waits for parents.
    """
    _refuse_unless_waiting(start)
    if start.unmet_parents:
        few = start.unmet_parents == 1
        parents = "a parent that has" if few else f"{start.unmet_parents:,} parents that have"
        raise IllegalTransition(
            f"Job {start.job_id} waits for {parents} not ended, so it can't run now; "
            f"let the {'parent' if few else 'parents'} run first."
        )
    return None if start.is_ready else transitions.run_now(start.status, now)


def reschedule(start: Start, at: datetime, now: datetime) -> Transition | None:
    """Let a job start no earlier than `at`; a moment that has passed is now. None: so it does already.

    Raises:
        IllegalTransition: it has started.
    """
    _refuse_unless_waiting(start)
    if start.status is JobStatus.PENDING and start.run_at == at:
        return None
    if at > now or start.unmet_parents:
        return transitions.reschedule(start.status, max(at, now))
    return run_now(start, now)


def prioritize(start: Start, priority: Priority) -> Transition | None:
    """Give a job a priority; None: it has this one.

    Raises:
        IllegalTransition: it has started.
    """
    _refuse_unless_waiting(start)
    return None if priority is start.priority else transitions.prioritize(start.status, start.priority, priority)


def _refuse_unless_waiting(start: Start) -> None:
    if start.status not in WAITING:
        status, instead = start.status.replace("_", " "), _INSTEAD.get(start.status, "submit it anew")
        raise IllegalTransition(f"Job {start.job_id} is {status} and does not wait to start any more; {instead}.")
