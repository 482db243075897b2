"""Decisions at the end of an attempt: R5 (rescue), R7 (retries), R10 (cancel)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairlane.domain.backoff import JITTER, Backoff
from fairlane.domain.decide import MOST_DEFERRALS, STORAGE_BACKOFF, AttemptState, decide
from fairlane.domain.outcomes import (
    Completed,
    Deferred,
    ErrorReport,
    Failed,
    Lost,
    Outcome,
    Refused,
    Released,
    Snoozed,
    Stopped,
    TimedOut,
)
from fairlane.domain.poison import SUSPECT_AT, RescueDecision
from fairlane.domain.statuses import TERMINAL, TRANSITIONS, JobStatus
from fairlane.domain.transitions import Transition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BACKOFF = Backoff()

SECONDS = st.floats(-10, 1e6)
ERRORS = st.builds(
    ErrorReport,
    error_type=st.sampled_from(["ValueError", "app.Broken"]),
    message=st.text(max_size=5),
    permanent=st.booleans(),
    retries=st.integers(0, 2),
    retry_after=st.none() | st.floats(0, 86_400),
    fingerprint=st.just("ValueError 1"),
)
FAILED = st.builds(Failed, ERRORS) | st.builds(TimedOut, ERRORS)
UNFINISHED = st.builds(Snoozed, SECONDS, st.text(max_size=5)) | st.builds(Released, st.just("shutdown"), SECONDS)
DEFERRED = st.builds(Deferred, ERRORS)
DECISIONS = st.builds(RescueDecision, st.booleans(), st.booleans(), st.floats(0, 3600))
LOST = st.builds(Lost, st.just("worker-1"), DECISIONS)
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Completed, st.none() | st.just("1")),
    FAILED,
    UNFINISHED,
    DEFERRED,
    LOST,
    st.builds(Stopped),
    st.builds(Refused, st.just("Permission denied")),
)
ATTEMPTS = st.builds(
    AttemptState,
    attempt=st.integers(1, 10_000),
    retry_count=st.integers(0, 30),
    rescue_count=st.integers(0, 10),
    max_retries=st.none() | st.integers(0, 30),
    cancel_requested_by=st.none(),
    deferrals=st.integers(0, MOST_DEFERRALS - 1),
)
CANCELED = ATTEMPTS.map(lambda job: replace(job, cancel_requested_at=NOW, cancel_requested_by="ann"))
SEEDS = st.integers(0, 2**32)


def decided(job: AttemptState, outcome: Outcome, seed: int = 0) -> Transition:
    return decide(job, outcome, NOW, Random(seed), BACKOFF)


@given(ATTEMPTS | CANCELED, OUTCOMES, SEEDS)
def test_every_end_of_an_attempt_leads_from_running_along_legal_edges(job, outcome, seed):
    transition = decided(job, outcome, seed)
    assert transition.source is JobStatus.RUNNING
    for step in transition.steps:
        assert (step.source, step.target) in TRANSITIONS
    assert transition.target in TERMINAL | {JobStatus.QUEUED}


@given(CANCELED, OUTCOMES)
def test_after_a_cancel_request_no_other_attempt_follows_r10(job, outcome):
    transition = decided(job, outcome)
    assert transition.target in TERMINAL
    if not isinstance(outcome, Completed):
        assert transition.target is JobStatus.CANCELED
        assert transition.changes["canceled_by"] == "ann"
        assert transition.changes["canceled_at"] == NOW


@given(CANCELED)
def test_a_handler_that_returns_completes_despite_a_cancel_request_and_the_log_says_so_r10(job):
    transition = decided(job, Completed("1"))
    assert transition.target is JobStatus.COMPLETED
    assert "though ann asked at 2026-01-01 00:00:00 UTC to cancel it" in transition.steps[-1].message


@given(ATTEMPTS | CANCELED, OUTCOMES)
def test_only_a_completed_job_has_a_result_r13(job, outcome):
    transition = decided(job, outcome)
    assert (transition.target is JobStatus.COMPLETED) == isinstance(outcome, Completed)
    assert transition.result == (outcome.result if isinstance(outcome, Completed) else None)


@given(ATTEMPTS, FAILED, SEEDS)
def test_a_retry_is_counted_and_never_exceeds_the_limit_r7(job, outcome, seed):
    transition = decided(job, outcome, seed)
    has_retries = job.max_retries is None or job.retry_count < job.max_retries
    is_final = outcome.error.permanent and job.retry_count >= outcome.error.retries
    if has_retries and not is_final:
        assert transition.target is JobStatus.QUEUED
        assert transition.changes["retry_count"] == job.retry_count + 1
        assert job.max_retries is None or job.retry_count + 1 <= job.max_retries
    else:
        assert transition.target is JobStatus.DEAD_LETTER
        assert "retry_count" not in transition.changes


@given(st.integers(0, 50), SEEDS)
def test_a_job_that_always_fails_has_exactly_its_retries_r7(max_retries, seed):
    job, retries = AttemptState(1, 0, 0, max_retries), 0
    while decided(job, Failed(ErrorReport("E", "")), seed).target is JobStatus.QUEUED:
        retries += 1
        job = replace(job, attempt=job.attempt + 1, retry_count=retries)
    assert retries == max_retries


@given(ATTEMPTS, FAILED, SEEDS)
def test_a_retry_waits_as_asked_or_as_its_backoff_says_r7(job, outcome, seed):
    transition = decided(job, outcome, seed)
    assume(transition.target is JobStatus.QUEUED)
    at = transition.changes["next_retry_at"]
    assert isinstance(at, datetime)
    asked = outcome.error.retry_after
    if asked is not None:
        assert asked - 1e-3 <= (at - NOW).total_seconds() <= asked * (1 + JITTER) + 1e-3
    else:
        nominal = min(BACKOFF.cap, BACKOFF.base * 2**job.retry_count)
        assert abs((at - NOW).total_seconds() - nominal) <= nominal * JITTER + 1e-3


@given(ATTEMPTS, FAILED)
def test_the_error_and_the_outcome_of_the_attempt_are_in_the_log_r7(job, outcome):
    transition = decided(job, outcome)
    assert transition.error == outcome.error
    assert transition.steps[0].target is (JobStatus.TIMED_OUT if isinstance(outcome, TimedOut) else JobStatus.FAILED)
    assert outcome.error.error_type in transition.steps[0].message


@given(ATTEMPTS)
def test_a_definite_no_at_start_goes_to_dead_letter_r5(job):
    transition = decided(job, Refused("Permission denied"))
    assert transition.target is JobStatus.DEAD_LETTER
    assert transition.cause is not None
    assert transition.cause.reason == "Permission denied"


@given(ATTEMPTS, LOST)
def test_a_rescue_follows_its_verdict_and_spends_no_retry_r5(job, outcome):
    transition = decided(job, outcome)
    decision, changes = outcome.decision, transition.changes
    assert "retry_count" not in changes
    assert transition.error is not None
    if decision.is_poison:
        assert transition.target is JobStatus.DEAD_LETTER
        return
    assert transition.target is JobStatus.QUEUED
    assert changes["rescue_count"] == job.rescue_count + decision.counts
    assert changes["ready"] is (decision.wait == 0)
    assert changes["next_retry_at"] == (NOW + timedelta(seconds=decision.wait) if decision.wait else None)


@pytest.mark.parametrize(
    ("rescues", "decision", "words"),
    [
        (0, RescueDecision(), "worker worker-1 was lost, rescue 1"),
        (SUSPECT_AT - 1, RescueDecision(wait=30), "rescue 3; it runs apart from others"),
        (SUSPECT_AT - 1, RescueDecision(counts=False), "not counted, since a job that started later is suspected"),
        (SUSPECT_AT - 1, RescueDecision(is_poison=True), "its worker was lost 3 times while it had the job"),
    ],
)
def test_the_log_says_why_a_rescued_job_goes_where_it_goes_r5(rescues, decision, words):
    assert words in decided(AttemptState(1, 0, rescues, 5), Lost("worker-1", decision)).steps[-1].message


@given(ATTEMPTS, UNFINISHED | DEFERRED | st.builds(Stopped))
def test_what_was_not_finished_spends_no_retry_and_no_rescue_r5(job, outcome):
    transition = decided(job, outcome)
    assert transition.target is JobStatus.QUEUED
    assert "retry_count" not in transition.changes
    # A snooze is an end by itself, which clears the count.
    assert transition.changes["rescue_count"] == (0 if isinstance(outcome, Snoozed) else job.rescue_count)
    assert transition.error is None


@given(ATTEMPTS, UNFINISHED)
def test_what_was_not_finished_is_retried_when_it_asked_to_r5(job, outcome):
    changes = decided(job, outcome).changes
    if outcome.seconds > 0:
        assert changes["next_retry_at"] == NOW + timedelta(seconds=outcome.seconds)
        assert changes["ready"] is False
    else:
        assert changes["next_retry_at"] is None
        assert changes["ready"] is True


@given(ATTEMPTS, DEFERRED, SEEDS)
def test_what_met_fairlanes_own_storage_waits_longer_each_time_in_a_row_r5(job, outcome, seed):
    transition = decided(job, outcome, seed)
    assert transition.changes["deferrals"] == job.deferrals + 1
    nominal = min(STORAGE_BACKOFF.cap, STORAGE_BACKOFF.base * 2 ** min(job.deferrals, 50))
    at = transition.changes["next_retry_at"]
    assert isinstance(at, datetime)
    assert abs((at - NOW).total_seconds() - nominal) <= nominal * JITTER + 1e-3
    assert "without spending a retry" in transition.steps[-1].message
    assert outcome.error.error_type in transition.steps[-1].message


@given(ATTEMPTS, DEFERRED, SEEDS)
def test_storage_that_refuses_for_a_day_fails_the_attempt_as_any_error_does_r5(job, outcome, seed):
    job = replace(job, deferrals=MOST_DEFERRALS)
    assert decided(job, outcome, seed) == decided(job, Failed(outcome.error), seed)


@given(ATTEMPTS, FAILED | UNFINISHED | LOST)
def test_any_other_end_that_leads_to_another_attempt_ends_the_row_of_deferrals_r5(job, outcome):
    transition = decided(job, outcome)
    assume(transition.target is JobStatus.QUEUED)
    assert transition.changes["deferrals"] == 0


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Stopped(), "the handler stopped"),
        (Failed(ErrorReport("app.Broken", "")), "raised app.Broken"),
        (TimedOut(ErrorReport("TimedOut", "its handler had not begun")), ": its handler had not begun"),
        (Lost("worker-1"), "worker worker-1 was lost"),
    ],
)
def test_the_log_says_how_a_canceled_job_came_to_its_end_r10(outcome, words):
    job = AttemptState(1, 0, 0, 5, cancel_requested_by="ann")
    assert words in decided(job, outcome).steps[-1].message
