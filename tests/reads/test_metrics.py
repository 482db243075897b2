"""R15: counts and ages of an organization and of all; what `top` shows."""

from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Connection

from fairlane.domain.limits import Limit, LimitUse, Subject
from fairlane.domain.metrics import PauseView
from fairlane.domain.reasons import ReasonCode
from fairlane.domain.statuses import PASSING, JobStatus, OrganizationStatus, Priority
from fairlane.reads import metrics as numbers
from fairlane.reads.service import Reads
from fairlane.store.statements import attempts
from fairlane.store.statements import metrics as statements
from fairlane.tenancy.directory import Standing
from tests.reads.world import LEASE, Host, World, key_of

pytestmark = pytest.mark.both_databases


def test_r15_an_empty_organization_has_zeros_and_no_age(world: World, reads: Reads) -> None:
    metrics = reads.metrics("acme")

    assert metrics.jobs_by_status == dict.fromkeys(set(JobStatus) - PASSING, 0)
    assert metrics.queue_depth_by_priority == dict.fromkeys(Priority, 0)
    assert (metrics.oldest_queued_seconds, metrics.dead_letter_depth) == (None, 0)


def test_r15_jobs_by_status(world: World, reads: Reads) -> None:
    world.submit()
    world.claim(world.start_worker())
    world.submit()
    world.submit(delay=60.0)

    sizes = reads.metrics("acme").jobs_by_status

    assert {status: size for status, size in sizes.items() if size} == {
        JobStatus.RUNNING: 1,
        JobStatus.QUEUED: 1,
        JobStatus.PENDING: 1,
    }


def test_r15_queue_depth_by_priority_counts_what_may_be_claimed(world: World, reads: Reads) -> None:
    world.submit()
    world.fail(world.claim(world.start_worker()))  # queued, but not before its retry time
    world.submit(priority=Priority.HIGH)
    world.submit(priority=Priority.HIGH)

    depth = reads.metrics("acme").queue_depth_by_priority

    assert {priority: size for priority, size in depth.items() if size} == {Priority.HIGH: 2}


def test_r15_age_of_the_oldest_queued(world: World, reads: Reads) -> None:
    world.submit()
    world.pass_time(30)
    world.submit(priority=Priority.CRITICAL)
    world.pass_time(12)

    assert reads.metrics("acme").oldest_queued_seconds == 42


