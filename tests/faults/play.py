"""A load is run to its end while connections are lost, and then the books are checked."""

from contextlib import ExitStack
from functools import partial

from sqlalchemy import func, select

from fairlane import Job
from fairlane.domain.statuses import LIVE, EdgeState
from fairlane.store.tables import job_parents, workers
from tests.engine.worker_kit import Engine, running, until, until_none
from tests.faults import incidents, load
from tests.faults.injection import Faults, injecting
from tests.store.races.agreement import assert_all_logs_agree


def play(faults: Faults, number: int, *engines: Engine) -> None:
    """A worker of each of these runs so many jobs of the load, and whatever else befalls jobs, with these faults.

    Raises:
        AssertionError: a job was lost, took effect twice, or did not end as it was to.
    """
    fl, book = engines[0], load.Book()
    for one in engines:
        load.register(one, book)
        incidents.register(one)
    past = incidents.past(fl)
    with ExitStack() as stack:
        for block in (incidents.with_short_waits(), injecting(faults), *(running(one.worker()) for one in engines)):
            stack.enter_context(block)
        jobs = load.submit(fl, number)
        befallen = incidents.befall(fl, past)
        until_none(partial(incidents.again, partial(_live, fl)))
        until(lambda: befallen.are_over(fl) and not incidents.again(partial(_live, fl)))
    now = {job.id: job for job in fl.list(organization="acme", limit=100).items}
    jobs = [now[job.id] for job in jobs]
    load.assert_books_balance(load.assert_ended(jobs) + befallen.assert_ended(fl, now), book)
    _assert_files_are_there(fl, jobs)
    assert_all_logs_agree(fl)
    _assert_nothing_is_left(fl)


def _live(fl: Engine) -> int:
    return fl.list(organization="acme", status=[status.value for status in LIVE], limit=1).total


def _assert_files_are_there(fl: Engine, jobs: list[Job]) -> None:
    for job in jobs:
        if job.job_type == "file":
            for name in load.FILES:
                assert fl.artifact(job.id, name, organization="acme") == load.CONTENT


def _assert_nothing_is_left(fl: Engine) -> None:
    """No live job, no child that was not told, no worker that kept its row."""
    assert _live(fl) == 0
    untold = select(func.count()).where(
        job_parents.c.organization_id == "acme", job_parents.c.state != EdgeState.SETTLED
    )
    with fl.database.engine.begin() as connection:
        assert connection.scalar(untold) == 0
        assert connection.scalar(select(func.count()).select_from(workers)) == 0
