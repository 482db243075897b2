"""A running worker starts the right jobs next, and forgets no job that it claimed."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, insert, update

from fairlane import Job, JobContext, JobStatus, Submission
from fairlane.domain.events import ServiceFailed
from fairlane.engine.worker import Worker
from fairlane.store.tables import jobs, live, results
from tests.engine.worker_kit import (
    Engine,
    Gate,
    Hold,
    engine,
    running,
    running_by_organization,
    running_jobs,
    started,
    until,
)
from tests.engine.worker_outages import held_job, refusing
from tests.engine.worker_store import nothing

pytestmark = pytest.mark.both_databases


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        nothing(fl)
        yield fl


def test_with_as_many_slots_as_organizations_each_has_one(fl: Engine) -> None:
    everybody = ("acme", "rival", "third")
    Hold().job_type(fl, "long")
    for name in everybody[1:]:
        fl.organizations.create(name)
    for name in ("acme",) * 10 + everybody[1:]:
        fl.give("long", organization=name)
    with running(fl.worker(concurrency=3)):
        until(lambda: len(running_jobs(fl, *everybody)) == 3)
        assert running_by_organization(fl, *everybody) == {"acme": 1, "rival": 1, "third": 1}


def test_who_is_new_waits_behind_nobody_s_backlog(fl: Engine) -> None:
    fl.organizations.create("rival")
    backlog = fl.submit_many([Submission("work", organization="acme") for _ in range(300)])
    with running(fl.worker(concurrency=1)):
        started(fl, backlog[0])
        newcomer = fl.give("work", organization="rival")
        started(fl, newcomer)
        assert fl.list(organization="acme", status="queued").total > 0


def test_parameters_of_every_size_reach_their_handler_in_the_order_of_their_jobs(fl: Engine) -> None:
    long = "long" * 25_000  # is decoded in a thread, so it may begin behind those that come after it
    texts = ["", "ä" * 980, '"' * 1000, "\x01 " * 500, long, "ends"]
    ran: list[str] = []

    @fl.job_type("read", dedup_window=0)
    async def read(ctx: JobContext, text: str) -> None:
        ran.append(text)

    fl.submit_many([Submission("read", organization="acme", parameters={"text": text}) for text in texts])
    fl.drain(concurrency=len(texts))
    assert sorted(ran) == sorted(texts)
    assert [text for text in ran if text != long] == [text for text in texts if text != long]


def test_large_jobs_are_claimed_a_few_at_a_time_and_hold_up_no_other_organization(fl: Engine) -> None:
    @fl.job_type("read", dedup_window=0)
    async def read(ctx: JobContext, text: str) -> None: ...

    fl.organizations.create("rival")
    text = "ä" * 100_000
    given = [Submission("read", organization="acme", parameters={"text": text}) for _ in range(20)]
    large = fl.submit_many(given)
    small = fl.give("read", organization="rival", parameters={"text": ""})
    fl.drain(concurrency=100)
    rounds = Counter(fl.look(job).started_at for job in large)
    assert max(rounds.values()) <= 11, "a claim takes no job after a megabyte"
    assert fl.look(small).started_at == min(one for one in rounds if one is not None)


def test_a_job_that_is_larger_than_a_claim_may_be_is_claimed(database_url: str) -> None:
    with engine(database_url, payload_limit=1_048_576) as fl:

        @fl.job_type("read", dedup_window=0)
        async def read(ctx: JobContext, text: str) -> None: ...

        first, second = [fl.give("read", parameters={"text": "x" * 1_040_000}) for _ in range(2)]
        fl.drain()
        assert fl.look(first).status is fl.look(second).status is JobStatus.COMPLETED
        assert fl.look(first).started_at != fl.look(second).started_at


@pytest.mark.parametrize(("names", "size"), [(["acme"], 1_040_000), (["acme", "b", "c", "d"], 260_000)])
def test_organizations_whose_jobs_fill_each_claim_do_not_keep_out_one_that_comes_last(
    database_url: str, names: list[str], size: int
) -> None:
    with engine(database_url, payload_limit=1_048_576) as fl:

        @fl.job_type("read", dedup_window=0)
        async def read(ctx: JobContext, text: str) -> None: ...

        for name in (*names[1:], "rival"):
            fl.organizations.create(name)
        large = [
            fl.give("read", organization=name, parameters={"text": "x" * size}) for name in names for _ in range(5)
        ]
        small = [fl.give("read", organization="rival", parameters={"text": ""}) for _ in range(2)]
        fl.drain(concurrency=20)
        rounds = sorted({one for job in large if (one := fl.look(job).started_at) is not None})
        begun = [one for job in small if (one := fl.look(job).started_at) is not None]
        assert len(rounds) >= 5, "each claim takes one job of each at most"
        assert min(begun) <= rounds[1], "the second claim begins with who got nothing of the first"
        assert max(begun) <= rounds[3]


def test_a_suspension_holds_for_a_worker_that_runs_from_the_next_start_on(fl: Engine) -> None:
    hold = Hold()
    hold.job_type(fl, "long")
    fl.organizations.create("rival")
    with running(fl.worker(concurrency=1)):
        first, second = fl.give("long"), fl.give("work")
        started(fl, first)
        other = fl.give("work", organization="rival", priority="low")
        fl.organizations.suspend("acme")
        hold.let_go(first)
        assert fl.ended(other).status == "completed"
        assert fl.look(second).attempt == 0
        fl.organizations.activate("acme")
        assert fl.ended(second).status == "completed"


@pytest.mark.slow
def test_a_child_starts_as_its_parent_ends_also_beside_a_job_that_a_limit_holds_back(database_url: str) -> None:
    """Nobody waits for the worker's next poll, which is in an hour."""
    with engine(database_url, poll_interval=3600.0) as fl:
        nothing(fl)
        Hold().job_type(fl, "held", max_running=0)
        held = fl.give("held")
        with running(fl.worker(concurrency=2)):
            job = fl.give("work")
            for _ in range(5):
                job = fl.give("work", depends_on=[job.id])
            fl.ended(job)
        assert fl.look(held).attempt == 0


