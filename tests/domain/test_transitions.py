"""The table of legal transitions (SPEC, Job status; R7, R9, R10), and the constructors that keep to it."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from fairlane.domain import transitions
from fairlane.domain.errors import IllegalTransition
from fairlane.domain.outcomes import ErrorReport, Try
from fairlane.domain.statuses import ENDED_BADLY, LIVE, PASSING, TERMINAL, TRANSITIONS, WAITING, JobStatus, Priority
from fairlane.domain.transitions import Start, Step, Transition, sealed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ERROR = ErrorReport("ValueError", "no", fingerprint="ValueError 1")

# The table of the SPEC, row by row.
SPEC = [
    (None, "pending"),
    (None, "queued"),
    ("pending", "queued"),
    ("pending", "canceled"),
    ("queued", "canceled"),
    ("pending", "dead_letter"),
    ("queued", "dead_letter"),
    ("queued", "running"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "timed_out"),
    ("failed", "queued"),
    ("timed_out", "queued"),
    ("failed", "dead_letter"),
    ("timed_out", "dead_letter"),
    ("running", "canceled"),
    ("running", "dead_letter"),
    ("running", "queued"),
    ("dead_letter", "queued"),
    ("dead_letter", "pending"),
    ("pending", "pending"),
    ("queued", "pending"),
    ("queued", "queued"),
]
# Written by inserting the row, and by the claim, which takes many rows in one statement.
WITHOUT_CONSTRUCTOR = {(None, JobStatus.PENDING), (None, JobStatus.QUEUED), (JobStatus.QUEUED, JobStatus.RUNNING)}


def waiting(status: JobStatus) -> Start:
    return Start(UUID(int=1), status, False, 0, NOW, Priority.LOW)


BUILT: dict[str, Any] = {
    "complete": transitions.complete(NOW, "1"),
    "complete despite a request": transitions.complete(
        NOW, None, "it completed, though ann asked at noon to cancel it"
    ),
    "retry a failure": transitions.retry(JobStatus.FAILED, ERROR, Try(1, 6), NOW),
    "retry a timeout": transitions.retry(JobStatus.TIMED_OUT, ERROR, Try(1, 6), NOW),
    "give up a failure": transitions.give_up(JobStatus.FAILED, ERROR, Try(1, 6), "permanent", NOW),
    "give up a timeout": transitions.give_up(JobStatus.TIMED_OUT, ERROR, Try(6, 6), "spent", NOW),
    "refuse pending": transitions.refuse(JobStatus.PENDING, "Organization not found", NOW),
    "refuse queued": transitions.refuse(JobStatus.QUEUED, "Organization not found", NOW),
    "refuse running": transitions.refuse(JobStatus.RUNNING, "Permission denied", NOW),
    "take down": transitions.take_down("import", "its parent failed", NOW),
    "dead-letter poison": transitions.dead_letter_poison("lost 3 times", NOW),
    "cancel pending": transitions.cancel(JobStatus.PENDING, "ann", "canceled", NOW),
    "cancel queued": transitions.cancel(JobStatus.QUEUED, "ann", "canceled", NOW),
    "cancel running": transitions.cancel(JobStatus.RUNNING, "ann", "canceled", NOW),
    "requeue": transitions.requeue("released", 1, None),
    "requeue later": transitions.requeue("snoozed", 0, NOW),
    "make_ready": transitions.make_ready(),
    "revive": transitions.revive("retried by ann", NOW),
    "revive later": transitions.revive("retried by ann", NOW, NOW),
    "revive pending": transitions.revive_pending("its parent was retried", 2),
    "run a scheduled one now": transitions.run_now(waiting(JobStatus.PENDING), NOW),
    "run a retry now": transitions.run_now(waiting(JobStatus.QUEUED), NOW),
    "reschedule pending": transitions.reschedule(waiting(JobStatus.PENDING), LATER, NOW),
    "reschedule queued": transitions.reschedule(waiting(JobStatus.QUEUED), LATER, NOW),
    "prioritize pending": transitions.prioritize(waiting(JobStatus.PENDING), Priority.HIGH),
    "prioritize queued": transitions.prioritize(waiting(JobStatus.QUEUED), Priority.HIGH),
}
every_transition = pytest.mark.parametrize("transition", BUILT.values(), ids=BUILT.keys())


def test_the_table_in_the_code_is_the_table_of_the_spec():
    assert list(TRANSITIONS) == SPEC


@every_transition
def test_every_step_of_every_constructor_is_in_the_table(transition: Transition):
    assert transition.steps
    for step in transition.steps:
        assert (step.source, step.target) in TRANSITIONS
        assert step.message


@every_transition
def test_steps_follow_one_another_and_rest_in_no_passing_status(transition: Transition):
    for before, after in zip(transition.steps, transition.steps[1:], strict=False):
        assert before.target == after.source
    assert transition.source == transition.steps[0].source
    assert transition.target not in PASSING


def test_every_edge_is_made_by_a_constructor_or_by_submit_or_claim():
    made = {(step.source, step.target) for transition in BUILT.values() for step in transition.steps}
    assert made == set(TRANSITIONS) - WITHOUT_CONSTRUCTOR


@pytest.mark.parametrize(
    ("source", "target"), [edge for edge in product([None, *JobStatus], JobStatus) if edge not in TRANSITIONS]
)
def test_any_other_step_raises(source, target):
    with pytest.raises(IllegalTransition, match="nothing was changed"):
        Step(source, target, "no")


@pytest.mark.parametrize("source", [JobStatus.COMPLETED, JobStatus.CANCELED, JobStatus.DEAD_LETTER])
def test_what_has_ended_is_neither_canceled_nor_refused_r10(source):
    with pytest.raises(IllegalTransition):
        transitions.cancel(source, "ann", "late", NOW)
    with pytest.raises(IllegalTransition):
        transitions.refuse(source, "late", NOW)


def test_of_the_terminal_statuses_only_a_dead_letter_can_be_left_r8_r9():
    leaving = {(source, target) for source, target in TRANSITIONS if source in TERMINAL}
    assert leaving == {(JobStatus.DEAD_LETTER, JobStatus.QUEUED), (JobStatus.DEAD_LETTER, JobStatus.PENDING)}


def test_the_sets_of_statuses_part_them_all():
    assert {"completed", "dead_letter", "canceled"} == TERMINAL
    assert {"failed", "timed_out"} == PASSING
    assert {"pending", "queued", "running"} == LIVE
    assert {"pending", "queued"} == WAITING
    assert {"dead_letter", "canceled"} == ENDED_BADLY
    assert set(JobStatus) == TERMINAL | PASSING | LIVE


@every_transition
def test_what_ends_is_dated_ready_for_nobody_and_belongs_to_no_worker_r5(transition: Transition):
    if transition.target not in TERMINAL:
        return
    assert transition.changes["finished_at"] == NOW
    assert transition.changes["ready"] is False
    assert transition.changes["next_retry_at"] is None
    assert transition.changes["worker_id"] is None
    assert transition.changes["lease_token"] is None


@every_transition
def test_what_leaves_running_gives_up_its_lease_r5(transition: Transition):
    if transition.source is JobStatus.RUNNING:
        assert transition.changes["worker_id"] is None
        assert transition.changes["lease_token"] is None


@every_transition
def test_a_cause_goes_with_dead_letter_and_can_be_grouped_r8(transition: Transition):
    assert (transition.cause is not None) == (transition.target is JobStatus.DEAD_LETTER)
    if transition.cause is not None:
        assert transition.cause.reason
        assert transition.cause.error_type
        assert transition.cause.fingerprint


@every_transition
def test_only_a_completed_job_has_a_result_r13(transition: Transition):
    assert transition.result is None or transition.target is JobStatus.COMPLETED


@every_transition
def test_what_is_queued_is_ready_now_or_has_a_time_r7(transition: Transition):
    if transition.target is JobStatus.QUEUED and "priority" not in transition.changes:
        assert transition.changes["ready"] is (transition.changes.get("next_retry_at") is None)


@pytest.mark.parametrize("name", ["revive", "revive later", "revive pending"])
def test_a_revived_job_starts_its_retries_and_rescues_afresh_but_not_its_attempts_r8(name):
    changes = BUILT[name].changes
    assert changes["retry_count"] == 0
    assert changes["rescue_count"] == 0
    assert changes["finished_at"] is None
    assert changes["error_type"] is None
    assert "attempt" not in changes


@every_transition
def test_no_transition_lowers_the_attempt(transition: Transition):
    assert "attempt" not in transition.changes


@every_transition
def test_what_is_sealed_is_the_same_but_for_its_texts(transition: Transition):
    assert sealed(transition, lambda _, text: text) == transition
