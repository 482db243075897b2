"""R20: what the database says becomes the right reasons. The sentences are in test_explain_sentences.py."""

from uuid import UUID

import pytest

from fairlane.domain import explain as sentences
from fairlane.domain.outcomes import Snoozed
from fairlane.domain.reasons import MAINTENANCE, ReasonCode
from fairlane.domain.statuses import JobStatus, OrganizationStatus, Priority
from fairlane.reads import explain as gathering
from fairlane.reads.service import Reads
from tests.reads.world import LEASE, World


def codes(reads: Reads, job_id: UUID) -> list[ReasonCode]:
    return [reason.code for reason in reads.explain(job_id, "acme").reasons]


def test_r20_nothing_blocks_a_ready_job_with_a_worker(world: World, reads: Reads) -> None:
    world.start_worker()

    explanation = reads.explain(world.submit(), "acme")

    assert [reason.code for reason in explanation.reasons] == [ReasonCode.NOTHING_BLOCKS]
    assert (explanation.status, explanation.place_in_lane) == (JobStatus.QUEUED, 1)


def test_r20_place_goes_by_priority_then_time_within_the_lane(world: World, reads: Reads) -> None:
    low = world.submit(priority=Priority.LOW)
    first, second = world.submit(), world.submit()
    urgent = world.submit(priority=Priority.CRITICAL)
    world.submit(job_type="mail.send", priority=Priority.CRITICAL)
    world.submit(queue="bulk", priority=Priority.CRITICAL)
    world.submit("rival", priority=Priority.CRITICAL)

    places = [reads.explain(job_id, "acme").place_in_lane for job_id in (urgent, first, second, low)]

    assert places == [1, 2, 3, 4]


def test_r20_place_is_counted_no_further_than_its_cap(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "LAST_PLACE", 2)
    monkeypatch.setattr(sentences, "LAST_PLACE", 2)
    world.start_worker()
    ids = [world.submit() for _ in range(4)]

    explanation = reads.explain(ids[-1], "acme")

    assert explanation.place_in_lane == 2
    assert "number 2 or later" in explanation.summary


def test_r20_names_the_parents_that_have_not_ended(world: World, reads: Reads) -> None:
    worker = world.start_worker()
    parents = [world.submit() for _ in range(7)]
    world.end(world.claim(worker))
    child = world.submit(parents=tuple(parents))

    explanation = reads.explain(child, "acme")

    assert [reason.code for reason in explanation.reasons] == [ReasonCode.WAITS_FOR_PARENTS]
    assert str(parents[0]) not in explanation.summary
    assert all(str(parent) in explanation.summary for parent in parents[1:6])
    assert "6 parents" in explanation.summary
    assert "and 1 more" in explanation.summary
    assert explanation.place_in_lane is None


def test_r20_a_scheduled_job_waits_for_its_time(world: World, reads: Reads) -> None:
    world.start_worker()

    assert codes(reads, world.submit(delay=60.0)) == [ReasonCode.SCHEDULED]


def test_r20_a_scheduled_job_whose_time_has_come_is_being_made_ready(world: World, reads: Reads) -> None:
    job_id, worker = world.submit(delay=60.0), world.start_worker()
    world.pass_time(61)
    world.beat(worker)

    assert codes(reads, job_id) == [ReasonCode.BEING_MADE_READY]


