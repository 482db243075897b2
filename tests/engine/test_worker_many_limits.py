"""Many organizations with limits of their own: they come by turns, and none that is at its limit is in the way (R4)."""

import pytest
from sqlalchemy import Connection

from fairlane import JobContext, Submission
from fairlane.store.tables import limits, organizations
from tests.engine.worker_kit import Engine, Hold, running, running_jobs, until

MANY = 2_000
FEW = 30


def crowd(fl: Engine, number: int, *, each: int = 2) -> list[str]:
    """Create so many organizations with some jobs each: one may run at once, and three may start in a minute."""
    names = [f"o{n:05}" for n in range(number)]
    about = {"name": "", "status": "active", "weight": 1, "max_running": 1, "created_at": fl.give("pdf").created_at}
    document = '{"execution_rate": 3}'

    def work(connection: Connection) -> None:
        connection.execute(organizations.insert(), [{"id": name, **about} for name in names])
        connection.execute(
            limits.insert(), [{"organization_id": name, "job_type": "pdf", "document": document} for name in names]
        )

    fl.database.write(work)
    given = [Submission("pdf", organization=name) for name in names for _ in range(each)]
    for start in range(0, len(given), 1000):
        fl.submit_many(given[start : start + 1000])
    fl.organizations.suspend("acme")
    return names


@pytest.mark.slow
def test_thousands_of_limited_organizations_come_by_turns(fl: Engine) -> None:
    starts: list[str] = []

    @fl.job_type("pdf", dedup_window=0)
    async def pdf(ctx: JobContext) -> None:
        starts.append(ctx.organization)
        if len(starts) == 200:
            worker.stop()

    crowd(fl, MANY)
    worker = fl.worker(concurrency=20)
    worker.run()
    assert len(set(starts[:200])) == 200


@pytest.mark.slow
def test_those_at_their_limits_are_in_nobody_s_way(fl: Engine) -> None:
    Hold().job_type(fl, "pdf")
    names = crowd(fl, FEW)
    with running(fl.worker(concurrency=FEW)):
        until(lambda: len(running_jobs(fl, *names)) == FEW)
        assert {job.organization for job in running_jobs(fl, *names)} == set(names)


def test_a_rate_that_is_used_up_is_in_nobody_s_way(fl: Engine) -> None:
    @fl.job_type("pdf", dedup_window=0)
    async def pdf(ctx: JobContext) -> None: ...

    names = crowd(fl, 4, each=9)
    fl.drain(concurrency=1)
    assert [fl.list(organization=name, status="completed").total for name in names] == [3] * 4
