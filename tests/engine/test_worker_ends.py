"""The ends of attempts are written down, and no end holds up another."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime

import psycopg
import pytest
from sqlalchemy import insert, update

from fairlane import Job, JobContext, Submission
from fairlane.domain.events import JobEnded, ServiceFailed, StorageLost
from fairlane.engine.stage import Stage
from fairlane.store.row_security import Administered
from fairlane.store.tables import jobs as facts
from fairlane.store.tables import results
from tests.engine.worker_kit import Engine, Hold, engine, running, running_jobs, started, until
from tests.engine.worker_outages import held_job, held_table, refusing
from tests.engine.worker_store import nothing
from tests.store.races.race import waiting_for_locks


@pytest.mark.parametrize("keeps_checkpoint", [False, True])
def test_a_completed_job_shows_nothing_of_its_earlier_attempts(database_url: str, *, keeps_checkpoint: bool) -> None:
    with engine(database_url) as fl:

        @fl.job_type("work", backoff=[0])
        async def work(ctx: JobContext) -> int:
            if ctx.attempt == 1:
                if keeps_checkpoint:
                    await ctx.checkpoint("half")
                raise ConnectionError("gone")
            return ctx.attempt

        job = fl.give("work")
        fl.drain()
        now = fl.look(job)
        assert (now.status, now.attempt, now.retry_count) == ("completed", 2, 1)
        assert (now.error_type, now.error_message, now.next_retry_at) == (None, None, None)
        assert now.finished_at is not None


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_child_with_a_policy_of_a_newer_release_keeps_no_parent_from_its_end(
    database_url: str, *, is_watched: bool
) -> None:
    with engine(database_url) as fl:

        @fl.job_type("work", dedup_window=0, max_retries=0)
        async def work(ctx: JobContext, fails: bool = False) -> None:
            if fails:
                raise ConnectionError("gone")

        parents = [fl.give("work", parameters={"fails": fails}) for fails in (False, True)]
        children = [fl.give("work", depends_on=[parent]) for parent in parents]
        newer = update(facts).where(facts.c.organization_id == "acme").values(on_parent_failure="newer")
        fl.database.write(lambda connection: connection.execute(newer), of=Administered("acme"))
        if is_watched:  # then the end of a parent is written in another way
            assert Stage(fl.database, fl.database.hint).run_once() == len(children)
        fl.drain()
        for jobs in (parents, children):
            assert [fl.look(job).status for job in jobs] == ["completed", "dead_letter"]


@pytest.mark.slow
def test_where_jobs_of_one_organization_leave_much_another_s_end_is_not_written_last(database_url: str) -> None:
    crowd = 40
    with engine(database_url) as fl:
        fl.organizations.create("rival")
        all_run, begun = asyncio.Event(), list[JobContext]()

        @fl.job_type("end", dedup_window=0)
        async def end(ctx: JobContext) -> str:
            begun.append(ctx)
            if len(begun) == crowd + 1:
                all_run.set()
            await all_run.wait()
            return "x" * (500_000 if ctx.organization == "acme" else 1)

        with running(fl.worker(concurrency=crowd + 1)):
            large = [fl.give("end") for _ in range(crowd)]
            until(lambda: len(begun) == crowd)
            (small,) = fl.submit_many([Submission("end", organization="rival")])
            until(lambda: all(fl.look(job).status == "completed" for job in large))
        moment = fl.get(small.id, organization="rival").finished_at
        assert moment is not None
        ends = [fl.look(job).finished_at for job in large]
        assert sum(one is not None and one <= moment for one in ends) < crowd / 2


@pytest.mark.slow
@pytest.mark.parametrize(("crowd", "crowd_fails"), [(300, True), (3_000, False)], ids=["failures", "completions"])
def test_where_jobs_of_one_organization_end_by_the_hundred_another_s_are_not_written_last(
    database_url: str, crowd: int, *, crowd_fails: bool
) -> None:
    with engine(database_url) as fl:
        fl.organizations.create("rival")
        all_run, begun = asyncio.Event(), list[JobContext]()
        # Of completions only those are overtaken that are written in other ways. On SQLite a claim takes along a
        # thousand.
        others = [True, False] if crowd_fails else [True]

        @fl.job_type("end", dedup_window=0)
        async def end(ctx: JobContext, fails: bool) -> None:
            begun.append(ctx)
            if len(begun) == crowd + len(others):
                all_run.set()
            await all_run.wait()
            if fails:
                raise ConnectionError

        def give(organization: str, *fails: bool) -> list[Job]:
            return fl.submit_many(
                [Submission("end", organization=organization, parameters={"fails": one}) for one in fails]
            )

        with running(fl.worker(concurrency=crowd + len(others))):
            ours = give("acme", *[crowd_fails] * crowd)
            until(lambda: len(begun) == crowd)
            theirs = give("rival", *others)
            until(lambda: len(fl.events.of(JobEnded)) == crowd + len(others))
        last = max(end_of(fl, job) for job in ours)
        assert all(end_of(fl, job) < last for job in theirs)


def end_of(fl: Engine, job: Job) -> datetime:
    """Return when the job's first attempt ended."""
    return fl.history(job.id, organization=job.organization)[2].at