def test_a_host_may_read_json_as_it_likes(postgres_url: str) -> None:
    """The JSON loader of psycopg is set for a whole process."""
    set_json_loads(lambda text: {"wrapped": json.loads(text)})
    try:
        with engine(postgres_url) as fl:
            nothing(fl)
            job = fl.give("work")
            fl.job_types.limit("work", max_running=1)
            fl.drain()
            assert fl.look(job).status == "completed"
    finally:
        set_json_loads(json.loads)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["labels of its own", "labels of a parent", "result of a parent"])
def test_a_job_that_can_t_be_read_any_more_fails_and_holds_up_no_other(fl: Engine, what: str) -> None:
    parent = fl.give("work")
    fl.drain()
    broken, other = fl.give("work", depends_on=[parent]), fl.give("work")

    def spoil(connection: Connection) -> None:
        if what == "result of a parent":
            key = {"organization_id": "acme", "job_id": parent.id}
            connection.execute(insert(results).values(**key, value="{", at=parent.created_at))
        else:
            spoiled = broken if what == "labels of its own" else parent
            mine = (jobs.c.organization_id == "acme") & (jobs.c.id == spoiled.id)
            connection.execute(update(jobs).where(mine).values(labels="{"))

    fl.database.write(spoil, of="acme")
    fl.drain()
    assert [entry.to_status for entry in fl.history(other.id, organization="acme")][-1] == "completed"
    assert fl.way(broken)[:3] == ["queued", "running", "failed"]
    assert "no JSON" in fl.reasons(broken)


def test_a_claim_that_the_database_refuses_by_a_mistake_of_its_own_ends_no_worker_and_loses_no_job(
    postgres_url: str,
) -> None:
    with engine(postgres_url) as fl:
        nothing(fl)
        given = [fl.give("work") for _ in range(3)]
        with ExitStack() as mistake:
            mistake.enter_context(refusing(postgres_url, given[1], "running"))
            with running(fl.worker()):
                fl.events.wait(ServiceFailed, service="claim")
                mistake.close()
                for job in given:
                    assert fl.ended(job).status == "completed"


def give_unheard_of(fl: Engine, worker: Worker) -> Job:
    """A job that runs under the worker's name, though the worker never heard of it."""
    fl.queues.pause("default")
    job = fl.give("work")
    lease = {"worker_id": worker.id, "lease_token": uuid4(), "started_at": job.created_at}
    mine = (live.c.organization_id == "acme") & (live.c.id == job.id)
    begun = update(live).where(mine).values(status="running", ready=False, attempt=1, **lease)
    fl.database.write(lambda connection: connection.execute(begun))
    return job


def test_a_job_that_its_worker_never_heard_of_is_given_back_also_by_a_full_worker(fl: Engine) -> None:
    """However that came about: the heartbeat keeps whatever runs under the worker's name."""
    gate = Gate()

    @fl.job_type("long")
    def long(ctx: JobContext) -> None:
        gate.wait()

    busy = fl.worker(concurrency=1)
    with running(busy):
        started(fl, fl.give("long"))
        stray = give_unheard_of(fl, busy)
        until(lambda: fl.look(stray).status == "queued")
        assert "its claim was cut off" in fl.reasons(stray)
        gate.open()


def test_where_somebody_holds_such_a_job_it_is_given_back_once_it_is_free_and_holds_up_no_other(
    postgres_url: str,
) -> None:
    with engine(postgres_url) as fl:
        nothing(fl)
        worker = fl.worker()
        with running(worker):
            stray = give_unheard_of(fl, worker)
            with held_job(fl, stray):
                fl.queues.resume("default")
                assert fl.ended(fl.give("work")).status == "completed"
            assert fl.ended(stray).status == "completed"
            assert fl.look(stray).attempt == 2
