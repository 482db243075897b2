"""Concurrent submissions of threads on SQLite are committed together, and yet each gets its own answer."""

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Connection, make_url

from fairlane import CommitUnanswered, Job, StorageUnavailable, Submission
from fairlane.store.gathering import Gathering
from tests.patience import PATIENCE
from tests.store.races.scene import Scene

THREADS = 8


@pytest.fixture
def scene(sqlite_url: str) -> Iterator[Scene]:
    with Scene(sqlite_url) as scene:
        scene.submit()  # registers the type
        yield scene


class Crowd:
    """Threads that submit at the same time: the first one's commit waits until all others have come."""

    def __init__(self, scene: Scene) -> None:
        self.commits = 0
        self._database = scene.fl.database
        self._comers = threading.Semaphore(0)

    def run(self, *calls: Callable[[], object], commit: Callable[[Any], None] | None = None) -> list[Future[Any]]:
        """Run the calls; how each ended.

        Args:
            commit: does in place of the first commit what that is to do.
        """
        dialect: Any = self._database.engine.dialect
        usual, come = dialect.do_commit, Gathering.commit

        def do_commit(connection: Any) -> None:
            self.commits += 1
            if self.commits > 1:
                usual(connection)
                return
            for _ in calls:
                assert self._comers.acquire(timeout=PATIENCE)
            (commit or usual)(connection)

        def arrive(gathering: Gathering, work: Any) -> object:
            self._comers.release()
            return come(gathering, work)

        with (
            patch.object(dialect, "do_commit", do_commit),
            patch.object(Gathering, "commit", arrive),
            ThreadPoolExecutor(len(calls)) as threads,
        ):
            return [threads.submit(one) for one in calls]


def test_they_share_commits(scene: Scene) -> None:
    crowd = Crowd(scene)
    done = crowd.run(*[scene.submit] * THREADS)
    assert len({job.result().id for job in done}) == THREADS
    assert crowd.commits < THREADS
    assert scene.total() == THREADS + 1


def test_what_one_may_not_submit_undoes_nothing_of_the_others(scene: Scene) -> None:
    scene.add_type("monthly", dedup_window=300)
    scene.submit("monthly", parameters={"n": 7})
    twins = [Submission("report", organization="acme", user="ana")] * 2
    done = Crowd(scene).run(
        scene.submit,
        lambda: scene.submit("monthly", parameters={"n": 7}),
        lambda: scene.submit(parameters={"n": "many"}),
        *[lambda: scene.fl.submit_many(twins[:1])] * 2,
        scene.submit,
    )
    ends = [type(one.exception()).__name__ for one in done]
    assert ends[:3] == ["NoneType", "DuplicateJob", "InvalidParameters"]
    assert sorted(ends[3:5]) == ["DuplicateJob", "NoneType"]
    assert ends[5] == "NoneType"
    assert scene.total() == 5


def test_a_batch_that_is_refused_half_way_leaves_nothing_behind(scene: Scene) -> None:
    scene.fl.organizations.update("rival", max_live_jobs=1)
    batch = [Submission("report", organization="rival", user="rita") for _ in range(2)]
    done = Crowd(scene).run(scene.submit, lambda: scene.fl.submit_many(batch), scene.submit)
    assert [one.exception() is None for one in done] == [True, False, True]
    assert scene.total("rival") == 0


def test_a_commit_without_an_answer_is_looked_up_by_each(scene: Scene) -> None:
    def lost(connection: Any) -> None:
        connection.commit()
        raise sqlite3.OperationalError("disk I/O error")

    crowd = Crowd(scene)
    done = crowd.run(*[scene.submit] * THREADS, commit=lost)
    assert len({job.result().id for job in done}) == THREADS
    assert scene.total() == THREADS + 1


def test_a_commit_that_failed_is_told_to_all_that_it_was_for(scene: Scene) -> None:
    def refused(connection: Any) -> None:
        connection.rollback()
        raise sqlite3.OperationalError("database or disk is full")

    ends = [one.exception() for one in Crowd(scene).run(*[scene.submit] * THREADS, commit=refused)]
    refusals = [one for one in ends if one is not None]
    assert all(type(one) is StorageUnavailable for one in refusals)
    assert scene.total() == 1 + THREADS - len(refusals)
    assert refusals


