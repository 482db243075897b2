"""Submissions that wait for another transaction's lock: no organization waits behind another one's."""

import asyncio
import os
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import event

from fairlane import (
    DuplicateJob,
    Fairlane,
    Job,
    Membership,
    OrganizationStatus,
    Role,
    Standing,
    StorageUnavailable,
    Submission,
)
from fairlane.store.line import Line
from fairlane.store.statements import new_jobs
from fairlane.store.statements.drafts import Draft
from tests.engine.worker_kit import until
from tests.patience import PATIENCE
from tests.store.races.race import waiting_for_locks
from tests.store.races.scene import Scene

# Tests submit beside a transaction that they hold open, to see who waits for it.
pytestmark = [
    pytest.mark.filterwarnings("ignore::fairlane.TransactionNotUsed"),
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]

_EACH = 2  # submissions of one organization that wait with a connection
_FLOOD = 40
_USERS = {"acme": "ana", "rival": "rita"}


@contextmanager
def scene_of(url: str, lock_timeout: float) -> Iterator[Scene]:
    with Scene(url, lock_timeout=lock_timeout) as scene:
        scene.add_type("monthly", dedup_window=300)
        for organization in _USERS:
            submit(scene, organization, "first", on_duplicate="return")
        yield scene


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Submissions wait for locks for longer than a test does."""
    with scene_of(database_url, 10 * PATIENCE) as scene:
        yield scene


def submit(scene: Scene, organization: str, key: str, **more: Any) -> Job:
    return scene.submit("monthly", organization, _USERS[organization], dedup_key=key, **more)


async def submit_on_loop(scene: Scene, organization: str, key: str, **more: Any) -> Job:
    given = {"user": _USERS[organization], "dedup_key": key, **more}
    return await scene.fl.aio.submit("monthly", organization=organization, **given)


async def connect(scene: Scene) -> None:
    """Have the loop submit twice: then it has a connection."""
    for _ in range(2):
        await submit_on_loop(scene, "rival", "first", on_duplicate="return")


@contextmanager
def held(scene: Scene, organization: str = "acme", key: str = "held") -> Iterator[None]:
    """A host's transaction has submitted with the key, and is rolled back at the end."""
    with psycopg.connect(scene.fl.settings.url) as theirs:
        submit(scene, organization, key, connection=theirs)
        yield
        theirs.rollback()


@contextmanager
def flood(scene: Scene, number: int = _FLOOD) -> Iterator[list["Future[Job]"]]:
    """Threads of acme's submit with a key that is held, until as many wait for it as may; the end releases it."""
    with ThreadPoolExecutor(number) as threads, held(scene):
        flooding = [threads.submit(submit, scene, "acme", "held") for _ in range(number)]
        until(lambda: waiting(scene) >= _EACH)
        yield flooding


def waiting(scene: Scene) -> int:
    """Return how many sessions wait for another session's transaction."""
    return waiting_for_locks(scene.fl.settings.url)


def assert_one_was_submitted(ends: list[Any]) -> None:
    """Assert that one was submitted, and that the others learned of it."""
    assert sorted(type(one).__name__ for one in ends) == [DuplicateJob.__name__] * (len(ends) - 1) + [Job.__name__]


@pytest.mark.slow
def test_a_flood_of_threads_that_meet_a_lock_leaves_connections_to_others(scene: Scene) -> None:
    with flood(scene) as flooding:
        assert submit(scene, "rival", "other").organization == "rival"
        until(lambda: waiting(scene) == _EACH)  # when each of the others was tried for a moment
        assert not any(one.done() for one in flooding)
    assert_one_was_submitted([one.exception(PATIENCE) or one.result() for one in flooding])


@pytest.mark.slow
async def test_who_meets_a_lock_on_a_loop_does_not_wait_behind_a_flood_of_another_organization(scene: Scene) -> None:
    await connect(scene)
    with held(scene):
        flooding = [asyncio.create_task(submit_on_loop(scene, "acme", "held")) for _ in range(_FLOOD)]
        await asyncio.to_thread(until, lambda: waiting(scene) == _EACH)
        with held(scene, "rival", "short"):
            late = asyncio.create_task(submit_on_loop(scene, "rival", "short"))
            await asyncio.to_thread(until, lambda: waiting(scene) == _EACH + 1)
        assert (await asyncio.wait_for(late, PATIENCE)).organization == "rival"
        assert not any(one.done() for one in flooding)
    assert_one_was_submitted(await asyncio.gather(*flooding, return_exceptions=True))


