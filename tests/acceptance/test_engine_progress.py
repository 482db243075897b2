"""R11: the progress of a job is that of its latest attempt, wherever it is shown."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from fairlane import Job, JobContext, Snooze
from tests.engine.worker_kit import Engine, Gate, engine, running, started, until
from tests.engine.worker_process import worker_process
from tests.engine.worker_store import registered

LEASE = 2.5  # seconds; a worker process that is held up for so long replaces itself


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url, lease=LEASE) as fl:
        yield fl


class Seen(NamedTuple):
    """The progress of a job that readers see."""

    percent: float | None
    message: str | None


NOTHING = Seen(None, None)
EARLIER = Seen(95.0, "nearly there")
HOUR = 3600  # seconds


def seen(fl: Engine, job: Job) -> set[Seen]:
    """Return the progress in the job itself and in a list; while it runs, also in the snapshot of live views."""
    one = fl.look(job)
    (listed,) = (other for other in fl.list(organization="acme").items if other.id == job.id)
    assert (one.progress_at is None) == (one.progress_message is None)
    live = [Seen(each.progress, each.progress_message) for each in fl.reads.running("acme") if each.id == job.id]
    assert bool(live) == (one.status == "running")
    return {Seen(one.progress, one.progress_message), Seen(listed.progress, listed.progress_message), *live}


def fails(ctx: JobContext) -> None:
    raise ConnectionError


def snoozes(ctx: JobContext) -> None:
    raise Snooze(0)


def snoozes_for_an_hour(ctx: JobContext) -> None:
    raise Snooze(HOUR)


def fails_after_a_checkpoint(ctx: JobContext) -> None:
    ctx.checkpoint({"page": 95})
    raise ConnectionError


def twice(fl: Engine, end: Callable[[JobContext], None], backoff: float = 0) -> Gate:
    """The job type "work", whose first attempt ends so, and whose second one tells of no progress."""
    gate = Gate()

    @fl.job_type("work", backoff=[backoff], dedup_window=0)
    def work(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            ctx.progress(95, "nearly there")
            end(ctx)
        gate.wait()

    return gate


@pytest.mark.parametrize("end", [fails, snoozes])
def test_a_new_attempt_begins_without_the_progress_of_the_one_before(
    fl: Engine, end: Callable[[JobContext], None]
) -> None:
    gate = twice(fl, end)
    job = fl.give("work")
    with running(fl.worker()):
        started(fl, job, attempt=2)
        assert seen(fl, job) == {NOTHING}
        assert "reported no progress" in fl.explain(job.id, organization="acme").summary
        gate.open()
        fl.ended(job)
    assert seen(fl, job) == {NOTHING}


def test_an_attempt_that_resumes_from_a_checkpoint_keeps_the_progress_up_to_there(fl: Engine) -> None:
    gate = twice(fl, fails_after_a_checkpoint)
    job = fl.give("work")
    with running(fl.worker()):
        started(fl, job, attempt=2)
        assert seen(fl, job) == {EARLIER}
        assert "nearly there" in fl.explain(job.id, organization="acme").summary
        gate.open()
        fl.ended(job)
    assert seen(fl, job) == {EARLIER}


@pytest.mark.parametrize(
    ("end", "shown"), [(fails, NOTHING), (snoozes_for_an_hour, NOTHING), (fails_after_a_checkpoint, EARLIER)]
)
def test_a_job_that_waits_for_its_next_attempt_shows_what_that_begins_with(
    fl: Engine, end: Callable[[JobContext], None], shown: Seen
) -> None:
    twice(fl, end, backoff=HOUR)
    job = fl.give("work")
    fl.drain()
    assert (fl.look(job).status, fl.look(job).attempt) == ("queued", 1)
    assert seen(fl, job) == {shown}


@pytest.mark.slow
def test_the_progress_of_a_lost_worker_s_attempt_is_not_the_next_one_s(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("thread", dedup_window=0)
    def work(ctx: JobContext) -> None:
        gate.wait()

    job = fl.give("thread")
    with worker_process(fl, lease=LEASE) as worker:
        worker.wait("JobProgressed", job_id=job.id)
        until(lambda: fl.look(job).progress_message is not None)
        with running(fl.worker()):
            until(lambda: len(registered(fl)) == 2)
            worker.kill()
            started(fl, job, attempt=2)
            assert seen(fl, job) == {NOTHING}
            gate.open()
            fl.ended(job)


def test_a_dead_letter_shows_how_far_its_last_attempt_came(fl: Engine) -> None:
    gate = twice(fl, fails)
    job = fl.give("work", max_retries=0)
    fl.drain()
    assert fl.look(job).status == "dead_letter"
    assert seen(fl, job) == {EARLIER}
    fl.retry(job.id, organization="acme")
    assert seen(fl, job) == {NOTHING}
    with running(fl.worker()):
        started(fl, job, attempt=2)
        assert seen(fl, job) == {NOTHING}
        gate.open()
        fl.ended(job)
