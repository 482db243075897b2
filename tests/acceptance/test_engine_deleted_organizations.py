"""R5: a job of an organization that was deleted while it ran ends with its attempt, and waits for no other."""

from collections.abc import Callable, Iterator

import pytest

from fairlane import Job, JobContext, JobStatus, Snooze, StorageUnavailable
from tests.engine.worker_kit import Engine, Gate, engine, running, until
from tests.engine.worker_process import worker_process
from tests.engine.worker_store import nothing, registered

LEASE = 2.5  # seconds; a worker process that is held up for so long replaces itself


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url, lease=LEASE) as fl:
        yield fl


def gone(fl: Engine, job: Job) -> list[JobStatus]:
    """The way of a job that ended with its organization."""
    ended = fl.look(job)
    assert (ended.status, ended.error_message) == ("dead_letter", "Organization not found")
    (letter,) = fl.dead_letters.list(organization="acme").items
    assert (letter.job_id, letter.fingerprint) == (job.id, "Refused Organization not found")
    assert ended.next_retry_at is None
    return fl.way(job)


def fails(ctx: JobContext) -> None:
    raise ConnectionError("the other side is away")


def snoozes(ctx: JobContext) -> None:
    raise Snooze(3600)


def meets_an_outage(ctx: JobContext) -> None:
    raise StorageUnavailable("The database did not answer.")


@pytest.mark.parametrize(
    ("end", "between"), [(fails, ["failed"]), (snoozes, []), (meets_an_outage, [])], ids=["fails", "snoozes", "waits"]
)
def test_a_job_that_would_run_again_ends_at_once(
    fl: Engine, end: Callable[[JobContext], None], between: list[str]
) -> None:
    gate = Gate()

    @fl.job_type("work", max_retries=5)
    def work(ctx: JobContext) -> None:
        gate.wait()
        end(ctx)

    job = fl.give("work")
    with running(fl.worker()):
        gate.reached()
        fl.organizations.delete("acme")
        gate.open()
        fl.ended(job)
    assert gone(fl, job) == ["queued", "running", *between, "dead_letter"]


@pytest.mark.slow
def test_a_job_that_runs_past_its_timeout_ends_at_once(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("work", timeout=2)
    def work(ctx: JobContext) -> None:
        gate.wait()
        ctx.sleep(60)

    job = fl.give("work")
    with running(fl.worker()):
        gate.reached()
        fl.organizations.delete("acme")
        gate.open()
        fl.ended(job)
    assert gone(fl, job) == ["queued", "running", "timed_out", "dead_letter"]


def test_a_job_that_completes_has_completed(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        gate.wait()

    job = fl.give("work")
    with running(fl.worker()):
        gate.reached()
        fl.organizations.delete("acme")
        gate.open()
        assert fl.ended(job).status == "completed"


def test_a_job_that_is_released_at_shutdown_ends_at_once(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        gate.open()
        ctx.sleep(60)

    job = fl.give("work")
    with running(fl.worker()):
        gate.wait()
        fl.organizations.delete("acme")
    assert gone(fl, job) == ["queued", "running", "dead_letter"]


@pytest.mark.slow
def test_a_job_of_a_lost_worker_ends_with_its_rescue(fl: Engine) -> None:
    nothing(fl)

    @fl.job_type("thread")
    def work(ctx: JobContext) -> None: ...

    job = fl.give("thread")
    with worker_process(fl, lease=LEASE) as worker:
        worker.wait("JobProgressed", job_id=job.id)
        fl.organizations.delete("acme")
        with running(fl.worker()):
            until(lambda: len(registered(fl)) == 2)
            worker.kill()
            fl.ended(job)
    assert gone(fl, job) == ["queued", "running", "dead_letter"]
