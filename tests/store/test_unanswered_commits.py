"""A connection that breaks during a commit: nothing is done twice, and nobody is told that nothing was done."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from fairlane import CommitUnanswered, DuplicateJob, StorageUnavailable, Submission
from fairlane.domain.events import QueueLimitWarning
from fairlane.store.driver_errors import is_unanswered
from tests.store.commits import breaking
from tests.store.races.scene import Scene

pytestmark = pytest.mark.both_databases


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:
        scene.fl.migrate()
        yield scene


def batch(size: int = 3, **fields: Any) -> list[Submission]:
    return [Submission("report", organization="acme", user="ana", parameters={"n": n}, **fields) for n in range(size)]


@pytest.mark.parametrize("arrives", [True, False])
def test_a_transaction_whose_commit_was_not_answered_is_not_run_again(scene: Scene, *, arrives: bool) -> None:
    runs = []

    def work(connection: Connection) -> None:
        runs.append(connection)

    with breaking(scene.fl.database, arrives=arrives), pytest.raises(CommitUnanswered, match="Check which"):
        scene.write(work)
    assert len(runs) == 1


class TestASubmission:
    def test_it_succeeds_if_only_the_answer_was_lost(self, scene: Scene) -> None:
        scene.submit()
        with breaking(scene.fl.database, arrives=True):
            job = scene.submit()
        assert scene.get(job) == job
        assert scene.total() == 2

    @pytest.mark.parametrize("arrives", [True, False])
    def test_nothing_is_to_be_looked_for_if_only_its_type_was_on_the_way(self, scene: Scene, *, arrives: bool) -> None:
        scene.add_type("new")
        with breaking(scene.fl.database, arrives=arrives), pytest.raises(StorageUnavailable, match="try again") as told:
            scene.submit("new")
        assert not isinstance(told.value, CommitUnanswered)
        assert scene.total() == 0
        scene.submit("new")
        assert scene.total() == 1

    def test_a_batch_succeeds_if_only_the_answer_was_lost(self, scene: Scene) -> None:
        scene.submit()
        submissions = batch()
        with breaking(scene.fl.database, arrives=True):
            jobs = scene.fl.submit_many(submissions)
        assert [job.id for job in jobs] == [one.id for one in submissions]
        assert scene.total() == 4

    def test_a_batch_of_several_organizations_succeeds_though_its_first_job_is_an_earlier_one(
        self, scene: Scene
    ) -> None:
        earlier = scene.submit(parameters={"n": 0}, dedup_window=60)
        again = Submission(
            "report", organization="acme", user="ana", parameters={"n": 0}, dedup_window=60, on_duplicate="return"
        )
        fresh = Submission("report", organization="rival", user=None, parameters={"n": 1})
        with breaking(scene.fl.database, arrives=True):
            jobs = scene.fl.submit_many([again, fresh])
        assert [job.id for job in jobs] == [earlier.id, fresh.id]

    def test_a_full_queue_is_warned_of_though_the_answer_was_lost(self, scene: Scene) -> None:
        scene.fl.organizations.update("acme", max_live_jobs=2)
        scene.submit()
        with breaking(scene.fl.database, arrives=True, of_transaction=True):
            scene.submit()
        assert QueueLimitWarning("acme", 2, 2) in scene.events

    def test_an_earlier_job_is_returned_whatever_became_of_the_commit(self, scene: Scene) -> None:
        earlier = scene.submit(dedup_window=60)
        with breaking(scene.fl.database, arrives=False, of_transaction=True):
            assert scene.submit(dedup_window=60, on_duplicate="return").id == earlier.id
        assert scene.total() == 1

    @pytest.mark.slow
    def test_who_submitted_learns_for_which_job_to_look(self, scene: Scene) -> None:
        scene.submit()
        (submission,) = batch(1)
        with (
            breaking(scene.fl.database, arrives=False),
            pytest.raises(CommitUnanswered, match=f"Look whether job {submission.id} is there"),
        ):
            scene.fl.submit_many([submission])
        assert scene.total() == 1
        # Under the same id it is submitted once at most.
        scene.fl.submit_many([submission])
        with pytest.raises(DuplicateJob):
            scene.fl.submit_many([submission])

    def test_the_job_to_look_for_is_a_new_one(self, scene: Scene) -> None:
        scene.submit(parameters={"n": 0}, dedup_window=60)
        again, fresh = batch(2, dedup_window=60, on_duplicate="return")
        with breaking(scene.fl.database, arrives=False), pytest.raises(CommitUnanswered, match=str(fresh.id)):
            scene.fl.submit_many([again, fresh])

    def test_nobody_is_told_that_nothing_happened_while_nobody_can_look(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene.submit()
        with monkeypatch.context() as patch:
            patch.setattr(scene.fl.database, "read", away)
            with breaking(scene.fl.database, arrives=True), pytest.raises(CommitUnanswered):
                scene.submit()
        assert scene.total() == 2


def away(*_: object, **__: object) -> None:
    raise StorageUnavailable("The database did not answer.")


def with_state(state: str) -> psycopg.OperationalError:
    error = psycopg.OperationalError("told by the server")
    error.sqlstate = state
    return error


@pytest.mark.parametrize(
    ("error", "is_open"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), True),
        (with_state("57P01"), True),
        (with_state("08006"), True),
        (with_state("40001"), False),
        (with_state("53100"), False),
        (with_state("25P03"), False),
        (sqlite3.OperationalError("disk I/O error"), True),
        (sqlite3.OperationalError("database or disk is full"), False),
        (sqlite3.OperationalError("database is locked"), False),
    ],
)
def test_a_database_that_refuses_a_commit_leaves_nothing_open(error: Exception, *, is_open: bool) -> None:
    assert is_unanswered(OperationalError("COMMIT", None, error)) is is_open