def test_r20_a_failed_attempt_waits_for_its_retry_time_with_the_error(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.fail(world.claim(world.start_worker()), "no paper")

    explanation = reads.explain(job_id, "acme")

    assert [reason.code for reason in explanation.reasons] == [ReasonCode.WAITS_FOR_RETRY]
    assert "the last one ended with PrinterError: no paper" in explanation.summary


def test_r20_a_snoozed_job_waits_without_blaming_an_earlier_error(world: World, reads: Reads) -> None:
    job_id, worker = world.submit(), world.start_worker()
    world.fail(world.claim(worker), "no paper")
    world.pass_time(3600)
    world.beat(worker)
    world.stage_retries()
    world.end(world.claim(worker), Snoozed(60, "the tray is being filled"))

    summary = reads.explain(job_id, "acme").summary

    assert "snoozed by the handler for 60 s: the tray is being filled" in summary
    assert "PrinterError" not in summary


@pytest.mark.parametrize(
    ("subject", "name", "code"),
    [
        ("organization", "acme", ReasonCode.ORGANIZATION_PAUSED),
        ("job_type", "report.pdf", ReasonCode.JOB_TYPE_PAUSED),
        ("queue", "default", ReasonCode.QUEUE_PAUSED),
    ],
)
def test_r20_names_a_pause_with_who_and_why(
    world: World, reads: Reads, subject: str, name: str, code: ReasonCode
) -> None:
    job_id = world.submit()
    world.start_worker()
    world.pause(subject, name, actor="olga", reason="the printer is away")

    explanation = reads.explain(job_id, "acme")

    assert [reason.code for reason in explanation.reasons] == [code]
    assert f"{name} is paused: olga paused it at 2026-11-01 12:00:00 UTC (the printer is away)" in explanation.summary


def test_r20_maintenance_mode_is_named_before_all_else(world: World, reads: Reads) -> None:
    job_id = world.submit(parents=(world.submit(),), delay=60.0)
    world.set_organization_status("acme", OrganizationStatus.SUSPENDED)
    world.pause("queue", "default")
    world.pause(*MAINTENANCE, actor="olga", reason="a new release")

    explanation = reads.explain(job_id, "acme")

    assert explanation.summary == (
        "Maintenance mode is on: olga turned it on at 2026-11-01 12:00:00 UTC (a new release). "
        "No job starts until an operator turns it off."
    )
    assert [reason.code for reason in explanation.reasons] == [
        ReasonCode.MAINTENANCE,
        ReasonCode.WAITS_FOR_PARENTS,
        ReasonCode.SCHEDULED,
        ReasonCode.ORGANIZATION_SUSPENDED,
        ReasonCode.QUEUE_PAUSED,
        ReasonCode.NO_WORKER,
    ]


def test_r20_a_pause_of_something_else_is_no_reason(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.start_worker()
    # The same name, but of another kind.
    for subject, name in [("organization", "rival"), ("job_type", "default"), ("queue", "report.pdf")]:
        world.pause(subject, name)

    assert codes(reads, job_id) == [ReasonCode.NOTHING_BLOCKS]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (OrganizationStatus.SUSPENDED, ReasonCode.ORGANIZATION_SUSPENDED),
        (OrganizationStatus.DELETED, ReasonCode.ORGANIZATION_DELETED),
    ],
)
def test_r20_names_an_organization_that_is_not_active(
    world: World, reads: Reads, status: OrganizationStatus, code: ReasonCode
) -> None:
    job_id = world.submit()
    world.start_worker()
    world.set_organization_status("acme", status)

    assert codes(reads, job_id) == [code]


def test_r20_an_organization_that_the_host_keeps_is_no_reason(world: World, reads: Reads) -> None:
    world.start_worker()
    job_id = world.submit("of-the-host")

    assert reads.explain(job_id, "of-the-host").reasons[0].code is ReasonCode.NOTHING_BLOCKS


