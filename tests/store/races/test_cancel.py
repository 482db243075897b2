"""Cancel against everything that moves a job at the same time: exactly one wins, and the log says which (R10)."""

import pytest

from fairlane import IllegalTransition, Job, JobStatus
from fairlane.domain.outcomes import Completed, Outcome, Refused, Released, Snoozed, Stopped
from fairlane.domain.texts import time_of
from fairlane.store.statements import cancel, dead_letters, stage
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.race import Race, answers_at_once
from tests.store.races.scene import BROKEN, JAMMED, Scene, Work

PENDING, QUEUED, RUNNING = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING
FAILED, COMPLETED, CANCELED, DEAD_LETTER = (
    JobStatus.FAILED,
    JobStatus.COMPLETED,
    JobStatus.CANCELED,
    JobStatus.DEAD_LETTER,
)
TOO_LATE = "handler returned; it completed, though ana asked at {at} to cancel it (wrong month)"
# How an attempt ends after its cancel was requested: the status, and what the log says.
ENDS: dict[str, tuple[Outcome, JobStatus, str]] = {
    "returned": (Completed(), COMPLETED, TOO_LATE),
    "stopped": (Stopped(), CANCELED, "cancel took effect: the handler stopped (wrong month)"),
    "raised": (JAMMED, CANCELED, "cancel took effect: the handler raised PrinterError (wrong month)"),
    "raised a permanent error": (BROKEN, CANCELED, "cancel took effect: the handler raised PrinterError (wrong month)"),
    "snoozed": (Snoozed(60), CANCELED, "cancel took effect (wrong month)"),
    "was released": (Released("shutdown"), CANCELED, "cancel took effect (wrong month)"),
    "was refused": (Refused("Permission denied"), CANCELED, "cancel took effect (wrong month)"),
}


def canceling(scene: Scene, job: Job) -> Work[JobStatus]:
    """Return the work that cancels as ana, in a transaction of the test's."""
    return lambda connection: cancel.cancel(
        connection, scene.clock.now(connection), "acme", job.id, actor="ana", reason="wrong month"
    )


def cancel_it(scene: Scene, job: Job) -> Job:
    return scene.fl.cancel(job.id, organization="acme", user="ana", reason="wrong month")


def retrying(scene: Scene, job: Job) -> Work[None]:
    """Return the work that retries a dead letter as olga, in a transaction of the test's."""
    return lambda connection: dead_letters.retry(connection, scene.clock.now(connection), "acme", job.id, actor="olga")


class TestFinish:
    @pytest.mark.parametrize("end", ENDS)
    def test_a_finish_that_comes_after_the_request_knows_of_it(self, scene: Scene, race: Race, end: str):
        outcome, status, last_words = ENDS[end]
        job = scene.submit()
        (claimed,) = scene.worker().claim()
        with race.open() as requesting:
            assert canceling(scene, job)(requesting) == RUNNING
            early = race.passes(lambda: scene.end(claimed, outcome=outcome))
        (finished,) = early.result()
        if not race.serial:
            assert (finished.transition, finished.is_locked) == (None, True)
            scene.end(claimed, outcome=outcome)
        after = assert_log_agrees(scene.fl, job)
        assert (after.status, after.canceled_by) == (status, "ana" if status == CANCELED else None)
        assert after.cancel_requested_at is not None
        told = scene.fl.history(job.id, organization="acme")[-1].message
        assert told == last_words.format(at=time_of(after.cancel_requested_at))

    def test_a_cancel_that_waits_for_a_completion_finds_nothing_to_cancel(self, scene: Scene, race: Race):
        job = scene.submit()
        (claimed,) = scene.worker().claim()
        with race.open() as finishing:
            scene.ending(claimed)(finishing)
            late = race.waits(lambda: cancel_it(scene, job))
        with pytest.raises(IllegalTransition, match="has ended as completed"):
            late.result()
        after = assert_log_agrees(scene.fl, job)
        assert (after.status, after.cancel_requested_at) == (COMPLETED, None)

    def test_a_cancel_that_waits_for_a_failure_forestalls_the_retry(self, scene: Scene, race: Race):
        job = scene.submit()
        (claimed,) = scene.worker().claim()
        with race.open() as finishing:
            scene.ending(claimed, outcome=JAMMED)(finishing)
            late = race.waits(lambda: cancel_it(scene, job))
        assert late.result().status == CANCELED
        assert steps(scene.fl, job) == [QUEUED, RUNNING, FAILED, QUEUED, CANCELED]
        assert_log_agrees(scene.fl, job)
        scene.clock.advance(3600)
        assert scene.stage() == 0

    @pytest.mark.slow
    def test_of_twenty_cancels_and_a_finish_the_log_names_the_winner(self, scene: Scene):
        job = scene.submit()
        (claimed,) = scene.worker().claim()

        def end_until_written() -> Job:
            while scene.end(claimed, outcome=Completed())[0].is_locked:
                pass
            return scene.get(job)

        _, *cancels = answers_at_once([end_until_written, *[lambda: cancel_it(scene, job)] * 20])
        after = assert_log_agrees(scene.fl, job)
        assert after.status == COMPLETED
        told = scene.fl.history(job.id, organization="acme")[-1].message
        requested = any(isinstance(answer, Job) for answer in cancels)
        assert (after.cancel_requested_at is not None) == requested
        at = time_of(after.cancel_requested_at) if after.cancel_requested_at is not None else ""
        assert told == (TOO_LATE.format(at=at) if requested else "handler returned")


