"""People's changes of a job that has not started: the step that follows, for every job and every moment."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain import transitions
from fairlane.domain.errors import IllegalTransition
from fairlane.domain.statuses import PASSING, PRIORITY_RANK, WAITING, JobStatus, Priority
from fairlane.domain.transitions import Start, Transition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = UUID("01900000-0000-7000-8000-000000000000")
MOMENTS = st.integers(-5, 5).map(lambda minutes: NOW + timedelta(minutes=minutes))
PRIORITIES = st.sampled_from(Priority)


@st.composite
def starts(draw: st.DrawFn) -> Start:
    """A job that waits: for parents, its time or its retry, or for its turn."""
    status = draw(st.sampled_from(sorted(WAITING)))
    is_pending = status is JobStatus.PENDING
    unmet = draw(st.integers(0, 3)) if is_pending else 0
    is_ready = not is_pending and draw(st.booleans())
    return Start(JOB, status, is_ready, unmet, draw(MOMENTS), draw(PRIORITIES))


def after(start: Start, transition: Transition | None) -> Start:
    """The job once the transition is made."""
    if transition is None:
        return start
    assert transition.source is start.status
    changes: Mapping[str, Any] = transition.changes
    return start._replace(
        status=transition.target,
        is_ready=changes.get("ready", start.is_ready),
        run_at=changes.get("run_at", start.run_at),
    )


@given(starts())
def test_a_job_that_runs_now_is_ready_and_one_that_waits_for_parents_never_is(start: Start):
    if start.unmet_parents:
        with pytest.raises(IllegalTransition, match=r"waits for .+ not ended, so it can't run now; let the .+ first\."):
            transitions.run_now(start, NOW)
        return
    made = after(start, transitions.run_now(start, NOW))
    assert (made.status, made.is_ready) == (JobStatus.QUEUED, True)
    assert transitions.run_now(made, NOW) is None


@given(starts(), MOMENTS)
def test_a_rescheduled_job_waits_until_then_and_for_its_parents_or_else_is_ready(start: Start, at: datetime):
    made = after(start, transitions.reschedule(start, at, NOW))
    if at > NOW:
        assert (made.status, made.is_ready, made.run_at) == (JobStatus.PENDING, False, at)
    elif start.unmet_parents:
        assert (made.status, made.is_ready) == (JobStatus.PENDING, False)
        assert made.run_at <= NOW
    else:
        assert made.is_ready or made == start


@given(starts(), MOMENTS)
def test_the_same_time_again_changes_nothing(start: Start, at: datetime):
    made = after(start, transitions.reschedule(start, at, NOW))
    assert after(made, transitions.reschedule(made, at, NOW)) == made


@given(starts(), PRIORITIES)
def test_another_priority_changes_nothing_else(start: Start, priority: Priority):
    transition = transitions.prioritize(start, priority)
    if priority is start.priority:
        assert transition is None
        return
    assert transition is not None
    assert (transition.source, transition.target) == (start.status, start.status)
    assert transition.changes == {"priority": PRIORITY_RANK[priority]}


@pytest.mark.parametrize("status", sorted(set(JobStatus) - WAITING - PASSING))
def test_what_has_started_or_ended_is_refused_with_what_to_do(status: JobStatus):
    start = Start(JOB, status, False, 0, NOW, Priority.LOW)
    instead = {"running": "let it end, or cancel it", "dead_letter": "retry it"}.get(status, "submit it anew")
    sentence = f"Job {JOB} is {status.replace('_', ' ')} and does not wait to start any more; {instead}."
    for change in (
        lambda: transitions.run_now(start, NOW),
        lambda: transitions.reschedule(start, NOW, NOW),
        lambda: transitions.prioritize(start, Priority.HIGH),
    ):
        with pytest.raises(IllegalTransition) as error:
            change()
        assert str(error.value) == sentence
