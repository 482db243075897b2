"""`await fl.aio.submit(…)` takes no thread on PostgreSQL; jobs that meet on a loop go together, each by itself."""

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any, NoReturn
from weakref import ReferenceType, ref

import pytest
from sqlalchemy import make_url, text

from fairlane import (
    CommitUnanswered,
    DuplicateJob,
    Fairlane,
    InvalidParameters,
    Job,
    JobContext,
    JobTypeNotFound,
    OrganizationNotFound,
    PermissionDenied,
)
from fairlane.engine.submission import Plain
from fairlane.store.row_security import EVERYONE
from tests.engine.sealed_engine import FIRST
from tests.patience import PATIENCE
from tests.store.races.agreement import assert_log_agrees
from tests.store.races.scene import Scene
from tests.storm.proxy import Proxy

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:
        scene.add_type("monthly", dedup_window=300)
        scene.submit()  # registers the types, and learns that there are no keys
        scene.submit(organization="rival", user="rita")
        yield scene


@pytest.fixture
def no_threads(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that refuses all threads from its call on."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a thread was asked for")

    return partial(monkeypatch.setattr, scene.fl._threads, "submit", refuse)


async def submit(scene: Scene, n: int, job_type: str = "monthly", **more: Any) -> Job:
    given = {"organization": "acme", "user": "ana", **more}
    return await scene.fl.aio.submit(job_type, parameters={"n": n}, **given)


async def connect(scene: Scene) -> None:
    """Have the loop submit twice: then it has a connection."""
    for _ in range(2):
        await submit(scene, 0, "report")


def connections(scene: Scene) -> int:
    """Return how many connections the database has, beside this one."""
    counted = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    found: int = scene.fl.database.read(lambda connection: connection.execute(counted).scalar_one(), of=EVERYONE)
    return found


def on_loops(scene: Scene) -> list[int]:
    """The sessions that loops have, by their processes' numbers: they submit and do nothing else."""
    wanted = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'WITH scope%'")
    return list(scene.fl.database.read(lambda connection: connection.scalars(wanted).all(), of=EVERYONE))


def test_a_loop_that_submits_once_makes_no_connection(scene: Scene) -> None:
    before = connections(scene)
    loops = [asyncio.new_event_loop() for _ in range(8)]
    try:
        for loop in loops:
            loop.run_until_complete(submit(scene, 0, "report"))
        assert connections(scene) <= before + 2  # of the pool
    finally:
        for loop in loops:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


async def test_it_takes_no_thread_once_there_is_a_connection(scene: Scene, no_threads: Callable[[], None]) -> None:
    await connect(scene)
    no_threads()
    job = await submit(scene, 1, user=None, priority="high", queue="night")
    assert assert_log_agrees(scene.fl, job) == job


async def test_organizations_that_submit_for_the_first_time_take_no_thread(
    scene: Scene, no_threads: Callable[[], None]
) -> None:
    scene.fl.organizations.create("newcomer")
    await connect(scene)
    no_threads()
    assert isinstance(await submit(scene, 2, organization="newcomer", user=None), Job)


async def test_what_meets_goes_by_one_statement_and_each_has_its_own_end(scene: Scene) -> None:
    taken = await submit(scene, 0)
    ends = await asyncio.gather(
        *(submit(scene, n) for n in range(1, 50)),
        submit(scene, 0),
        submit(scene, 0, on_duplicate="return"),
        submit(scene, 1),
        submit(scene, 1, "nothing"),
        submit(scene, 1, organization="nowhere"),
        submit(scene, 1, user="vic"),
        submit(scene, 1, organization="rival", user="ana"),
        submit(scene, 1, organization="rival", user="rita"),
        return_exceptions=True,
    )
    submitted, others = ends[:49], ends[49:]
    assert [one.parameters["n"] for one in submitted if isinstance(one, Job)] == list(range(1, 50))
    refused = [DuplicateJob, Job, DuplicateJob, JobTypeNotFound, OrganizationNotFound, PermissionDenied]
    assert all(map(isinstance, others, [*refused, PermissionDenied, Job]))
    assert others[1] == taken
    assert scene.total() == 51
    assert scene.total("rival") == 2