class TestClaim:
    def test_a_cancel_that_waits_for_a_claim_becomes_a_request(self, scene: Scene, race: Race):
        job = scene.submit()
        worker = scene.worker()
        with race.open() as claiming:
            worker.claiming()(claiming)
            late = race.waits(lambda: cancel_it(scene, job))
        assert (late.result().status, late.result().cancel_requested_at) == (RUNNING, scene.now)
        assert_log_agrees(scene.fl, job)

    def test_a_claim_passes_by_a_job_that_is_being_canceled(self, scene: Scene, race: Race):
        job, other = scene.submit(), scene.submit()
        worker = scene.worker()
        with race.open() as canceled:
            canceling(scene, job)(canceled)
            claim = race.passes(worker.claim)
        assert [claimed.id for claimed in claim.result()] == [other.id]
        assert assert_log_agrees(scene.fl, job).status == CANCELED


class TestRetryOfADeadLetter:
    def test_a_cancel_that_waits_for_the_retry_takes_the_job_back(self, scene: Scene, race: Race):
        job = scene.dead_letter()
        with race.open() as retry:
            retrying(scene, job)(retry)
            late = race.waits(lambda: cancel_it(scene, job))
        assert late.result().status == CANCELED
        assert steps(scene.fl, job)[-2:] == [QUEUED, CANCELED]
        assert_log_agrees(scene.fl, job)

    def test_a_cancel_before_the_retry_is_refused_and_leaves_no_request(self, scene: Scene):
        job = scene.dead_letter()
        with pytest.raises(IllegalTransition, match="has ended as dead_letter"):
            cancel_it(scene, job)
        scene.fl.retry(job.id, organization="acme", user="olga")
        (claimed,) = scene.worker().claim()
        scene.end(claimed)
        assert assert_log_agrees(scene.fl, job).status == COMPLETED

    def test_of_ten_retries_one_wins(self, scene: Scene):
        job = scene.dead_letter()
        answers = answers_at_once([lambda: scene.fl.retry(job.id, organization="acme")] * 10)
        assert sum(isinstance(answer, Job) for answer in answers) == 1
        assert sum(isinstance(answer, IllegalTransition) for answer in answers) == 9
        assert steps(scene.fl, job) == [QUEUED, RUNNING, FAILED, DEAD_LETTER, QUEUED]
        assert_log_agrees(scene.fl, job)


class TestReleaseOfAScheduledJob:
    @pytest.fixture
    def job(self, scene: Scene) -> Job:
        job = scene.submit(delay=60)
        assert job.status == PENDING
        scene.clock.advance(61)
        return job

    def test_a_cancel_that_waits_for_the_release_cancels_the_queued_job(self, scene: Scene, race: Race, job: Job):
        with race.open() as releasing:
            assert stage.ready_scheduled(releasing, scene.clock.now(releasing)) == 1
            late = race.waits(lambda: cancel_it(scene, job))
        assert late.result().status == CANCELED
        assert steps(scene.fl, job) == [PENDING, QUEUED, CANCELED]

    def test_the_release_passes_by_a_job_that_is_being_canceled(self, scene: Scene, race: Race, job: Job):
        with race.open() as canceled:
            canceling(scene, job)(canceled)
            release = race.passes(scene.stage)
        assert release.result() == 0
        assert scene.stage() == 0
        assert steps(scene.fl, job) == [PENDING, CANCELED]
        assert_log_agrees(scene.fl, job)

    def test_a_retry_that_becomes_due_while_it_is_being_canceled_stays_canceled(self, scene: Scene, race: Race):
        job = scene.submit()
        scene.end(*scene.worker().claim(), outcome=JAMMED)
        scene.clock.advance(120)
        with race.open() as canceled:
            canceling(scene, job)(canceled)
            release = race.passes(scene.stage)
        assert release.result() == 0
        assert scene.worker().claim() == []
        assert assert_log_agrees(scene.fl, job).status == CANCELED
