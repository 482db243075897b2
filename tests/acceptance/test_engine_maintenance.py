"""R17: in maintenance mode running jobs finish, nothing starts on any worker, and all goes on afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from uuid import UUID

import pytest

from fairlane import Job, JobContext, JobStatus, Submission, TransientError
from tests.acceptance.apps.worker import register
from tests.engine.worker_kit import Engine, Gate, engine, running, started, until
from tests.engine.worker_process import worker_process

pytestmark = pytest.mark.slow

LEASE = 3.0  # seconds; a worker beats three times in it, and between two beats it looks for jobs dozens of times
NEVER = 3600.0  # seconds
MANY = 4000  # jobs of 2 ms, more than three workers do until somebody has seen the first one start


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url, lease=LEASE) as fl:
        yield fl


def by_status(fl: Engine, status: JobStatus) -> int:
    """Return how many jobs of acme rest in a status."""
    return fl.reads.by_status("acme")[status]


def attempts(fl: Engine) -> dict[UUID, int]:
    """Return how often each job of acme was started; what a busy machine has rescued counts once."""
    found: dict[UUID, int] = {}
    page = fl.list(organization="acme", limit=1000)
    while True:
        found |= {job.id: job.attempt for job in page.items}
        if page.next_cursor is None:
            return found
        page = fl.list(organization="acme", limit=1000, cursor=page.next_cursor)


def looked(fl: Engine, workers: int = 1) -> None:
    """Wait until so many workers are there, and each has looked for jobs many times from now on."""
    until(lambda: len(fl.reads.workers()) == workers)
    began = {one.id: one.heartbeat_at for one in fl.reads.workers()}
    until(lambda: all(one.heartbeat_at > began[one.id] for one in fl.reads.workers()))
    since = {one.id: one.heartbeat_at for one in fl.reads.workers()}
    until(lambda: all(one.heartbeat_at > since[one.id] for one in fl.reads.workers()))


def has_more(fl: Engine, done: int) -> bool:
    return by_status(fl, JobStatus.COMPLETED) > done


def test_no_worker_process_starts_a_job_after_it_was_turned_on(fl: Engine) -> None:
    register(fl)
    fl.migrate()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(worker_process(fl, lease=LEASE))
        until(lambda: len(fl.reads.workers()) == 3)
        fl.submit_many([Submission("quick", organization="acme") for _ in range(MANY)])
        until(lambda: by_status(fl, JobStatus.QUEUED) < MANY)
        fl.maintenance.on(reason="a new release", user="ops")
        before = attempts(fl)
        assert 0 in before.values(), "too few jobs for this machine"
        late = fl.give("quick")
        until(lambda: not fl.reads.running())
        looked(fl, 3)
        assert attempts(fl) == {**before, late.id: 0}
        fl.maintenance.off(user="ops")
        while (done := by_status(fl, JobStatus.COMPLETED)) <= MANY:
            until(partial(has_more, fl, done))
        assert fl.look(late).status == "completed"


def test_running_jobs_finish_and_their_retries_and_children_wait(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("work", backoff=[0], dedup_window=0)
    def work(ctx: JobContext, fails: bool = False) -> None:
        gate.wait()
        if fails and ctx.attempt == 1:
            raise TransientError("again")

    well, badly = fl.give("work"), fl.give("work", parameters={"fails": True})
    child = fl.give("work", depends_on=well)
    with running(fl.worker()):
        started(fl, well)
        started(fl, badly)
        fl.maintenance.on()
        gate.open()
        assert fl.ended(well).status == "completed"
        until(lambda: fl.way(badly)[-2:] == ["failed", "queued"])
        until(lambda: fl.look(child).status == "queued")
        looked(fl)
        assert (fl.look(badly).attempt, fl.look(child).attempt) == (1, 0)
        assert fl.maintenance.off()
        assert fl.ended(badly).attempt == 2
        assert fl.ended(child).status == "completed"


def test_schedules_go_on_submitting_and_their_jobs_wait(fl: Engine) -> None:
    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext) -> None: ...

    fl.maintenance.on()
    fl.schedules.put("often", "work", organization="acme", every=1)

    def ticks() -> list[Job]:
        return [*fl.list(organization="acme").items]

    with running(fl.worker()):
        until(lambda: len(ticks()) >= 2)
        assert {(one.status, one.attempt) for one in ticks()} == {("queued", 0)}
        fl.schedules.delete("often", organization="acme")
        fl.maintenance.off()
        for one in ticks():
            assert fl.ended(one).status == "completed"


def test_all_goes_on_without_waiting_for_the_next_poll(database_url: str) -> None:
    with engine(database_url, lease=LEASE, poll_interval=NEVER) as fl:

        @fl.job_type("work", dedup_window=0)
        async def work(ctx: JobContext) -> None: ...

        with running(fl.worker()):
            assert fl.ended(fl.give("work")).status == "completed"
            fl.maintenance.on()
            job = fl.give("work")
            looked(fl)
            assert fl.look(job).attempt == 0
            fl.maintenance.off()
            assert fl.ended(job).status == "completed"


def test_all_goes_on_by_polling_where_hints_get_lost(fl: Engine) -> None:
    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext) -> None: ...

    with running(fl.worker()):
        fl.database.hint = lambda: None
        assert fl.ended(fl.give("work")).status == "completed"
        fl.maintenance.on()
        job = fl.give("work")
        looked(fl)
        assert fl.look(job).attempt == 0
        fl.maintenance.off()
        assert fl.ended(job).status == "completed"


def test_a_drain_ends_at_once_and_leaves_all_waiting(fl: Engine) -> None:
    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext) -> None: ...

    fl.maintenance.on()
    job = fl.give("work")
    fl.drain()
    assert fl.look(job).attempt == 0
    fl.maintenance.off()
    fl.drain()
    assert fl.look(job).status == "completed"
