"""Jobs whose time has come are made ready, of each organization as many: nobody waits behind another's thousands."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Table, select, update

from fairlane import Job, JobContext, Snooze, Submission
from fairlane.engine.stage import Stage
from fairlane.store.statements import dependencies, stage
from fairlane.store.tables import job_parents, jobs, live
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, engine
from tests.engine.worker_outages import held_job
from tests.engine.worker_store import nothing

BATCH = 500  # jobs that a round makes ready
MANY = 3 * BATCH


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock, lease=86_400.0) as fl:
        fl.organizations.create("rival")
        nothing(fl)
        yield fl


def give_later(fl: Engine, number: int, delay: float, organization: str = "acme") -> list[Job]:
    """Submit so many jobs that are due after `delay` seconds."""
    wanted = [Submission("work", organization=organization, delay=delay) for _ in range(number)]
    return [job for at in range(0, number, 1000) for job in fl.submit_many(wanted[at : at + 1000])]


def is_ready(fl: Engine, job: Job) -> bool:
    return fl.explain(job.id, organization=job.organization).place_in_lane is not None


def rounds(fl: Engine) -> list[int]:
    """Return how many jobs each round made ready, until a round finds none."""
    service = Stage(fl.database, fl.database.hint)
    return list(iter(service.run_once, 0))


@pytest.mark.slow
def test_a_delayed_job_waits_for_no_other_organization_s_thousands(fl: Engine, clock: ManualClock) -> None:
    give_later(fl, MANY, 60)
    (rival,) = give_later(fl, 1, 61, "rival")
    clock.advance(62)
    assert Stage(fl.database, fl.database.hint).run_once() == BATCH // 2 + 1
    assert is_ready(fl, rival)
    assert rounds(fl) == [BATCH, BATCH, BATCH // 2]


@pytest.mark.slow
def test_a_retry_waits_for_no_other_organization_s_thousands(fl: Engine, clock: ManualClock) -> None:
    @fl.job_type("poll", dedup_window=0)
    async def poll(ctx: JobContext) -> None:
        raise Snooze(61 if ctx.organization == "rival" else 60)

    fl.submit_many([Submission("poll", organization="acme") for _ in range(2 * BATCH)])
    rival = fl.submit("poll", organization="rival")
    fl.drain(concurrency=100)
    clock.advance(62)
    assert Stage(fl.database, fl.database.hint).run_once() == BATCH // 2 + 1
    assert is_ready(fl, rival)
    assert rounds(fl) == [BATCH, BATCH // 2]


@pytest.mark.slow
def test_due_jobs_of_all_organizations_that_fit_a_round_are_ready_after_it(fl: Engine, clock: ManualClock) -> None:
    give_later(fl, BATCH - 2, 60)
    give_later(fl, 1, 61, "rival")
    clock.advance(62)
    assert rounds(fl) == [BATCH - 1]


@pytest.mark.slow
def test_where_more_organizations_have_due_jobs_than_fit_a_round_those_go_first_that_waited_longest(
    fl: Engine, clock: ManualClock
) -> None:
    fl.organizations.create("third")
    given = [
        give_later(fl, 4, delay, name) for delay, name in ((63.0, "acme"), (62.0, "rival"), (61.0, "third"))
    ]  # fmt: skip
    clock.advance(64)
    for first in ([0, 1, 1], [0, 2, 2], [0, 3, 3], [0, 4, 4], [2, 4, 4], [4, 4, 4]):
        assert fl.database.write(lambda c: stage.ready_scheduled(c, clock.now(c), limit=2)) == 2
        assert [sum(is_ready(fl, job) for job in those) for those in given] == first


def test_scheduled_rows_with_a_lease_keep_no_other_job_from_its_time(fl: Engine, clock: ManualClock) -> None:
    """No worker writes such a row, and no release of it would prove its write."""
    odd = give_later(fl, BATCH, 60)
    later = give_later(fl, 1, 61) + give_later(fl, 1, 61, "rival")
    held = update(live).where(live.c.organization_id == "acme", live.c.id.in_([job.id for job in odd]))
    fl.database.write(lambda c: c.execute(held.values(lease_token=live.c.id)), of="acme")
    clock.advance(62)
    assert rounds(fl) == [2]
    assert all(is_ready(fl, job) for job in later)


def test_a_child_whose_facts_a_host_holds_keeps_no_other_from_being_told(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        fl.organizations.create("rival")
        nothing(fl)

        @fl.job_type("bad", dedup_window=0, max_retries=0)
        async def bad(ctx: JobContext) -> None:
            raise ConnectionError("gone")

        parents = [fl.give("bad", organization=one) for one in ("acme", "rival")]
        with fl.database.engine.connect() as host:  # whose children come in when their parents have ended
            held, free = (
                fl.submit("work", organization=one.organization, depends_on=[one], connection=host) for one in parents
            )
            fl.drain()
            host.commit()
        service = Stage(fl.database, fl.database.hint)
        with held_job(fl, held, jobs):
            assert service.run_once() == 1
            assert service.run_once() == 0
            assert (fl.look(held).status, fl.look(free).status) == ("pending", "dead_letter")
        assert service.run_once() == 1
        assert fl.look(held).status == "dead_letter"


@pytest.mark.slow
@pytest.mark.parametrize("table", [live, jobs, job_parents], ids=str)
def test_children_that_somebody_holds_keep_no_other_child_of_their_parent_from_its_turn(
    postgres_url: str, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = 10
    monkeypatch.setattr(dependencies, "_BATCH", batch)
    with engine(postgres_url) as fl:
        nothing(fl)
        parent = fl.give("work")
        wanted = [Submission("work", organization="acme", depends_on=[parent]) for _ in range(batch + 1)]
        children = fl.submit_many(wanted)
        *held, free = sorted(children, key=lambda job: job.id)
        service = Stage(fl.database, fl.database.hint)
        assert sum(iter(service.run_once, 0)) == len(children), "the edges are watched"
        key = table.c.job_id if table is job_parents else table.c.id
        with fl.database.engine.connect() as host:
            host.execute(select(key).where(key.in_([job.id for job in held])).with_for_update())
            fl.drain()
            assert fl.look(free).status == "completed"
            assert {fl.look(job).status for job in held} == {"pending"}
        if table is not job_parents:  # the clean-up looks for edges that nobody could mark
            assert sum(iter(service.run_once, 0)) > 0
            fl.drain()
            assert {fl.look(job).status for job in held} == {"completed"}