def test_r15_a_retry_is_as_old_as_its_retry_time(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.fail(world.claim(world.start_worker()))
    due = reads.get(job_id, "acme").next_retry_at
    assert due is not None
    world.pass_time((due - world.now).total_seconds() + 5)
    world.stage_retries()

    assert reads.metrics("acme").oldest_queued_seconds == 5


def test_r15_dead_letter_depth(world: World, reads: Reads) -> None:
    world.submit()
    world.fail(world.claim(world.start_worker()), permanent=True)

    assert reads.metrics("acme").dead_letter_depth == 1


def test_r15_an_organization_sees_its_own_and_operators_all(world: World, reads: Reads) -> None:
    for organization in ("acme", "rival", "rival"):
        world.submit(organization)
    worker = world.start_worker()
    world.fail(world.claim(worker, "rival"), permanent=True)

    mine, everybodys = reads.metrics("acme"), reads.metrics()

    assert (mine.jobs_by_status[JobStatus.QUEUED], everybodys.jobs_by_status[JobStatus.QUEUED]) == (1, 2)
    assert (mine.dead_letter_depth, everybodys.dead_letter_depth) == (0, 1)
    assert sum(everybodys.queue_depth_by_priority.values()) == 2


def test_r15_workers_with_the_jobs_that_they_run(world: World, reads: Reads) -> None:
    for organization in ("acme", "rival"):
        world.submit(organization)
    busy = world.start_worker("busy", queues=("default",))
    world.start_worker("idle", stopping=True)
    for organization in ("acme", "rival"):
        world.claim(busy, organization)

    workers = reads.workers()

    assert [(worker.name, worker.running, worker.queues, worker.stopping) for worker in workers] == [
        ("busy", 2, ("default",), False),
        ("idle", 0, None, True),
    ]


def test_r15_queued_and_pending_jobs_that_no_live_worker_serves(world: World, reads: Reads) -> None:
    world.start_worker("w1", queues=("default",), job_types=("report.pdf", "old"))
    world.start_worker("w2", queues=("mail",), job_types=("letter",))
    world.start_worker("w3", job_types=("gone", "bulky"), stopping=True)
    world.submit()
    world.submit(queue="mail")
    world.submit("rival", "gone")
    world.fail(world.claim(world.start_worker("w4", queues=("other",), job_types=("x",)), "rival", "gone"))
    world.submit("rival", "gone")
    world.submit(job_type="bulky", queue="bulk")
    world.submit(job_type="later", delay=60.0)

    assert [(one.queue, one.job_type, one.waiting, one.queue_is_served) for one in reads.stranded()] == [
        ("bulk", "bulky", 1, False),
        ("default", "gone", 2, True),
        ("default", "later", 1, True),
        ("mail", "report.pdf", 1, True),
    ]


def test_r15_a_worker_that_was_silent_for_most_of_its_lease_is_told_apart(world: World, reads: Reads) -> None:
    killed, working = world.start_worker("killed"), world.start_worker("working")
    world.pass_time(LEASE - 3)
    world.beat(working)

    assert [(one.id, one.silent, one.lease_left, one.is_silent) for one in reads.workers()] == [
        (killed.id, LEASE - 3, 3, True),
        (working.id, 0, LEASE, False),
    ]


def test_r15_a_worker_without_lease_is_not_shown(world: World, reads: Reads) -> None:
    world.start_worker()
    world.pass_time(LEASE + 1)

    assert reads.workers() == ()


def test_r15_running_jobs_with_worker_and_progress(world: World, reads: Reads) -> None:
    job_id = world.submit()
    claimed = world.claim(world.start_worker("w1"))

    world.write(
        lambda connection: attempts.set_progress(
            connection, world.now, key_of(claimed), percent=45.0, message="page 5 of 11"
        )
    )

    (running,) = reads.running()

    assert (running.id, running.worker, running.progress, running.progress_message) == (
        job_id,
        "w1",
        45.0,
        "page 5 of 11",
    )


def test_r15_running_jobs_have_the_longest_running_first_up_to_a_limit(world: World, reads: Reads) -> None:
    worker, ids = world.start_worker(), []
    for _ in range(3):
        ids.append(world.submit())
        world.claim(worker)
        world.pass_time(1)

    assert [job.id for job in reads.running(limit=2)] == ids[:2]


def test_r15_running_jobs_of_one_organization(world: World, reads: Reads) -> None:
    worker = world.start_worker()
    for organization in ("acme", "rival"):
        world.submit(organization)
        world.claim(worker, organization)

    assert [job.organization for job in reads.running("rival")] == ["rival"]


def test_r15_queues_with_their_live_jobs(world: World, reads: Reads) -> None:
    worker = world.start_worker()
    world.submit()
    world.fail(world.claim(worker))
    world.submit("rival")
    world.claim(worker, "rival")
    world.submit()
    world.submit(queue="bulk", delay=60.0)
    world.cancel(world.submit(queue="done"))

    queues = [(queue.queue, queue.ready, queue.retrying, queue.running, queue.pending) for queue in reads.queues()]

    assert queues == [("bulk", 0, 0, 0, 1), ("default", 1, 1, 1, 0)]


def test_r15_the_oldest_ready_job_of_a_queue_has_any_priority_and_is_of_the_reader_s_organization(
    world: World, reads: Reads
) -> None:
    world.submit("rival", priority=Priority.LOW)
    world.pass_time(30)
    world.submit(priority=Priority.NORMAL)
    world.pass_time(30)
    world.submit(priority=Priority.CRITICAL)
    world.submit(queue="bulk", delay=60.0)
    world.pass_time(10)

    def oldest(organization: str | None) -> dict[str, float | None]:
        return {one.queue: one.oldest_seconds for one in reads.queues(organization)}

    assert oldest(None) == {"bulk": None, "default": 70}
    assert oldest("acme") == {"bulk": None, "default": 40}
    assert oldest("rival") == {"default": 70}
    assert reads.ages() == {"default": 70}
    assert {one.queue: one.oldest_seconds for one in reads.overview().queues} == oldest(None)


def test_r15_a_retry_that_is_ready_is_as_old_in_its_queue_as_its_retry_time(world: World, reads: Reads) -> None:
    world.submit()
    world.fail(world.claim(world.start_worker()))
    world.pass_time(3600)
    world.stage_retries()

    (queue,) = reads.queues()

    assert queue.oldest_seconds == reads.metrics("acme").oldest_queued_seconds
    assert queue.oldest_seconds is not None
    assert 0 < queue.oldest_seconds < 3600


def test_a_queue_that_empties_while_a_page_is_read_does_not_end_the_pages(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {queue: world.submit(queue=queue) for queue in ("a", "b", "c")}
    names_of = statements.queue_names

    def emptied(*args: Any) -> list[str]:
        names = names_of(*args)
        world.cancel(jobs["a"])
        return names

    monkeypatch.setattr(statements, "queue_names", emptied)
    assert [one.queue for one in reads.queues("acme", limit=2)] == ["a", "b"]


def test_r15_queues_come_in_pages_of_which_the_database_counts_no_other(world: World, reads: Reads) -> None:
    for queue in ("b", "a", "d", "c"):
        world.submit(queue=queue)
    world.submit("rival", queue="bb")
    world.pause("queue", "aa")

    def page(organization: str | None, after: str | None = None) -> list[tuple[str, int]]:
        return [(one.queue, one.ready) for one in reads.queues(organization, after=after, limit=3)]

    assert page("acme") == [("a", 1), ("b", 1), ("c", 1)]
    assert page("acme", "c") == [("d", 1)]
    assert page(None) == [("a", 1), ("aa", 0), ("b", 1)]
    assert page(None, "b") == [("bb", 1), ("c", 1), ("d", 1)]


def test_r15_ready_jobs_that_wait_at_a_limit_are_counted_apart(world: World, reads: Reads) -> None:
    worker = world.start_worker()
    world.set_max_running("acme", 1)
    world.limit(Subject(None, "mail.send"), execution_rate=3)
    world.note_starts(Subject(None, "mail.send"), 1)
    world.submit()
    world.claim(worker)
    for _ in range(3):
        world.submit()  # acme runs one already
        world.submit("rival", "mail.send")  # one was started, two more may be

    assert [(queue.ready, queue.limited, queue.running, queue.live) for queue in reads.queues()] == [(2, 4, 1, 7)]


def test_r15_what_is_paused_takes_nobody_s_room_at_a_limit(world: World, reads: Reads) -> None:
    world.limit(Subject(None, "report.pdf"), max_running=1)
    for queue in ("a", "b"):
        world.submit(queue=queue)
    world.pause("queue", "a")

    assert [(queue.queue, queue.ready, queue.limited) for queue in reads.queues()] == [("a", 1, 0), ("b", 1, 0)]


def test_r15_limits_of_the_host_s_organizations_count_and_none_while_it_gives_no_answer(world: World) -> None:
    world.submit("of-the-host")
    host = Host(Standing(OrganizationStatus.ACTIVE, max_running=0))

    assert [queue.limited for queue in Reads(world.database, host).queues()] == [1]
    host.is_away = True
    assert [queue.limited for queue in Reads(world.database, host).queues()] == [0]


def test_r4_the_use_of_limits_is_what_runs_and_what_has_started_within_the_window(world: World, reads: Reads) -> None:
    every, rate = Subject(None, "report.pdf"), Subject("acme", "report.pdf")
    worker = world.start_worker()
    for organization in ("acme", "rival"):
        world.submit(organization)
        world.claim(worker, organization)
    world.note_starts(rate, 4)
    world.pass_time(61)
    world.note_starts(rate, 3)

    uses = reads.limit_uses({every: Limit(max_running=5), rate: Limit(execution_rate=5)})

    assert uses == {every: LimitUse(running=2), rate: LimitUse(running=1, started=3)}


def test_r15_a_paused_queue_is_shown_even_when_it_is_empty(world: World, reads: Reads) -> None:
    world.submit()
    world.pause("queue", "bulk")
    world.pause("job_type", "default")

    assert [(queue.queue, queue.paused) for queue in reads.queues()] == [("bulk", True), ("default", False)]


def test_r15_numbers_are_planned_for_the_organization_that_asks(postgres_url: str) -> None:
    """A plan for any organization takes another index, by which one with 200,000 jobs has each of them read."""
    world = World(postgres_url)

    def work(connection: Connection) -> str:
        numbers.metrics_of(connection, world.clock, "acme", 60)
        return str(connection.exec_driver_sql("SHOW plan_cache_mode").scalar_one())

    with closing(world.database):
        assert world.database.read(work, of="acme") == "force_custom_plan"


def held(reads: Reads, organization: str | None = None) -> list[tuple[str, ReasonCode, tuple[str, ...], int]]:
    return [
        (queue.queue, one.code, one.job_types, one.jobs) for queue in reads.queues(organization) for one in queue.holds
    ]


def test_r15_a_queue_says_what_keeps_its_queued_jobs_from_starting(world: World, reads: Reads) -> None:
    world.start_worker(queues=("default", "mail"))
    for _ in range(2):
        world.submit(queue="gpu")
    world.submit(job_type="old", queue="mail")
    world.submit(queue="mail", delay=60.0)  # is not queued, so nothing holds it
    world.submit("rival", queue="mail")
    world.submit()
    world.submit("rival")
    world.open_breaker("rival")

    assert held(reads, "acme") == [
        ("gpu", ReasonCode.NO_WORKER_FOR_QUEUE, ("report.pdf",), 2),
        ("mail", ReasonCode.NO_WORKER_FOR_JOB_TYPE, ("old",), 1),
    ]
    assert held(reads) == [
        ("default", ReasonCode.BREAKER_OPEN, ("report.pdf",), 1),
        ("gpu", ReasonCode.NO_WORKER_FOR_QUEUE, ("report.pdf",), 2),
        ("mail", ReasonCode.BREAKER_OPEN, ("report.pdf",), 1),
        ("mail", ReasonCode.NO_WORKER_FOR_JOB_TYPE, ("old",), 1),
    ]


def test_r15_what_a_lost_worker_ran_waits_for_another_one(world: World, reads: Reads) -> None:
    worker = world.start_worker("killed")
    world.submit()
    world.claim(worker)
    world.submit()
    assert held(reads, "acme") == []
    world.pass_time(LEASE + 1)

    assert held(reads, "acme") == [("default", ReasonCode.NO_WORKER, ("report.pdf",), 2)]
    assert reads.workers() == ()
    assert [(one.name, one.running, one.lost, one.lease_left) for one in reads.workers(lost=True)] == [
        ("killed", 1, True, 0.0)
    ]
    world.rescue()
    assert reads.workers(lost=True) == ()


def test_r15_a_paused_queue_says_who_paused_it_and_why(world: World, reads: Reads) -> None:
    world.start_worker()
    world.submit()
    world.pause("queue", "default", actor="olga", reason="the disk is full")

    (queue,) = reads.queues("acme")

    assert queue.pause == PauseView("olga", world.now, "the disk is full")
    assert held(reads, "acme") == [("default", ReasonCode.QUEUE_PAUSED, ("report.pdf",), 1)]


def test_r15_a_ready_job_that_is_held_back_is_counted_once_whatever_holds_it(world: World, reads: Reads) -> None:
    world.start_worker(job_types=("report.pdf", "mail", "gone"))
    world.pause("job_type", "mail")
    world.pause("organization", "rival")
    world.limit(Subject(None, "report.pdf"), max_running=1)
    for _ in range(2):
        world.submit()
        world.submit("rival")
        world.submit(job_type="mail")
    world.submit(job_type="nobody")

    (queue,) = reads.queues()
    assert (queue.ready, queue.limited, queue.held) == (6, 1, 5)