@pytest.mark.slow
def test_while_ends_can_t_be_written_no_more_jobs_wait_for_that_than_there_are_slots(postgres_url: str) -> None:
    """On a slow database a worker would else claim ever more, and lose all of it when it is killed."""
    with engine(postgres_url) as fl:

        @fl.job_type("work", dedup_window=0)
        async def work(ctx: JobContext) -> str:
            return "done"

        jobs = fl.submit_many([Submission("work", organization="acme") for _ in range(20)])
        with running(fl.worker(concurrency=3)):
            with held_table(postgres_url, "fairlane_results"):
                until(lambda: len(running_jobs(fl, "acme")) >= 6)
                for is_tried in (False, True):
                    until(lambda is_tried=is_tried: bool(waiting_for_locks(postgres_url)) is is_tried)  # type: ignore[misc]
                assert len(running_jobs(fl, "acme")) == 6
            for job in jobs:
                assert fl.ended(job).status == "completed"


@contextmanager
def held_result(fl: Engine, job: Job) -> Iterator[None]:
    """Another session has written a result of the job, and has not committed it."""
    with fl.database.engine.connect() as host:
        row = {"organization_id": job.organization, "job_id": job.id, "value": "0", "at": job.created_at}
        host.execute(insert(results).values(row))
        yield
        host.rollback()


def held_facts(fl: Engine, job: Job) -> AbstractContextManager[None]:
    """A host holds the job's facts, which its own tables refer to."""
    return held_job(fl, job, facts)


@pytest.mark.slow
@pytest.mark.parametrize("hold_up", [held_job, held_facts, held_result], ids=["the job", "its facts", "its result"])
def test_a_row_that_somebody_holds_holds_up_no_other_job_s_end(
    postgres_url: str, hold_up: Callable[[Engine, Job], AbstractContextManager[None]]
) -> None:
    with engine(postgres_url) as fl:
        hold = Hold()
        hold.job_type(fl, "work")
        jobs = [fl.give("work") for _ in range(20)]
        held, others = jobs[7], jobs[:7] + jobs[8:]
        with running(fl.worker()):
            for job in jobs:
                started(fl, job)
            with hold_up(fl, held):
                hold.let_go(*jobs)
                for job in others:
                    assert fl.ended(job).status == "completed"
                assert fl.look(held).status == "running"
            assert fl.ended(held).status == "completed"
        assert fl.look(held).attempt == 1
        assert fl.events.of(StorageLost) == []


