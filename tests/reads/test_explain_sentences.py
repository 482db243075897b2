"""R20: every combination of facts gives an explanation, and the sentences read as they should. No database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.breaker import Breaker, Trial
from fairlane.domain.explain import LAST_PLACE, NAMED_PARENTS, Facts, Holder, LimitOn, Pause, explain
from fairlane.domain.jobs import Job, JobState, LogEntry
from fairlane.domain.limits import Limit, Subject
from fairlane.domain.reasons import LiveWorker, ReasonCode
from fairlane.domain.statuses import (
    LIVE,
    PASSING,
    TERMINAL,
    TRANSITIONS,
    WAITING,
    JobStatus,
    OrganizationStatus,
    Priority,
)

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
WORKER = LiveWorker(None, frozenset({"report.pdf"}), stopping=False, free_slots=1)
RESTING = sorted(frozenset(JobStatus) - PASSING)
AROUND_NOW = st.timedeltas(timedelta(days=-1), timedelta(days=1)).map(lambda wait: NOW + wait)

JOB = Job(
    id=UUID(int=1),
    organization="acme",
    job_type="report.pdf",
    user="ana",
    status=JobStatus.QUEUED,
    priority=Priority.NORMAL,
    queue="default",
    parameters={},
    labels={},
    attempt=0,
    retry_count=0,
    max_retries=5,
    next_retry_at=None,
    run_at=NOW,
    timeout=300.0,
    progress=None,
    progress_message=None,
    progress_at=None,
    error_type=None,
    error_message=None,
    depends_on=(),
    created_at=NOW,
    started_at=None,
    finished_at=None,
    cancel_requested_at=None,
    canceled_at=None,
    canceled_by=None,
)
SUBMITTED = LogEntry(1, None, JobStatus.QUEUED, NOW, "ana", "submitted", 0, None, None)
READY = Facts(JOB, NOW, SUBMITTED, place_in_lane=1, workers=(WORKER,))


def sentence(facts: Facts, code: ReasonCode) -> str:
    (found,) = [reason.sentence for reason in explain(facts).reasons if reason.code is code]
    return found


def running(**changes: object) -> Facts:
    claimed = LogEntry(2, JobStatus.QUEUED, JobStatus.RUNNING, NOW, "w1", "claimed by w1", 1, None, None)
    job = replace(JOB, status=JobStatus.RUNNING, attempt=1, started_at=NOW, **changes)  # type: ignore[arg-type]
    return Facts(job, NOW, claimed, workers=(WORKER,))


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    text = st.none() | st.text(max_size=300)
    return replace(
        JOB,
        status=draw(st.sampled_from(RESTING)),
        attempt=draw(st.integers(0, 9)),
        run_at=draw(AROUND_NOW),
        next_retry_at=draw(st.none() | AROUND_NOW),
        started_at=draw(st.none() | AROUND_NOW),
        finished_at=draw(st.none() | AROUND_NOW),
        cancel_requested_at=draw(st.none() | AROUND_NOW),
        progress=draw(st.none() | st.floats(0, 100)),
        progress_message=draw(text),
        error_type=draw(text),
        error_message=draw(text),
    )


@st.composite
def entries(draw: st.DrawFn) -> LogEntry:
    source, target = draw(st.sampled_from(sorted(TRANSITIONS, key=str)))
    return LogEntry(9, source, target, NOW, "w1", draw(st.text(max_size=300)), 1, None, None)


def limits(subject: Subject) -> st.SearchStrategy[Limit]:
    some = st.none() | st.integers(0, 2)
    return st.builds(Limit, some, some if subject.job_type is not None else st.none())


TRIAL = Trial(UUID(int=3), 1, UUID(int=4))
WORKERS = st.builds(
    LiveWorker,
    st.none() | st.frozensets(st.sampled_from(["default", "bulk"])),
    st.frozensets(st.sampled_from(["report.pdf", "mail.send"])),
    st.booleans(),
    st.integers(-1, 2),
    st.booleans(),
)
LIMITS = st.sampled_from([Subject("acme", None), Subject(None, "report.pdf"), Subject("acme", "report.pdf")]).flatmap(
    lambda subject: st.builds(LimitOn, st.just(subject), limits(subject), st.integers(0, 3), st.none() | AROUND_NOW)
)
BREAKERS = st.builds(
    Breaker, st.just("acme"), st.just("report.pdf"), AROUND_NOW, AROUND_NOW, st.none() | st.just(TRIAL), st.none()
)
PARENTS = st.builds(JobState, st.just("acme"), st.uuids(), st.just("report.pdf"), st.sampled_from(sorted(LIVE)))
PAUSES = st.builds(
    Pause, st.sampled_from(["organization", "job_type", "queue"]), st.just("it"), st.just("olga"), AROUND_NOW, st.text()
)
HOLDERS = st.builds(Holder, st.just("w1"), st.floats(0, 1e6), st.none() | st.floats(-1e6, 60))
FACTS = st.builds(
    Facts,
    jobs(),
    st.just(NOW),
    entries(),
    parents=st.lists(PARENTS, max_size=7).map(tuple),
    unmet_parents=st.integers(0, 20_000),
    place_in_lane=st.none() | st.integers(1, LAST_PLACE),
    organization_status=st.none() | st.sampled_from(OrganizationStatus),
    pauses=st.lists(PAUSES, max_size=3).map(tuple),
    directory_is_away=st.booleans(),
    is_hosted=st.booleans(),
    limits=st.lists(LIMITS, max_size=3, unique_by=lambda one: one.subject).map(tuple),
    breaker=st.none() | BREAKERS,
    workers=st.lists(WORKERS, max_size=3).map(tuple),
    holder=st.none() | HOLDERS,
    cancel_requested_by=st.none() | st.just("bea"),
    culprit=st.none()
    | st.builds(JobState, st.just("acme"), st.uuids(), st.just("report.pdf"), st.sampled_from(JobStatus)),
    cancel_reason=st.just("") | st.just("wrong month"),
)


@given(FACTS)
def test_r20_any_facts_have_an_explanation_that_begins_with_its_first_reason(facts: Facts) -> None:
    explanation = explain(facts)

    assert explanation.status is facts.job.status
    assert explanation.summary.startswith(explanation.reasons[0].sentence)


@given(FACTS)
def test_r20_every_reason_is_given_once_and_is_a_sentence(facts: Facts) -> None:
    reasons = explain(facts).reasons

    assert len({reason.code for reason in reasons}) == len(reasons)
    assert all(reason.sentence.endswith(".") and "\n" not in reason.sentence for reason in reasons)


@given(FACTS)
def test_r20_nothing_blocks_stands_alone(facts: Facts) -> None:
    codes = [reason.code for reason in explain(facts).reasons]

    assert ReasonCode.NOTHING_BLOCKS not in codes or codes == [ReasonCode.NOTHING_BLOCKS]


@given(FACTS)
def test_r20_a_job_that_has_ended_is_explained_by_its_end_alone(facts: Facts) -> None:
    codes = [reason.code for reason in explain(facts).reasons]

    assert (facts.job.status in TERMINAL) == (codes[:1] == [ReasonCode.HAS_ENDED])
    assert codes[1:] in ([], [ReasonCode.PARENT_DELETED]) or facts.job.status not in TERMINAL


@given(FACTS)
def test_r20_only_a_waiting_job_may_lack_a_worker_for_its_queue(facts: Facts) -> None:
    codes = {reason.code for reason in explain(facts).reasons}

    assert facts.job.status in WAITING or ReasonCode.NO_WORKER_FOR_QUEUE not in codes


def test_r20_one_parent_is_named_in_the_singular() -> None:
    parent = JobState("acme", UUID(int=7), "mail.send", JobStatus.RUNNING)
    facts = replace(READY, job=replace(JOB, status=JobStatus.PENDING), parents=(parent,), unmet_parents=1)

    assert sentence(facts, ReasonCode.WAITS_FOR_PARENTS) == (
        "It waits for its parent mail.send 00000000-0000-0000-0000-000000000007 (running). "
        "Look at a parent to see what the parent waits for."
    )


def test_r20_a_job_whose_parent_has_ended_badly_waits_for_a_worker_to_go_on_with_it() -> None:
    facts = replace(READY, job=replace(JOB, status=JobStatus.PENDING), place_in_lane=None)

    assert sentence(facts, ReasonCode.BEING_MADE_READY) == (
        "The job no longer waits for anything; a worker makes it ready within about a second."
    )


def test_r20_a_worker_that_has_the_key_is_enough() -> None:
    lacking, leaving = replace(WORKER, lacks_key=True), replace(WORKER, stopping=True)

    assert sentence(replace(READY, workers=(lacking, leaving)), ReasonCode.NO_WORKER_WITH_KEY) == (
        "No worker that could run it has the master key to the data of organization acme. "
        "The team that runs Fairlane has to start one with that key in FAIRLANE_ENCRYPTION_KEYS, "
        "and can check there whether it opens the data."
    )
    assert sentence(replace(READY, workers=(lacking, WORKER)), ReasonCode.NOTHING_BLOCKS)


def test_r20_parents_beyond_five_are_counted() -> None:
    parents = tuple(
        JobState("acme", UUID(int=number), "mail.send", JobStatus.QUEUED) for number in range(NAMED_PARENTS)
    )
    facts = replace(READY, job=replace(JOB, status=JobStatus.PENDING), parents=parents, unmet_parents=1205)

    told = sentence(facts, ReasonCode.WAITS_FOR_PARENTS)

    assert told.startswith("It waits for 1,205 parents that have not ended: ")
    assert told.count("mail.send") == NAMED_PARENTS
    assert "and 1,200 more" in told


@pytest.mark.parametrize(
    ("place", "words"), [(1, "number 1 of"), (9_999, "number 9,999 of"), (LAST_PLACE, "10,000 or later of acme's")]
)
def test_r20_the_place_says_when_it_is_a_bound(place: int, words: str) -> None:
    assert words in sentence(replace(READY, place_in_lane=place), ReasonCode.NOTHING_BLOCKS)


def test_r20_the_summary_is_the_first_reason() -> None:
    pauses = (Pause("organization", "it", "olga", NOW, ""),)

    told = explain(replace(READY, pauses=pauses, workers=()))
    assert len(told.reasons) == 2
    assert told.summary == told.reasons[0].sentence


def test_r20_a_pause_without_reason_is_told_without_one() -> None:
    facts = replace(READY, pauses=(Pause("queue", "bulk", "olga", NOW, ""),))

    assert sentence(facts, ReasonCode.QUEUE_PAUSED) == (
        "Queue bulk is paused: olga paused it at 2026-11-01 12:00:00 UTC. "
        "Nothing of it starts until somebody resumes it."
    )


@pytest.mark.parametrize(
    ("percent", "message", "words"),
    [
        (None, None, "it has reported no progress"),
        (45.0, None, "progress 45 %"),
        (None, "page 5", "progress page 5"),
        (33.333, "page 5", "progress 33 %: page 5"),
    ],
)
def test_r20_progress_is_told_as_far_as_it_is_known(percent: float | None, message: str | None, words: str) -> None:
    told = sentence(running(progress=percent, progress_message=message), ReasonCode.IS_RUNNING)

    assert told.endswith(f"; {words}.")


def test_r20_a_restarted_machine_has_lost_its_workers() -> None:
    facts = replace(running(), holder=Holder("w1", silent=600.0, lease_left=None))

    assert "ended when the machine restarted" in sentence(facts, ReasonCode.WORKER_LOST)


def test_r20_a_worker_within_its_lease_is_not_lost() -> None:
    facts = replace(running(), holder=Holder("w1", silent=14.0, lease_left=1.0))

    assert [reason.code for reason in explain(facts).reasons] == [ReasonCode.IS_RUNNING]


def test_r20_a_worker_that_has_missed_a_heartbeat_is_told_of_before_it_is_lost() -> None:
    beating = replace(running(), holder=Holder("w1", silent=5.2, lease_left=9.8))
    silent = replace(running(), holder=Holder("w1", silent=9.0, lease_left=6.0), workers=(WORKER,))
    one_of_two = replace(silent, workers=(WORKER, WORKER))

    assert sentence(beating, ReasonCode.IS_RUNNING).endswith("it has reported no progress.")
    assert sentence(one_of_two, ReasonCode.IS_RUNNING).endswith(
        "It was last heard of 9 s ago; if it stays silent for another 6 s, a worker takes the job back."
    )
    at_the_end = replace(one_of_two, holder=Holder("w1", silent=14.9, lease_left=0.1))
    assert "stays silent for another 1 s," in sentence(at_the_end, ReasonCode.IS_RUNNING)
    assert sentence(silent, ReasonCode.IS_RUNNING).endswith("another one can take the job back, but no other is alive.")


def test_r20_a_handler_that_goes_on_after_its_timeout_is_explained() -> None:
    facts = running(timeout=10.0)
    in_time, late = (sentence(replace(facts, now=NOW + timedelta(seconds=s)), ReasonCode.IS_RUNNING) for s in (9, 11))

    assert in_time.endswith("it has reported no progress.")
    assert late.endswith(
        "Its timeout of 10 s is over; its worker stops it, "
        "but a handler in a thread can't be killed: a handler that does not check for it may go on."
    )


def test_r20_a_dead_letter_whose_parameters_its_handler_refuses_can_be_retried_with_others() -> None:
    job = replace(JOB, status=JobStatus.DEAD_LETTER, attempt=1, error_type="InvalidParameters")
    last = LogEntry(4, JobStatus.FAILED, JobStatus.DEAD_LETTER, NOW, "w1", "no retries left", 1, None, None)

    assert sentence(replace(READY, job=job, last_entry=last), ReasonCode.HAS_ENDED).endswith(
        "Retry it with other parameters (`-p NAME=VALUE`), or as it is once a handler takes them, or resolve it."
    )


def test_r20_a_long_error_is_cut_to_its_first_line() -> None:
    job = replace(JOB, next_retry_at=NOW + timedelta(seconds=60), error_type="E", error_message="x" * 500 + "\nmore")
    last = LogEntry(4, JobStatus.FAILED, JobStatus.QUEUED, NOW, "w1", "retry 1", 1, None, None)

    told = sentence(replace(READY, job=job, last_entry=last, place_in_lane=None), ReasonCode.WAITS_FOR_RETRY)

    assert len(told) < 400
    assert "…" in told
    assert "more" not in told
