"""R3: whose waiting job a submission may take the place of."""

import pytest

from fairlane.domain.permissions import may_replace
from fairlane.domain.statuses import WAITING, JobStatus


@pytest.mark.parametrize("status", JobStatus)
def test_r3_only_what_has_not_started_is_replaced(status: JobStatus) -> None:
    assert may_replace(status, "ana", user="ana", may_replace_all=True) is (status in WAITING)


@pytest.mark.parametrize(
    ("submitted_by", "user", "may_replace_all", "may"),
    [
        ("ana", "ana", False, True),
        ("ana", "bea", False, False),
        ("ana", "bea", True, True),
        (None, None, False, True),
        ("ana", None, False, False),
    ],
)
def test_r3_others_jobs_are_replaced_by_those_who_may_cancel_them(
    submitted_by: str | None, user: str | None, may_replace_all: bool, may: bool
) -> None:
    assert may_replace(JobStatus.QUEUED, submitted_by, user=user, may_replace_all=may_replace_all) is may