async def test_jobs_of_two_versions_of_a_type_that_meet_are_each_proved_by_their_own(scene: Scene) -> None:
    def old(ctx: JobContext, amount: int) -> None: ...

    def new(ctx: JobContext, amount: str) -> None: ...

    def deploy(handler: Callable[..., None]) -> None:
        with Fairlane(scene.fl.settings, clock=scene.clock) as deployed:
            deployed.job_type("invoice", dedup_window=0)(handler)
            deployed.migrate()

    deploy(old)
    with Fairlane(scene.fl.settings, clock=scene.clock) as web:

        async def send(amount: object) -> Job:
            return await web.aio.submit("invoice", organization="acme", parameters={"amount": amount})

        for amount in range(2):
            await send(amount)
        deploy(new)
        # Each takes one step before the loop sends anything, so both go by one statement.
        before = asyncio.create_task(send(2))
        asyncio.get_running_loop().call_soon(
            partial(web.submit, "invoice", organization="acme", parameters={"amount": "3"})
        )
        after = asyncio.create_task(send("4"))
        ends = await asyncio.gather(before, after, return_exceptions=True)
    assert all(map(isinstance, ends, [InvalidParameters, Job]))


async def test_what_is_long_goes_by_a_thread(scene: Scene, no_threads: Callable[[], None]) -> None:
    @scene.fl.job_type("letter", dedup_window=0)
    def letter(ctx: JobContext, content: str) -> None: ...

    async def send(length: int) -> Job:
        return await scene.fl.aio.submit("letter", organization="acme", parameters={"content": "x" * length})

    await send(1)
    await connect(scene)
    no_threads()
    with pytest.raises(AssertionError, match="a thread was asked for"):
        await send(100_000)
    jobs = await asyncio.gather(*(send(9_000) for _ in range(50)))
    statements = text("SELECT count(DISTINCT xmin::text) FROM fairlane_jobs WHERE id = ANY(:ids)")
    given = {"ids": [job.id for job in jobs]}
    counted = scene.fl.database.read(lambda connection: connection.scalar(statements, given), of="acme")
    assert counted is not None
    assert counted >= 4


