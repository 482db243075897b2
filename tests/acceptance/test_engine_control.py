"""R17: what is paused waits, what runs finishes, and everything goes on afterwards."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from fairlane import JobContext
from tests.engine.worker_kit import Engine, Gate, running, started


def pauses(fl: Engine) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    return {
        "queue": (lambda: fl.queues.pause("default"), lambda: fl.queues.resume("default")),
        "type": (lambda: fl.job_types.pause("work"), lambda: fl.job_types.resume("work")),
        "organization": (lambda: fl.organizations.pause("acme"), lambda: fl.organizations.resume("acme")),
    }


@pytest.mark.slow
@pytest.mark.parametrize("what", ["queue", "type", "organization"])
def test_nothing_starts_while_it_is_paused_and_running_jobs_finish(fl: Engine, what: str) -> None:
    gate = Gate()

    @fl.job_type("work", dedup_window=0)
    def work(ctx: JobContext) -> None:
        gate.wait()

    @fl.job_type("other", queue="other", dedup_window=0)
    async def other(ctx: JobContext) -> None: ...

    fl.organizations.create("rival")
    pause, resume = pauses(fl)[what]
    before = fl.give("work")
    with running(fl.worker(queues=None)):
        started(fl, before)
        pause()
        after, unconcerned = fl.give("work"), fl.give("other", organization="rival")
        gate.open()
        assert fl.ended(before).status == "completed"
        assert fl.ended(unconcerned).status == "completed"
        assert fl.look(after).attempt == 0
        resume()
        assert fl.ended(after).status == "completed"


def test_a_job_waits_for_its_time(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None: ...

    job = fl.give("work", delay=0.3)
    assert job.status == "pending"
    with running(fl.worker()):
        ended = fl.ended(job)
    assert fl.way(job) == ["pending", "queued", "running", "completed"]
    assert ended.started_at is not None
    assert ended.started_at >= job.run_at


def test_an_idle_worker_takes_a_scheduled_job_that_is_run_now(fl: Engine) -> None:
    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext) -> None: ...

    scheduled = fl.give("work", delay=3600)
    with running(fl.worker()):
        assert fl.ended(fl.give("work")).status == "completed"
        assert fl.look(scheduled).status == "pending"
        fl.run_now(scheduled, organization="acme")
        assert fl.ended(scheduled).status == "completed"


def test_jobs_run_in_the_order_of_their_new_priorities_and_times(fl: Engine) -> None:
    ran = list[int]()

    @fl.job_type("work", dedup_window=0)
    def work(ctx: JobContext, n: int) -> None:
        ran.append(n)

    first, last, later, urgent = (fl.give("work", parameters={"n": n}) for n in range(4))
    fl.prioritize(urgent, "critical", organization="acme")
    fl.prioritize(last, "low", organization="acme")
    fl.reschedule(later, datetime.now(UTC) + timedelta(hours=1), organization="acme")
    fl.drain(concurrency=1)
    assert ran == [3, 0, 1]
    assert [fl.look(job).status for job in (first, later)] == ["completed", "pending"]