@pytest.mark.slow
async def test_no_statement_of_a_loop_has_jobs_of_who_waits_for_a_lock_beside_another_organization_s(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connect(scene)
    flooding: list[asyncio.Task[Job]] = []
    statements: list[set[str]] = []
    send = new_jobs.at_once_on

    def arrive() -> None:
        flooding.append(asyncio.create_task(submit_on_loop(scene, "acme", "held")))

    async def note(line: Line, drafts: Sequence[Draft], lock_seconds: float) -> Mapping[UUID, datetime]:
        statements.append({one.organization for one in drafts})
        arrive()  # while this statement is on its way, as the next one is drafted after it
        return await send(line, drafts, lock_seconds)

    monkeypatch.setattr(new_jobs, "at_once_on", note)
    with held(scene):
        arrive()
        for n in range(10):
            await submit_on_loop(scene, "rival", str(n))
        first, *alone = statements
        assert first == {"acme", "rival"}
        assert alone == [{"rival"}, {"acme"}, *([{"rival"}] * 9)]
        await asyncio.to_thread(until, lambda: waiting(scene) == _EACH)
    assert_one_was_submitted(await asyncio.gather(*flooding, return_exceptions=True))
    before = len(statements)
    await submit_on_loop(scene, "acme", "free")
    assert statements[before] == {"acme"}  # as it waits no longer
    await asyncio.wait(flooding)


async def test_who_gives_up_waiting_on_a_loop_is_not_submitted_and_leaves_no_thread_behind_for_more(
    scene: Scene,
) -> None:
    await connect(scene)
    before = scene.total()
    with held(scene):
        waiters = [asyncio.create_task(submit_on_loop(scene, "acme", "held")) for _ in range(_FLOOD)]
        await asyncio.to_thread(until, lambda: waiting(scene) == _EACH)
        for one in waiters:
            one.cancel()
        assert all(
            isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*waiters, return_exceptions=True)
        )
        last = asyncio.create_task(submit_on_loop(scene, "acme", "held"))
        with held(scene, "rival", "short"):
            late = asyncio.create_task(submit_on_loop(scene, "rival", "short"))
            await asyncio.to_thread(until, lambda: waiting(scene) == _EACH + 1)
        await asyncio.wait_for(late, PATIENCE)
        assert not last.done()
    # Of those that had their turn one is submitted, though nobody waits for it any more.
    assert isinstance(await asyncio.wait_for(asyncio.gather(last, return_exceptions=True), PATIENCE), list)
    assert scene.total() == before + 1


@pytest.mark.slow
def test_a_loop_that_stops_while_submissions_wait_for_turns_keeps_none_of_them(scene: Scene) -> None:
    loop = asyncio.new_event_loop()
    crowd = list[asyncio.Task[Job]]()

    async def leave_a_crowd() -> None:
        await connect(scene)
        crowd.extend(loop.create_task(submit_on_loop(scene, "acme", "held")) for _ in range(_FLOOD))
        await asyncio.to_thread(until, lambda: waiting(scene) == _EACH)

    async def meet_it() -> list[Job | BaseException]:
        return await asyncio.gather(*crowd, return_exceptions=True)

    try:
        with held(scene):
            loop.run_until_complete(leave_a_crowd())
        until(lambda: not waiting(scene))
        with ThreadPoolExecutor(1) as thread, held(scene, key="other"):
            late = thread.submit(submit, scene, "acme", "other")
            until(lambda: waiting(scene) == 1)
        assert late.result(PATIENCE).organization == "acme"
        assert_one_was_submitted(loop.run_until_complete(meet_it()))
    finally:
        loop.close()


