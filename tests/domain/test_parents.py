"""R9: what becomes of a pending job when parents of it have ended."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.decide import fate
from fairlane.domain.jobs import JobState
from fairlane.domain.statuses import ENDED_BADLY, TERMINAL, JobStatus, ParentPolicy

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
DONE = JobState("acme", UUID(int=1), "pdf", JobStatus.COMPLETED)
BAD = JobState("acme", UUID(int=2), "mail", JobStatus.DEAD_LETTER)
PARENTS = st.builds(JobState, st.just("acme"), st.uuids(), st.just("pdf"), st.sampled_from(sorted(TERMINAL)))


@pytest.mark.parametrize(
    ("policy", "target"),
    [
        (ParentPolicy.DEAD_LETTER, JobStatus.DEAD_LETTER),
        (ParentPolicy.CANCEL, JobStatus.CANCELED),
        (ParentPolicy.RUN_ANYWAY, JobStatus.QUEUED),
    ],
)
def test_r9_the_policy_says_what_a_parent_s_bad_end_does(policy: ParentPolicy, target: JobStatus) -> None:
    found = fate(policy, [DONE, BAD], unmet=2, run_at=NOW, now=NOW)

    assert found is not None
    assert (found.transition.target, found.culprit) == (target, BAD)


def test_r9_the_reason_names_the_parent() -> None:
    found = fate(ParentPolicy.CANCEL, [BAD], unmet=1, run_at=NOW, now=NOW)

    assert found is not None
    assert found.transition.steps[0].message == f"parent {BAD.id} (mail) ended as dead letter"


@given(
    st.sampled_from(ParentPolicy),
    st.lists(PARENTS, min_size=1, max_size=3),
    st.integers(0, 3),
    st.sampled_from([-1.0, 0.0, 1.0]),
)
def test_r9_a_child_is_released_after_its_last_parent_and_not_before_its_time(
    policy: ParentPolicy, ended: list[JobState], others: int, seconds: float
) -> None:
    run_at = NOW + timedelta(seconds=seconds)
    found = fate(policy, ended, unmet=len(ended) + others, run_at=run_at, now=NOW)

    if policy is not ParentPolicy.RUN_ANYWAY and any(one.status in ENDED_BADLY for one in ended):
        assert found is not None
        assert found.transition.target in ENDED_BADLY
    elif others or seconds > 0:
        assert found is None
    else:
        assert found is not None
        assert found.transition.target is JobStatus.QUEUED