async def test_what_goes_wrong_with_one_is_told_to_nobody_else(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await connect(scene)
    usual = Plain.chunks

    def chunks(plain: Plain) -> Any:
        if plain._given[0][0].parameters["n"] == 1:
            raise ZeroDivisionError
        return usual(plain)

    monkeypatch.setattr(Plain, "chunks", chunks)
    ends = await asyncio.gather(*(submit(scene, n) for n in range(3)), return_exceptions=True)
    assert [type(one) for one in ends] == [Job, ZeroDivisionError, Job]


async def test_nothing_is_kept_of_the_context_of_who_submitted(scene: Scene) -> None:
    class Request:
        pass

    request = ContextVar[Request]("request")

    async def answer() -> ReferenceType[Request]:
        mine = Request()
        request.set(mine)
        await submit(scene, 0, "report")
        return ref(mine)

    await connect(scene)
    kept = await asyncio.create_task(answer())
    await asyncio.sleep(0)  # the loop itself keeps what it ran last
    gc.collect()
    assert kept() is None


async def test_who_gives_up_takes_nobody_along(scene: Scene) -> None:
    tasks = [asyncio.create_task(submit(scene, n)) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ends[::2])
    assert [one.parameters["n"] for one in ends[1::2] if isinstance(one, Job)] == list(range(1, 20, 2))
    assert isinstance(await submit(scene, 21), Job)


async def test_nobody_waits_for_a_key_that_another_s_transaction_holds(
    scene: Scene, no_threads: Callable[[], None]
) -> None:
    await connect(scene)
    with scene.fl.database.engine.connect() as theirs:
        for n in range(10):
            scene.fl.submit("monthly", organization="acme", user="ana", parameters={"n": n}, connection=theirs)
        no_threads()
        held = [asyncio.create_task(submit(scene, n)) for n in range(10)]
        others = [submit(scene, n, organization="rival", user="rita") for n in range(10)]
        assert all(isinstance(one, Job) for one in await asyncio.gather(*others))
        assert not any(one.done() for one in held)
        theirs.commit()
    ends = await asyncio.gather(*held, return_exceptions=True)
    assert all(isinstance(one, DuplicateJob) for one in ends)


def test_each_loop_has_its_own_and_leaves_none(scene: Scene) -> None:
    before = connections(scene)
    barrier = threading.Barrier(3)

    async def some(first: int) -> list[Job]:
        await connect(scene)
        await submit(scene, first)
        barrier.wait(20)  # now each loop has its connection
        return list(await asyncio.gather(*(submit(scene, n) for n in range(first + 1, first + 10))))

    with ThreadPoolExecutor(3) as threads:
        ends = [threads.submit(asyncio.run, some(n)) for n in (0, 100, 200)]
        assert sum(len(one.result()) for one in ends) == 27
    assert connections(scene) <= before + 2  # of the pool, from which they were taken


def test_a_loop_that_was_only_closed_leaves_none_either(scene: Scene) -> None:
    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(connect(scene))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    asyncio.run(submit(scene, 9))
    assert connections(scene) <= 5


async def test_a_connection_that_broke_meanwhile_is_made_again(scene: Scene) -> None:
    await connect(scene)
    break_all = text(
        "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE 'WITH scope%' AND pid <> pg_backend_pid()"
    )

    def work(connection: Any) -> None:
        connection.exec_driver_sql("RESET ROLE")
        connection.execute(break_all)

    await asyncio.to_thread(scene.fl.database.write, work)
    assert isinstance(await submit(scene, 1), Job)
    assert scene.total() == 4


@pytest.mark.slow
async def test_a_connection_that_falls_silent_is_given_up_and_another_is_made(database_url: str, proxy: Proxy) -> None:
    through = make_url(database_url).set(host="127.0.0.1", port=proxy.port, query={})
    with Scene(through.render_as_string(hide_password=False)) as scene:
        await connect(scene)
        proxy.forget()  # the connections that are open now
        ends = asyncio.gather(*(submit(scene, n, "report") for n in range(5)), return_exceptions=True)
        assert [type(one) for one in await asyncio.wait_for(ends, PATIENCE)] == [CommitUnanswered] * 5
        assert isinstance(await submit(scene, 0, "report"), Job)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_a_connection_of_its_own(scene: Scene) -> None:
    async def parent() -> Job:
        await connect(scene)
        before = on_loops(scene)
        if (child := os.fork()) == 0:
            code = 1
            try:
                with ThreadPoolExecutor(1) as thread:  # here a loop runs
                    code = int(thread.submit(asyncio.run, submit(scene, 1)).result().parameters != {"n": 1})
                scene.fl.close()
            finally:
                os._exit(code)
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        job = await submit(scene, 2)
        assert on_loops(scene) == before != []
        return job

    assert asyncio.run(parent()).parameters == {"n": 2}
    assert scene.total() == 5


async def test_what_is_to_be_sealed_is_sealed(database_url: str) -> None:
    with Scene(database_url, encryption_keys=FIRST) as scene:
        scene.fl.keys.enable(organization="acme")
        await submit(scene, 0, "report")
        job = await submit(scene, 1, "report")
        stored = text("SELECT parameters FROM fairlane_jobs WHERE id = :id")
        (found,) = scene.fl.database.read(
            lambda connection: connection.execute(stored, {"id": job.id}).scalars().all(), of="acme"
        )
        assert '"n"' not in found
        assert scene.fl.get(job.id, organization="acme").parameters == {"n": 1}
