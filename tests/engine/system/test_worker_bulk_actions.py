"""Workers go on with bulk actions that were begun, beside the jobs that they run and in a drain."""

import pytest

from fairlane import Fairlane, JobStatus, PermanentError, Submission
from tests.engine.worker_kit import Engine, engine, running, until

pytestmark = pytest.mark.usefixtures("one_by_one")

JOBS = 5


def dead_letters(fl: Engine) -> None:
    """Make dead letters of a handler that fails once."""
    failed: set[object] = set()

    @fl.job_type("report", dedup_window=0)
    def report(ctx: object, n: int) -> None:
        if n not in failed:
            failed.add(n)
            raise PermanentError("no paper")

    fl.submit_many([Submission("report", organization="acme", parameters={"n": n}) for n in range(JOBS)])
    fl.drain()


def all_completed(fl: Fairlane) -> bool:
    return {job.status for job in fl.list(organization="acme").items} == {JobStatus.COMPLETED}


def test_a_drain_goes_on_with_them_and_runs_what_that_made_ready(database_url: str) -> None:
    with engine(database_url) as fl:
        dead_letters(fl)
        run = fl.bulk.start("retry", {}, organization="acme", seconds=0.0)
        assert run.changed == 1
        fl.drain()
        assert fl.bulk.get(run.id, organization="acme").changed == JOBS
        assert all_completed(fl)


@pytest.mark.slow
def test_workers_go_on_with_one_and_it_is_done_once(database_url: str) -> None:
    with engine(database_url) as fl:
        dead_letters(fl)
        run = fl.bulk.start("retry", {}, organization="acme", seconds=0.0)
        with running(fl.worker()), running(fl.worker()):
            until(lambda: fl.bulk.get(run.id, organization="acme").ended_at)
        assert (fl.bulk.get(run.id, organization="acme").changed, fl.bulk.get(run.id, organization="acme").refused) == (
            JOBS,
            0,
        )
