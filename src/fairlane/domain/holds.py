"""What holds back all jobs of an organization, a job type or a queue, told of many jobs at once (R20).

A list reads it once and says it of each job that waits. All that there is to say of one job says `explain`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlane.domain.explain_facts import LiveWorker
from fairlane.domain.explain_limits import execution_rate_code, max_running_code
from fairlane.domain.jobs import Job
from fairlane.domain.limits import Limit, Subject, subjects_of
from fairlane.domain.reasons import ReasonCode
from fairlane.domain.statuses import WAITING, OrganizationStatus

# What can be paused, in the order in which it is named.
PAUSED: Final = {
    "organization": ReasonCode.ORGANIZATION_PAUSED,
    "job_type": ReasonCode.JOB_TYPE_PAUSED,
    "queue": ReasonCode.QUEUE_PAUSED,
}


@dataclass(frozen=True, slots=True)
class Holds:
    """What holds an organization's jobs back.

    `status` is the organization's, None: nobody knows it. `paused` holds pairs of what is paused and its name,
    `limits` those on it, `resting` job types whose breaker is open, `workers` those that live.
    """

    status: OrganizationStatus | None = None
    paused: Collection[tuple[str, str]] = frozenset()
    limits: Mapping[Subject, Limit] = field(default_factory=dict)
    resting: Collection[str] = frozenset()
    workers: Sequence[LiveWorker] = ()

    def on(self, job: Job) -> ReasonCode | None:
        """The first thing that holds a job back, whatever else it waits for; None: nothing of these."""
        if job.status not in WAITING:
            return None
        if self.status is OrganizationStatus.SUSPENDED:
            return ReasonCode.ORGANIZATION_SUSPENDED
        for subject, name in (("organization", job.organization), ("job_type", job.job_type), ("queue", job.queue)):
            if (subject, name) in self.paused:
                return PAUSED[subject]
        # One that is reached holds nobody back for long: the next starts when one has ended.
        for limited in subjects_of(job.organization, job.job_type):
            limit = self.limits.get(limited, Limit())
            if limit.max_running == 0:
                return max_running_code(limited)
            if limit.execution_rate == 0:
                return execution_rate_code(limited)
        if job.job_type in self.resting:
            return ReasonCode.BREAKER_OPEN
        return missing_worker(self.workers, job)


def missing_worker(workers: Sequence[LiveWorker], job: Job) -> ReasonCode | None:
    """The first thing that is missing on the way from any worker to one that may claim the job; None: there is one."""
    serving = [worker for worker in workers if worker.serves(job.queue)]
    able = [worker for worker in serving if job.job_type in worker.job_types]
    claiming = [worker for worker in able if not worker.stopping]
    with_key = [worker for worker in claiming if not worker.lacks_key]
    steps = (
        (workers, ReasonCode.NO_WORKER),
        (serving, ReasonCode.NO_WORKER_FOR_QUEUE),
        (able, ReasonCode.NO_WORKER_FOR_JOB_TYPE),
        (claiming, ReasonCode.WORKERS_STOPPING),
        (with_key, ReasonCode.NO_WORKER_WITH_KEY),
    )
    return next((code for left, code in steps if not left), None)
