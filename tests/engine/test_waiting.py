"""Jobs that wait are run now, rescheduled and given another priority; all who look see it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from fairlane import IllegalTransition, InvalidParameters, Job, JobStatus
from tests.store.races.agreement import steps
from tests.store.races.scene import JAMMED, Scene

PENDING, QUEUED, RUNNING, FAILED, COMPLETED = (
    JobStatus.PENDING,
    JobStatus.QUEUED,
    JobStatus.RUNNING,
    JobStatus.FAILED,
    JobStatus.COMPLETED,
)
ACME: Any = {"organization": "acme", "user": "ana"}


def waiting_for_its_retry(scene: Scene) -> Job:
    job = scene.submit()
    scene.end(*scene.worker().claim(), outcome=JAMMED)
    found = scene.get(job)
    assert found.next_retry_at is not None
    return found


def claimed(scene: Scene) -> list[UUID]:
    return [one.id for one in scene.worker().claim(10)]


def last_words(scene: Scene, job: Job) -> tuple[str, str]:
    """Return the actor and the message of the last entry."""
    entry = scene.fl.history(job, organization="acme")[-1]
    return entry.actor, entry.message


def listed(scene: Scene, **filters: Any) -> list[Job]:
    return list(scene.fl.list(organization="acme", **filters).items)


def test_a_scheduled_job_runs_now(scene: Scene):
    job = scene.submit(delay=3600)
    scene.clock.advance(60)
    made = scene.fl.run_now(job, **ACME)
    assert (made.status, made.run_at) == (QUEUED, scene.now)
    assert scene.get(job) == made
    assert listed(scene, status="queued") == [made]
    assert last_words(scene, job) == ("ana", "run now")
    assert claimed(scene) == [job.id]
    assert steps(scene.fl, job) == [PENDING, QUEUED, RUNNING]


def test_a_job_that_waits_for_its_retry_runs_now(scene: Scene):
    job = waiting_for_its_retry(scene)
    made = scene.fl.run_now(job, **ACME)
    assert (made.status, made.next_retry_at, made.run_at, made.retry_count) == (QUEUED, None, scene.now, 1)
    assert listed(scene, waiting_for="retry") == []
    assert claimed(scene) == [job.id]
    assert steps(scene.fl, job) == [QUEUED, RUNNING, FAILED, QUEUED, QUEUED, RUNNING]


def test_a_ready_job_keeps_its_place_when_it_is_run_now(scene: Scene):
    job = scene.submit()
    scene.clock.advance(60)
    assert scene.fl.run_now(job, **ACME) == job
    assert steps(scene.fl, job) == [QUEUED]


@pytest.mark.parametrize("delay", [None, 3600])
def test_a_job_with_parents_is_not_run_now_but_rescheduled(scene: Scene, delay: float | None):
    parent = scene.submit()
    child = scene.submit(depends_on=[parent], delay=delay)
    with pytest.raises(
        IllegalTransition, match=r"waits for a parent that has not ended.*; let the parent run first\.$"
    ):
        scene.fl.run_now(child, **ACME)
    assert scene.get(child) == child
    at = scene.now + timedelta(hours=2)
    assert scene.fl.reschedule(child, at, **ACME).run_at == at
    scene.stage()
    scene.end(*scene.worker().claim())
    assert scene.stage() == 0
    scene.clock.advance(2 * 3600)
    scene.stage()
    assert claimed(scene) == [child.id]


def test_a_moment_that_has_passed_lets_a_job_start_as_soon_as_its_parents_have_ended(scene: Scene):
    parent = scene.submit()
    child = scene.submit(depends_on=[parent], delay=3600)
    made = scene.fl.reschedule(child, datetime(1970, 1, 1, tzinfo=UTC), **ACME)
    assert (made.status, made.run_at) == (PENDING, scene.now)
    scene.stage()
    scene.end(*scene.worker().claim())
    assert claimed(scene) == [child.id]


def test_a_ready_job_that_is_rescheduled_waits_again(scene: Scene):
    job = scene.submit()
    at = scene.now + timedelta(hours=1)
    made = scene.fl.reschedule(job, at, **ACME)
    assert (made.status, made.run_at) == (PENDING, at)
    assert last_words(scene, job) == ("ana", "rescheduled to 2026-11-01 13:00:00 UTC")
    assert scene.fl.explain(job, organization="acme").summary == "It starts no earlier than 2026-11-01 13:00:00 UTC."
    assert claimed(scene) == []
    scene.clock.advance(3600)
    scene.stage()
    assert claimed(scene) == [job.id]
    assert steps(scene.fl, job) == [QUEUED, PENDING, QUEUED, RUNNING]


def test_a_retry_that_is_rescheduled_waits_for_that_and_keeps_its_count(scene: Scene):
    job = waiting_for_its_retry(scene)
    at = scene.now + timedelta(days=1)
    made = scene.fl.reschedule(job, at, **ACME)
    assert (made.status, made.run_at, made.next_retry_at, made.retry_count) == (PENDING, at, None, 1)
    assert made.error_message == job.error_message
    scene.clock.advance(3600)
    scene.stage()
    assert claimed(scene) == []
    scene.clock.advance(86_400)
    scene.stage()
    assert claimed(scene) == [job.id]


def test_a_scheduled_job_is_brought_forward_and_the_same_time_again_changes_nothing(scene: Scene):
    job = scene.submit(delay=3600)
    sooner = scene.now + timedelta(minutes=1)
    made = scene.fl.reschedule(job, sooner, **ACME)
    assert (made.status, made.run_at) == (PENDING, sooner)
    assert scene.fl.reschedule(job, sooner.astimezone(), **ACME) == made
    assert steps(scene.fl, job) == [PENDING, PENDING]
    past = scene.fl.reschedule(job, scene.now - timedelta(days=1), **ACME)
    assert (past.status, past.run_at) == (QUEUED, scene.now)
    assert scene.fl.reschedule(job, scene.now - timedelta(days=2), **ACME) == past


def test_a_job_of_another_priority_goes_before_and_keeps_it_to_its_end(scene: Scene):
    first, second = scene.submit(), scene.submit()
    made = scene.fl.prioritize(second, "critical", **ACME)
    assert made.priority == "critical"
    assert last_words(scene, second) == ("ana", "priority changed from normal to critical")
    assert scene.fl.prioritize(second, "critical", **ACME) == made
    (taken,) = scene.worker().claim()
    assert taken.id == second.id
    scene.end(taken)
    ended, waits = scene.get(second), scene.get(first)
    assert (ended.status, ended.priority, waits.priority) == (COMPLETED, "critical", "normal")
    assert listed(scene) == [ended, waits]


def test_what_waits_for_parents_its_time_or_its_retry_is_given_a_priority_too(scene: Scene):
    retried, parent = waiting_for_its_retry(scene), scene.submit()
    for job in (scene.submit(depends_on=[parent]), scene.submit(delay=60), retried):
        made = scene.fl.prioritize(job, "low", **ACME)
        assert (made.status, made.priority, made.next_retry_at) == (job.status, "low", job.next_retry_at)


def test_why_a_job_waits_for_its_retry_is_told_after_another_priority_too(scene: Scene):
    job = waiting_for_its_retry(scene)
    before = scene.fl.explain(job, organization="acme")
    scene.fl.prioritize(job, "high", **ACME)
    assert scene.fl.explain(job, organization="acme") == before
    assert "paper jam" in before.summary


@pytest.mark.parametrize(
    ("run_at", "told"),
    [
        (datetime(2027, 1, 1), "run_at must be a datetime with a time zone"),  # noqa: DTZ001 - it has to have one
        (3600, "run_at must be a datetime with a time zone"),
        (datetime(1969, 12, 31, tzinfo=UTC), "run_at must be in the years 1970 to 2199"),
        (datetime(2200, 1, 1, tzinfo=UTC), "run_at must be in the years 1970 to 2199"),
    ],
)
def test_a_time_is_bounded_as_at_a_submission(scene: Scene, run_at: Any, told: str):
    job = scene.submit(delay=60)
    for refused in (lambda: scene.fl.reschedule(job, run_at, **ACME), lambda: scene.submit(run_at=run_at)):
        with pytest.raises(InvalidParameters, match=told):
            refused()
    assert scene.get(job) == job


@pytest.mark.parametrize("priority", ["urgent", "", None, 1, "HIGH"])
def test_a_priority_is_one_of_the_four(scene: Scene, priority: Any):
    job = scene.submit(delay=60)
    with pytest.raises(InvalidParameters, match="priority must be one of low, normal, high, critical, not"):
        scene.fl.prioritize(job, priority, **ACME)
    assert scene.get(job) == job
