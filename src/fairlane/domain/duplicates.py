"""Which earlier job a submission may take the place of (R3)."""

from fairlane.domain.statuses import WAITING, JobStatus


def may_replace(status: JobStatus, submitted_by: str | None, *, user: str | None, may_replace_all: bool) -> bool:
    """Return True if an identical job may be canceled for a new one: it has not started, and is theirs to cancel.

    Args:
        status: of the earlier job, whose user is `submitted_by`.
        user: who submits the new one.
        may_replace_all: whether they may cancel others' jobs, too.
    """
    return status in WAITING and (may_replace_all or submitted_by == user)