def test_a_thread_that_is_interrupted_while_committing_leaves_no_other_waiting(scene: Scene) -> None:
    def interrupted(connection: Any) -> None:
        raise KeyboardInterrupt

    ends = [one.exception() for one in Crowd(scene).run(*[scene.submit] * THREADS, commit=interrupted)]
    assert [type(one) for one in ends if one is not None].count(KeyboardInterrupt) == 1
    assert {type(one) for one in ends} <= {KeyboardInterrupt, CommitUnanswered, type(None)}
    assert scene.total() == 1 + ends.count(None)


def test_what_was_interrupted_while_it_waited_is_not_committed_later(scene: Scene) -> None:
    here = threading.get_ident()
    has_turn, is_over = threading.Event(), threading.Event()
    dialect: Any = scene.fl.database.engine.dialect
    usual = dialect.do_commit

    def slow(connection: Any) -> None:
        dialect.do_commit = usual
        has_turn.set()
        while not is_waiting(here):
            assert not is_over.wait(0.001)
        signal.pthread_kill(here, signal.SIGUSR1)
        assert is_over.wait(PATIENCE)
        usual(connection)

    with patch.object(dialect, "do_commit", slow), ThreadPoolExecutor(1) as threads, interrupts(signal.SIGUSR1):
        first = threads.submit(scene.submit)
        assert has_turn.wait(PATIENCE)
        with pytest.raises(Interrupted):
            scene.submit(parameters={"n": 2})
        is_over.set()
        assert isinstance(first.result(), Job)
    assert isinstance(scene.submit(), Job)
    assert scene.total() == 3


def test_a_handler_of_a_signal_that_submits_amid_a_submission_does_not_wait_for_itself(scene: Scene) -> None:
    dialect: Any = scene.fl.database.engine.dialect
    usual = dialect.do_commit
    refusals: list[StorageUnavailable] = []

    def handler(*_: object) -> None:
        with pytest.raises(StorageUnavailable, match="within it") as refusal:
            scene.submit(parameters={"n": 2})
        refusals.append(refusal.value)

    def signaled(connection: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)
        usual(connection)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with patch.object(dialect, "do_commit", signaled):
            scene.submit()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(refusals) == 1
    assert isinstance(scene.submit(parameters={"n": 3}), Job)
    assert scene.total() == 3


class Interrupted(Exception):
    """A time limit that a signal brings, as task queues have it."""


@contextmanager
def interrupts(number: signal.Signals) -> Iterator[None]:
    def handler(*_: object) -> None:
        raise Interrupted

    usual = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, usual)


def is_waiting(thread: int) -> bool:
    """Return True if the thread waits for its turn, or is about to. By name: plays replace the method."""
    return sys._current_frames()[thread].f_code.co_qualname == "Gathering.commit"


def test_a_lock_of_somebody_else_is_waited_for_as_long_as_was_set(sqlite_url: str) -> None:
    with Scene(sqlite_url, lock_timeout=0.1) as scene:
        scene.submit()
        with other_writer(sqlite_url):
            with ThreadPoolExecutor(THREADS) as threads:
                done = [threads.submit(scene.submit) for _ in range(THREADS)]
            assert all(isinstance(one.exception(), StorageUnavailable) for one in done)
        assert isinstance(scene.submit(), Job)
        assert scene.total() == 2


def test_a_child_that_was_forked_while_a_thread_had_its_turn_has_its_own(scene: Scene) -> None:
    has_turn, is_forked = threading.Event(), threading.Event()

    def write(work: Callable[[Connection], Any]) -> Any:
        has_turn.set()
        assert is_forked.wait(PATIENCE)
        return scene.write(work)

    gathering = Gathering(write)
    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(gathering.commit, lambda _: "parent's")
        assert has_turn.wait(PATIENCE)
        if (child := os.fork()) == 0:
            is_forked.set()
            with suppress(BaseException):
                os._exit(0 if gathering.commit(lambda _: "child's") == "child's" else 1)
            os._exit(2)
        is_forked.set()
        assert os.waitpid(child, 0)[1] == 0
        assert done.result() == "parent's"


@contextmanager
def other_writer(url: str) -> Iterator[None]:
    file = make_url(url).database
    assert file is not None
    with closing(sqlite3.connect(Path(file), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