def test_a_child_whose_facts_somebody_holds_is_told_later_and_holds_up_no_end(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        nothing(fl)

        @fl.job_type("bad", dedup_window=0, max_retries=0)
        async def bad(ctx: JobContext) -> None:
            raise ConnectionError("gone")

        parent = fl.give("bad")
        child = fl.give("work", depends_on=[parent])
        Stage(fl.database, fl.database.hint).run_once()
        with running(fl.worker()):
            with held_facts(fl, child):
                assert fl.ended(parent).status == "dead_letter"
                assert fl.look(child).status == "pending"
            assert fl.ended(child).status == "dead_letter"
        assert fl.events.of(ServiceFailed) == []


@pytest.mark.slow
def test_however_many_ends_a_lock_holds_up_the_others_are_written(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        hold = Hold()
        hold.job_type(fl, "with result")

        @fl.job_type("bad", dedup_window=0, max_retries=0)
        async def bad(ctx: JobContext) -> None:
            raise ConnectionError("gone")

        held = [fl.give("with result") for _ in range(8)]
        with running(fl.worker()):
            for job in held:
                started(fl, job)
            with held_table(postgres_url, "fairlane_results"):
                hold.let_go(*held)
                for job in [fl.give("bad") for _ in range(8)]:
                    assert fl.ended(job).status == "dead_letter"
                assert {fl.look(job).status for job in held} == {"running"}
            for job in held:
                assert fl.ended(job).status == "completed"


@pytest.mark.slow
def test_an_end_that_the_database_refuses_by_a_mistake_of_its_own_costs_no_job_its_result(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        hold, jobs = given_together(fl)
        with running(fl.worker()):
            with refusing(postgres_url, jobs[2], "completed"):
                hold.let_go(*jobs)
                fl.events.wait(ServiceFailed, service="finisher")
                for job in jobs[:2] + jobs[3:]:
                    assert fl.ended(job).status == "completed"
                assert fl.look(jobs[2]).status == "running"
            assert fl.ended(jobs[2]).status == "completed"
        assert fl.value(jobs[2]) == "done"
        assert fl.look(jobs[2]).attempt == 1


@pytest.mark.slow
def test_an_end_that_the_database_refuses_again_fails_its_job(postgres_url: str) -> None:
    """Tried for ever, it would keep its slot, and its job would run for ever."""
    with engine(postgres_url) as fl:
        hold, jobs = given_together(fl)
        with running(fl.worker()), refusing(postgres_url, jobs[2], "completed"):
            hold.let_go(*jobs)
            assert fl.ended(jobs[2]).status == "dead_letter"
        assert fl.look(jobs[2]).error_type == "UnstorableOutcome"
        assert {fl.look(job).status for job in jobs[:2] + jobs[3:]} == {"completed"}


def test_a_worker_tells_once_that_its_quick_statement_fails_and_writes_ends_the_slow_way(postgres_url: str) -> None:
    with engine(postgres_url) as fl, refusing_quick_ends(postgres_url):
        nothing(fl)
        with running(fl.worker()):
            for _ in range(5):
                assert fl.ended(fl.give("work")).status == "completed"
        (told,) = fl.events.of(ServiceFailed)
        assert told.service == "quick end"
        assert "no quick ends" in str(told.error)


def test_for_a_job_with_a_child_the_quick_statement_is_sent_once(postgres_url: str) -> None:
    with engine(postgres_url) as fl, counting_quick_statements(postgres_url) as sent:
        nothing(fl)
        parent = fl.give("work")
        child = fl.give("work", depends_on=[parent])
        assert Stage(fl.database, fl.database.hint).run_once() == 1  # from here on the end has to tell the child
        with running(fl.worker()):
            assert fl.ended(child).status == "completed"
        assert sent() == 2  # once for each job


@contextmanager
def counting_quick_statements(url: str) -> Iterator[Callable[[], int]]:
    """Count how often PostgreSQL is sent the quick statement, also where it completes nothing."""
    with psycopg.connect(url, autocommit=True) as host:
        host.execute("CREATE SEQUENCE sent")
        host.execute(
            "CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
            " AS $$BEGIN PERFORM nextval('public.sent'); RETURN NULL; END$$"
        )
        host.execute(
            "CREATE TRIGGER count_it BEFORE INSERT ON fairlane_ended"
            " WHEN (current_query() LIKE '%moment AS MATERIALIZED%') EXECUTE FUNCTION count_it()"
        )
        yield lambda: host.execute("SELECT nextval('sent') - 1").fetchone()[0]  # type: ignore[index]


@contextmanager
def refusing_quick_ends(url: str) -> Iterator[None]:
    """PostgreSQL fails whenever a job is completed by a session in which only the quick statement runs."""
    with psycopg.connect(url, autocommit=True) as host:
        host.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
            " AS $$BEGIN RAISE EXCEPTION 'no quick ends' USING ERRCODE = 'XX000'; END$$"
        )
        host.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON fairlane_ended FOR EACH ROW"
            " WHEN (current_setting('enable_seqscan') = 'off') EXECUTE FUNCTION refuse()"
        )
        yield


def given_together(fl: Engine) -> tuple[Hold, list[Job]]:
    """Jobs whose ends are written together."""
    hold = Hold()
    hold.job_type(fl, "work")
    return hold, [fl.give("work") for _ in range(5)]