def test_r20_says_that_no_worker_is_alive(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.start_worker()
    world.pass_time(LEASE + 1)

    assert codes(reads, job_id) == [ReasonCode.NO_WORKER]


def test_r20_says_that_no_worker_serves_the_queue(world: World, reads: Reads) -> None:
    world.start_worker(queues=("bulk",))

    assert codes(reads, world.submit()) == [ReasonCode.NO_WORKER_FOR_QUEUE]


def test_r20_says_that_no_worker_of_the_queue_has_the_job_type(world: World, reads: Reads) -> None:
    world.start_worker(queues=("default",), job_types=("mail.send",))
    world.start_worker(queues=("bulk",), job_types=("report.pdf",))

    assert codes(reads, world.submit()) == [ReasonCode.NO_WORKER_FOR_JOB_TYPE]


def test_r20_says_that_all_workers_are_stopping(world: World, reads: Reads) -> None:
    world.start_worker(stopping=True)

    assert codes(reads, world.submit()) == [ReasonCode.WORKERS_STOPPING]


def test_r20_one_worker_that_goes_on_is_enough(world: World, reads: Reads) -> None:
    world.start_worker(stopping=True)
    world.start_worker()

    assert codes(reads, world.submit()) == [ReasonCode.NOTHING_BLOCKS]


def test_r20_says_that_no_worker_has_the_key_of_the_organization(world: World, reads: Reads) -> None:
    mine, other = world.submit(), world.submit("rival")
    worker = world.start_worker()
    world.lack_key(worker, "acme")

    assert codes(reads, mine) == [ReasonCode.NO_WORKER_WITH_KEY]
    assert reads.explain(other, "rival").reasons[0].code is ReasonCode.NOTHING_BLOCKS


def test_r20_all_reasons_are_named(world: World, reads: Reads) -> None:
    job_id = world.submit(parents=(world.submit(),), delay=60.0)
    world.pause("queue", "default")

    assert codes(reads, job_id) == [
        ReasonCode.WAITS_FOR_PARENTS,
        ReasonCode.SCHEDULED,
        ReasonCode.QUEUE_PAUSED,
        ReasonCode.NO_WORKER,
    ]


def test_r20_a_running_job_names_its_worker(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.claim(world.start_worker("w7"))

    explanation = reads.explain(job_id, "acme")

    assert explanation.summary == (
        "Worker w7 has run it since 2026-11-01 12:00:00 UTC (attempt 1); it has reported no progress."
    )


def test_r20_a_running_job_whose_cancel_was_requested_says_by_whom_and_why(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.claim(world.start_worker())
    world.cancel(job_id, actor="bea", reason="wrong month")

    explanation = reads.explain(job_id, "acme")

    assert [reason.code for reason in explanation.reasons] == [ReasonCode.CANCEL_REQUESTED, ReasonCode.IS_RUNNING]
    assert explanation.summary.startswith("bea asked at 2026-11-01 12:00:00 UTC to cancel it (wrong month);")


def test_r20_a_running_job_of_a_lost_worker_says_when_it_is_taken_back(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.claim(world.start_worker("w1"))
    world.pass_time(LEASE + 5)
    world.start_worker("w2")

    explanation = reads.explain(job_id, "acme")

    assert [reason.code for reason in explanation.reasons] == [ReasonCode.WORKER_LOST, ReasonCode.IS_RUNNING]
    assert "w1 was last heard of 20 s ago" in explanation.summary
    assert "takes the job back as soon as it has been alive for a lease itself (15 s)" in explanation.summary


def test_r20_a_running_job_of_the_last_worker_that_was_lost_asks_for_another(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.claim(world.start_worker())
    world.pass_time(LEASE + 5)

    assert codes(reads, job_id) == [ReasonCode.WORKER_LOST, ReasonCode.NO_WORKER, ReasonCode.IS_RUNNING]


def test_r20_a_completed_job_says_when(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.end(world.claim(world.start_worker()))

    assert reads.explain(job_id, "acme").summary == (
        "It completed at 2026-11-01 12:00:00 UTC on attempt 1: handler returned."
    )


def test_r20_a_canceled_job_says_by_whom_and_why(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.cancel(job_id, actor="bea", reason="wrong month")

    assert reads.explain(job_id, "acme").summary == ("It was canceled at 2026-11-01 12:00:00 UTC by bea: wrong month.")


def test_r20_a_dead_letter_says_why_and_what_to_do(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.fail(world.claim(world.start_worker()), "no such printer", permanent=True)

    assert reads.explain(job_id, "acme").summary == (
        "It went to dead letter at 2026-11-01 12:00:00 UTC after 1 attempt: permanent error, not retried. "
        "The last error was PrinterError: no such printer. Mend the cause and retry it, or resolve it."
    )


def test_r20_a_job_that_its_parent_took_down_names_the_parent(world: World, reads: Reads) -> None:
    parent = world.submit()
    child = world.submit(parents=(parent,))
    world.fail(world.claim(world.start_worker()), permanent=True)

    summary = reads.explain(child, "acme").summary
    assert f"parent {parent} (report.pdf) ended as dead letter" in summary
    assert summary.endswith(f"Retry its parent {parent}: its children follow, or resolve it.")


def test_r20_a_job_far_down_a_chain_names_the_ancestor_that_can_be_retried(world: World, reads: Reads) -> None:
    chain = [world.submit()]
    for _ in range(7):
        chain.append(world.submit(parents=(chain[-1],)))
    world.fail(world.claim(world.start_worker()), permanent=True)

    for job_id in chain[2:6]:
        assert f"Retry its ancestor {chain[0]}: its children follow" in reads.explain(job_id, "acme").summary
    far = reads.explain(chain[7], "acme").summary
    assert f"Retry the first dead letter above its parent {chain[6]}: its children follow" in far


def test_r20_a_job_whose_parent_was_canceled_is_not_told_to_retry_the_parent(world: World, reads: Reads) -> None:
    parent = world.submit()
    child = world.submit(parents=(parent,))
    world.cancel(parent)

    assert reads.explain(child, "acme").summary.endswith(
        "That parent stays canceled: retry this job to run it without the parent, submit both anew, or resolve it."
    )
