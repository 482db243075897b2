"""What kinds of reasons there are for a job not to run (R20)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from fairlane.domain.jobs import Job


class ReasonCode(StrEnum):
    """What kind of reason it is, for programs; people read the sentence."""

    MAINTENANCE = "maintenance"
    WAITS_FOR_PARENTS = "waits_for_parents"
    SCHEDULED = "scheduled"
    WAITS_FOR_RETRY = "waits_for_retry"
    BEING_MADE_READY = "being_made_ready"
    ORGANIZATION_SUSPENDED = "organization_suspended"
    ORGANIZATION_DELETED = "organization_deleted"
    PERMISSION_LOST = "permission_lost"
    DIRECTORY_AWAY = "directory_away"
    ORGANIZATION_PAUSED = "organization_paused"
    JOB_TYPE_PAUSED = "job_type_paused"
    QUEUE_PAUSED = "queue_paused"
    ORGANIZATION_MAX_RUNNING = "organization_max_running"
    JOB_TYPE_MAX_RUNNING = "job_type_max_running"
    JOB_TYPE_MAX_RUNNING_IN_ORGANIZATION = "job_type_max_running_in_organization"
    JOB_TYPE_EXECUTION_RATE = "job_type_execution_rate"
    JOB_TYPE_EXECUTION_RATE_IN_ORGANIZATION = "job_type_execution_rate_in_organization"
    LIMIT_HELD = "limit_held"
    BREAKER_OPEN = "breaker_open"
    BREAKER_TRIAL = "breaker_trial"
    NO_WORKER = "no_worker"
    NO_WORKER_FOR_QUEUE = "no_worker_for_queue"
    NO_WORKER_FOR_JOB_TYPE = "no_worker_for_job_type"
    WORKERS_STOPPING = "workers_stopping"
    NO_WORKER_WITH_KEY = "no_worker_with_key"
    SLOTS_TAKEN = "slots_taken"
    NOTHING_BLOCKS = "nothing_blocks"
    WORKER_LOST = "worker_lost"
    CANCEL_REQUESTED = "cancel_requested"
    IS_RUNNING = "is_running"
    HAS_ENDED = "has_ended"
    PARENT_DELETED = "parent_deleted"


# Places in a lane are counted no further: this number stands for "here or later".
LAST_PLACE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that decides what happens to the job. `commands` do on a command line what the sentence advises."""

    code: ReasonCode
    sentence: str
    commands: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """Return the sentence and its commands, for who has a command line."""
        if not self.commands:
            return self.sentence
        return f"{self.sentence.removesuffix('.')}: {', '.join(f'`{command}`' for command in self.commands)}."


def number_in_lane(job: Job, place: int) -> str:
    """Return a job's place in its lane within a sentence, without the word, which its readers do not know."""
    number = f"number {place:,}{' or later' if place >= LAST_PLACE else ''}"
    return f"{number} of {job.organization}'s {job.job_type} jobs in queue {job.queue}"


def time_of(moment: datetime) -> str:
    """Return a moment within a sentence."""
    return f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname() or ''}".rstrip()
