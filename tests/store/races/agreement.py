"""What must hold after every race: the execution log and the job's row tell the same story."""

from itertools import pairwise
from uuid import UUID

from sqlalchemy import select

from fairlane import Fairlane, Job, JobStatus
from fairlane.domain.statuses import TRANSITIONS
from fairlane.store.tables import jobs


def assert_log_agrees(fl: Fairlane, job: Job | UUID, organization: str = "acme") -> Job:
    """The job's log is a chain of legal transitions without a gap in its sequence, and ends in the row's status.

    Returns:
        The job as it is now.
    """
    now = fl.get(job.id if isinstance(job, Job) else job, organization=organization)
    log = fl.history(now.id, organization=organization)
    assert [entry.sequence for entry in log] == list(range(1, len(log) + 1))
    assert log[0].from_status is None
    for entry in log:
        assert (entry.from_status, entry.to_status) in TRANSITIONS
    for entry, following in pairwise(log):
        assert entry.to_status == following.from_status
        assert entry.attempt <= following.attempt
    assert log[-1].to_status == now.status
    assert sum(entry.to_status == JobStatus.RUNNING for entry in log) == now.attempt
    return now


def assert_all_logs_agree(fl: Fairlane) -> None:
    """The same of every job in the database."""
    everything = select(jobs.c.organization_id, jobs.c.id)
    for organization, job_id in fl.database.read(lambda connection: connection.execute(everything).all()):
        assert_log_agrees(fl, job_id, organization)


def steps(fl: Fairlane, job: Job | UUID, organization: str = "acme") -> list[JobStatus]:
    """The statuses that the log says the job went through, in order."""
    key = job.id if isinstance(job, Job) else job
    return [entry.to_status for entry in fl.history(key, organization=organization)]
