"""Assert after every race that the execution log and the job's row tell the same story."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import select

from fairlane import Fairlane, Job, JobStatus
from fairlane.domain.statuses import TRANSITIONS
from fairlane.store.statements.rows import select_whole
from fairlane.store.tables import execution_log


def assert_log_agrees(fl: Fairlane, job: Job | UUID, organization: str = "acme") -> Job:
    """The job's log is a chain of legal transitions without a gap in its sequence, and ends in the row's status.

    Returns:
        The job as it is now.
    """
    now = fl.get(job.id if isinstance(job, Job) else job, organization=organization)
    _check(now, fl.history(now.id, organization=organization))
    return now


def assert_all_logs_agree(fl: Fairlane) -> None:
    """The same of every job in the database, with a look at their tables; no log is left of a job that is gone."""
    with fl.database.engine.begin() as connection:
        rows = {(row.organization_id, row.id): row for row in connection.execute(select_whole())}
        in_order = execution_log.c.organization_id, execution_log.c.job_id, execution_log.c.sequence
        log = connection.execute(select(execution_log).order_by(*in_order)).all()
    for key, entries in groupby(log, key=lambda entry: (entry.organization_id, entry.job_id)):
        _check(rows.pop(key), list(entries))
    assert not rows, "jobs without a log"


def _check(job: Any, log: Sequence[Any]) -> None:
    assert [entry.sequence for entry in log] == list(range(1, len(log) + 1))
    assert log[0].from_status is None
    for entry in log:
        assert (entry.from_status, entry.to_status) in TRANSITIONS
    for entry, following in pairwise(log):
        assert entry.to_status == following.from_status
        assert entry.attempt <= following.attempt
    assert log[-1].to_status == job.status
    assert sum(entry.to_status == JobStatus.RUNNING for entry in log) == job.attempt


def steps(fl: Fairlane, job: Job | UUID, organization: str = "acme") -> list[JobStatus]:
    """The statuses that the log says the job went through, in order."""
    key = job.id if isinstance(job, Job) else job
    return [entry.to_status for entry in fl.history(key, organization=organization)]