def test_who_is_interrupted_while_waiting_for_a_turn_is_not_submitted(scene: Scene) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> NoReturn:
        raise Interrupted

    def interrupt_main_thread() -> None:
        turns = scene.fl._submitter.turns
        until(lambda: len(turns._busy) == _EACH and turns._waiting)  # the flood has its turns, so the main thread waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(1) as thread, held(scene, key="other"), flood(scene, _EACH):
            thread.submit(interrupt_main_thread)
            with pytest.raises(Interrupted):
                submit(scene, "acme", "other")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert submit(scene, "acme", "other").organization == "acme"  # and no duplicate


def test_who_waited_for_a_lock_asks_the_host_in_the_thread_that_submits(scene: Scene) -> None:
    asked = set[int]()

    class Directory:
        def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
            asked.add(threading.get_ident())
            return {one: Standing(OrganizationStatus.ACTIVE) for one in ids}

        def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
            asked.add(threading.get_ident())
            return dict.fromkeys(pairs, Membership(Role.MEMBER))

    def submit_there() -> int:
        fl.submit("monthly", organization="acme", user="ana", dedup_key="held")
        return threading.get_ident()

    with Fairlane(scene.fl.settings, directory=Directory()) as fl, ThreadPoolExecutor(1) as thread:
        fl.job_type("monthly", dedup_window=300)(lambda ctx, n=0: None)
        with held(scene):
            late = thread.submit(submit_there)
            until(lambda: fl._submitter.turns.are_of("acme"))
        assert asked == {late.result(PATIENCE)}


@pytest.mark.slow
async def test_verbs_of_an_organization_that_wait_for_a_lock_leave_connections_to_the_others(scene: Scene) -> None:
    job, fl = scene.submit(), scene.fl.aio
    with psycopg.connect(scene.fl.settings.url) as theirs:
        theirs.execute("SELECT FROM fairlane_live FOR UPDATE")
        late = [
            asyncio.ensure_future(fl.prioritize(job, "high", organization="acme", user="ana")) for _ in range(_FLOOD)
        ]
        await asyncio.to_thread(until, lambda: waiting(scene) == scene.fl.settings.pool_size)
        assert (await asyncio.wait_for(fl.list(organization="rival"), PATIENCE)).total == 1
        theirs.rollback()
    await asyncio.gather(*late)


def test_the_wait_for_a_turn_is_bounded_as_that_for_a_lock_is(database_url: str) -> None:
    with scene_of(database_url, 0.5) as scene, held(scene):
        with ThreadPoolExecutor(_FLOOD) as threads:
            flooding = [threads.submit(submit, scene, "acme", "held") for _ in range(_FLOOD)]
            errors = [one.exception(PATIENCE) for one in flooding]
        assert all(isinstance(one, StorageUnavailable) for one in errors)
        assert any("Too many submissions wait for locks that other transactions hold" in str(one) for one in errors)
    with scene_of(database_url, 0.5) as scene:
        assert submit(scene, "acme", "held").organization == "acme"


@pytest.mark.parametrize("others", [0, 1])
def test_a_lock_that_is_not_given_costs_no_connection(database_url: str, others: int) -> None:
    with scene_of(database_url, 0.2) as scene, held(scene):
        pool = scene.fl.database.engine
        closed: list[object] = []  # a hint may make one, beside the submission
        event.listen(pool, "close", lambda *_: closed.append(_))

        def submission(key: str) -> Submission:
            return Submission("monthly", organization="acme", user="ana", dedup_key=key)

        submissions = [submission(key) for key in ("held", "other")[: 1 + others]]
        for _ in range(3):
            with pytest.raises(StorageUnavailable, match="lock"):
                scene.fl.submit_many(submissions)
        assert closed == []
        assert submit(scene, "rival", "free").organization == "rival"
        assert len(scene.fl.submit_many([submission("free")])) == 1
        assert closed == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_all_turns(scene: Scene) -> None:
    """The turns that its parent's threads have end in the parent alone."""
    with flood(scene):
        if (child := os.fork()) == 0:
            code = 1
            try:
                with suppress(DuplicateJob):
                    submit(scene, "acme", "held")
                code = 0
            finally:
                os._exit(code)
        until(lambda: waiting(scene) == _EACH + 1)
    assert os.waitpid(child, 0)[1] == 0
