"""Identical submissions make one job, even if submitters race, roll back, hang or read an old snapshot (R3)."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Literal, LiteralString

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.engine.interfaces import IsolationLevel

from fairlane import DuplicateJob, Job, JobStatus, StorageUnavailable, Submission, new_id
from fairlane.store.tables import jobs
from tests.engine.worker_kit import until
from tests.store.races.agreement import assert_log_agrees
from tests.store.races.race import Race, answers_at_once
from tests.store.races.scene import Scene

# Tests submit beside a transaction that they hold open, to see who waits for it.
pytestmark = pytest.mark.filterwarnings("ignore::fairlane.TransactionNotUsed")

MONTH = {"n": 11}
NEW_TRANSACTION = "Nothing was changed; submit again in a new transaction"


@contextmanager
def deduplicating(url: str, **settings) -> Iterator[Scene]:
    with Scene(url, **settings) as scene:
        scene.add_type("monthly", dedup_window=300)
        yield scene


# More connections than a pool has by default, so that many of them are in the database together. SQLite lets those that
# wait in by chance: on a slow disk the last of them comes after the default's five seconds.
_CROWDED: dict[str, Any] = {"pool_size": 20, "lock_timeout": 60.0}


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with deduplicating(database_url) as scene:
        yield scene


def submit(scene: Scene, **more) -> Job:
    return scene.submit("monthly", parameters=MONTH, **more)


def jobs_of(scene: Scene) -> list[Job]:
    return list(scene.fl.list(organization="acme", limit=100).items)


@pytest.mark.slow
def test_two_hundred_submitters_of_one_duplicate_yield_one_job(database_url: str):
    with deduplicating(database_url, **_CROWDED) as scene:
        answers = answers_at_once([lambda: submit(scene)] * 200)
        (job,) = [answer for answer in answers if isinstance(answer, Job)]
        refusals = [answer for answer in answers if isinstance(answer, DuplicateJob)]
        assert len(refusals) == 199
        assert {(refusal.existing_id, refusal.existing_status) for refusal in refusals} == {(job.id, JobStatus.QUEUED)}
        assert jobs_of(scene) == [assert_log_agrees(scene.fl, job)]


@pytest.mark.slow
def test_two_hundred_submitters_who_want_the_earlier_job_all_get_it(database_url: str):
    with deduplicating(database_url, **_CROWDED) as scene:
        answers = answers_at_once([lambda: submit(scene, on_duplicate="return")] * 200)
        (job,) = jobs_of(scene)
        assert answers == [job] * 200


@pytest.mark.slow
def test_racing_replacements_leave_one_live_job(scene: Scene):
    answers = answers_at_once([lambda: submit(scene, on_duplicate="replace")] * 20)
    assert all(isinstance(answer, Job) for answer in answers)
    live = [job for job in jobs_of(scene) if job.status == JobStatus.QUEUED]
    assert len(live) == 1
    assert [job.status for job in jobs_of(scene)].count(JobStatus.CANCELED) == 19


def test_a_waiter_learns_of_the_winner_when_it_commits(scene: Scene, race: Race):
    with race.open() as winning:
        winner = submit(scene, connection=winning)
        waiter = race.waits(lambda: submit(scene))
    with pytest.raises(DuplicateJob) as refused:
        waiter.result()
    assert refused.value.existing_id == winner.id
    assert_log_agrees(scene.fl, winner)


def test_a_waiter_becomes_the_winner_when_the_winner_rolls_back(scene: Scene, race: Race):
    with race.open(commit=False) as winning:
        submit(scene, connection=winning)
        waiter = race.waits(lambda: submit(scene))
    job = waiter.result()
    assert jobs_of(scene) == [assert_log_agrees(scene.fl, job)]


@pytest.mark.parametrize("freed_by", ["expiry", "completion"])
def test_takers_of_a_free_key_wait_for_each_other(scene: Scene, race: Race, freed_by: str):
    earlier = submit(scene)
    if freed_by == "expiry":
        scene.clock.advance(301)
    else:
        scene.end(*scene.worker(job_types=["monthly"]).claim())
    with race.open() as winning:
        winner = submit(scene, connection=winning)
        waiter = race.waits(lambda: submit(scene))
    with pytest.raises(DuplicateJob) as refused:
        waiter.result()
    assert refused.value.existing_id == winner.id
    assert {job.id for job in jobs_of(scene)} == {earlier.id, winner.id}


def test_the_key_of_a_rolled_back_takeover_goes_to_the_waiter(scene: Scene, race: Race):
    earlier = submit(scene)
    scene.clock.advance(301)
    with race.open(commit=False) as winning:
        submit(scene, connection=winning)
        waiter = race.waits(lambda: submit(scene))
    job = waiter.result()
    assert {job.id for job in jobs_of(scene)} == {earlier.id, job.id}


def test_waiting_for_a_transaction_that_never_ends_is_bounded(database_url: str):
    with deduplicating(database_url, lock_timeout=0.05) as scene:
        race = Race(scene.fl.database, database_url)
        with race.open() as endless:
            winner = submit(scene, connection=endless)
            with pytest.raises(StorageUnavailable, match="locked for too long; nothing was changed"):
                submit(scene)
        race.close()
        assert jobs_of(scene) == [scene.get(winner)]


def test_a_replacement_waits_for_the_claim_of_the_earlier_job(scene: Scene, race: Race):
    earlier = submit(scene)
    worker = scene.worker(job_types=["monthly"])
    with race.open() as claiming:
        worker.claiming()(claiming)
        replacement = race.waits(lambda: submit(scene, on_duplicate="replace"))
    with pytest.raises(DuplicateJob, match=f"is (queued|running): {earlier.id}"):
        replacement.result()
    assert assert_log_agrees(scene.fl, earlier).status == JobStatus.RUNNING


def test_a_claim_passes_by_a_job_that_is_being_replaced(scene: Scene, race: Race):
    earlier = submit(scene)
    worker = scene.worker(job_types=["monthly"])
    with race.open() as replacing:
        replacement = submit(scene, on_duplicate="replace", connection=replacing)
        claimed = race.passes(worker.claim)
    assert [one.id for one in claimed.result()] == ([replacement.id] if race.serial else [])
    assert assert_log_agrees(scene.fl, earlier).status == JobStatus.CANCELED


class TestOldSnapshot:
    """A caller on PostgreSQL whose snapshot is older than the job that won. ON CONFLICT raises there."""

    @pytest.fixture
    def database_url(self, postgres_url: str) -> str:
        return postgres_url

    @contextmanager
    def host(self, url: str, isolation: IsolationLevel = "REPEATABLE READ") -> Iterator[Connection]:
        """A transaction of a host that has looked at the database before, and in the end writes a row of its own."""
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level=isolation)
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS orders; CREATE TABLE orders (number int)"))
        with engine.begin() as connection:
            connection.execute(text("SELECT count(*) FROM fairlane_jobs"))
            yield connection
            connection.execute(text("INSERT INTO orders VALUES (1)"))
        with engine.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM orders")).scalar_one() == 1
        engine.dispose()

    def test_a_duplicate_behind_the_snapshot_is_named(self, scene: Scene, database_url: str):
        with self.host(database_url) as connection:
            winner = submit(scene)
            with pytest.raises(DuplicateJob) as refused:
                submit(scene, connection=connection)
        assert (refused.value.existing_id, refused.value.existing_status) == (winner.id, JobStatus.QUEUED)
        assert jobs_of(scene) == [winner]

    def test_a_duplicate_behind_the_snapshot_is_named_with_its_index(self, scene: Scene, database_url: str):
        batch = [Submission("monthly", organization="acme", user="ana", parameters={"n": n}) for n in (9, 10, 11)]
        with self.host(database_url) as connection:
            winner = submit(scene)
            with pytest.raises(DuplicateJob) as refused:
                scene.fl.submit_many(batch, connection=connection)
        assert (refused.value.index, refused.value.existing_id) == (2, winner.id)
        assert jobs_of(scene) == [winner]

    def test_a_key_taken_over_behind_the_snapshot_is_named(self, scene: Scene, database_url: str):
        submit(scene)
        scene.clock.advance(301)
        with self.host(database_url) as connection:
            winner = submit(scene)
            with pytest.raises(DuplicateJob) as refused:
                submit(scene, connection=connection)
        assert refused.value.existing_id == winner.id
        assert len(jobs_of(scene)) == 2

    def test_a_caller_who_wants_the_earlier_job_gets_it(self, scene: Scene, database_url: str):
        with self.host(database_url) as connection:
            winner = submit(scene)
            assert submit(scene, connection=connection, on_duplicate="return") == winner
        assert jobs_of(scene) == [winner]

    @pytest.mark.parametrize("wish", ["return", "replace"])
    @pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_a_batch_that_is_more_than_earlier_jobs_can_be_submitted_in_a_new_transaction(
        self, scene: Scene, database_url: str, wish: Literal["return", "replace"], isolation: IsolationLevel
    ):
        batch = [
            Submission("monthly", organization="acme", user="ana", parameters={"n": n}, on_duplicate=wish)
            for n in (9, 11)
        ]
        with self.host(database_url, isolation) as connection:
            winner = submit(scene)
            for _ in range(2):
                with pytest.raises(StorageUnavailable, match=NEW_TRANSACTION):
                    scene.fl.submit_many(batch, connection=connection)
        assert jobs_of(scene) == [winner]
        with self.host(database_url, isolation) as connection:
            assert (scene.fl.submit_many(batch, connection=connection)[1] == winner) is (wish == "return")

    @pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_a_batch_with_one_id_behind_the_snapshot_can_be_submitted_in_a_new_transaction(
        self, scene: Scene, database_url: str, isolation: IsolationLevel
    ):
        first, second = (
            Submission("report", organization="acme", user="ana", id=new_id(), on_duplicate="return") for _ in range(2)
        )
        with self.host(database_url, isolation) as connection:
            (winner,) = scene.fl.submit_many([first])
            for _ in range(2):
                with pytest.raises(StorageUnavailable, match=NEW_TRANSACTION):
                    scene.fl.submit_many([first, second], connection=connection)
        assert jobs_of(scene) == [winner]
        with self.host(database_url, isolation) as connection:
            assert [job.id for job in scene.fl.submit_many([first, second], connection=connection)] == [
                first.id,
                second.id,
            ]

    def test_an_id_behind_the_snapshot_is_found_though_somebody_holds_its_job(self, database_url: str):
        with deduplicating(database_url, lock_timeout=0.05) as scene, self.host(database_url) as connection:
            one = Submission("report", organization="acme", user="ana", id=new_id(), on_duplicate="return")
            (winner,) = scene.fl.submit_many([one])
            with scene.fl.database.engine.begin() as holder:
                holder.execute(select(jobs.c.id).where(jobs.c.id == one.id).with_for_update())
                assert scene.fl.submit_many([one], connection=connection) == [winner]

    def test_a_duplicate_within_the_snapshot_is_named(self, scene: Scene, database_url: str):
        winner = submit(scene)
        with self.host(database_url) as connection, pytest.raises(DuplicateJob) as refused:
            submit(scene, connection=connection)
        assert refused.value.existing_id == winner.id

    def test_a_waiter_learns_of_the_winner_when_it_commits(self, scene: Scene, race: Race, database_url: str):
        with self.host(database_url) as connection:
            with race.open() as winning:
                winner = submit(scene, connection=winning)
                waiter = race.waits(lambda: submit(scene, connection=connection))
            with pytest.raises(DuplicateJob) as refused:
                waiter.result()
        assert refused.value.existing_id == winner.id

    def test_a_waiter_becomes_the_winner_when_the_winner_rolls_back(self, scene: Scene, race: Race, database_url: str):
        with self.host(database_url) as connection:
            with race.open(commit=False) as winning:
                submit(scene, connection=winning)
                waiter = race.waits(lambda: submit(scene, connection=connection))
            job = waiter.result()
        assert jobs_of(scene) == [assert_log_agrees(scene.fl, job)]


@pytest.mark.parametrize("on_duplicate", ["reject", "return"])
@pytest.mark.parametrize("waits_in", ["own transaction", "caller's transaction"])
def test_a_waiter_for_an_id_learns_of_its_job_when_it_commits(
    scene: Scene, race: Race, on_duplicate: Any, waits_in: str
):
    # Its type has no deduplication, so nothing but the id tells.
    one = Submission("report", organization="acme", user="ana", id=new_id())

    def submit_again() -> list[Job]:
        again = replace(one, on_duplicate=on_duplicate)
        if waits_in == "own transaction":
            return scene.fl.submit_many([again])
        with race.open() as theirs:
            return scene.fl.submit_many([again], connection=theirs)

    with race.open() as winning:
        scene.fl.submit_many([one], connection=winning)
        waiter = race.waits(submit_again)
    if on_duplicate == "return":
        assert [job.id for job in waiter.result()] == [one.id]
    else:
        with pytest.raises(DuplicateJob) as refused:
            waiter.result()
        assert (refused.value.existing_id, refused.value.existing_status) == (one.id, JobStatus.QUEUED)
    assert [job.id for job in jobs_of(scene)] == [one.id]


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_batches_of_the_same_keys_in_opposite_orders_never_wait_in_a_circle(database_url: str):
    def batch(step: int) -> list[Submission]:
        keys = [f"key {number}" for number in range(1_000)][::step]
        common: dict[str, Any] = {"organization": "acme", "parameters": MONTH, "on_duplicate": "return"}
        return [Submission("monthly", dedup_key=key, **common) for key in keys]

    with psycopg.connect(database_url, autocommit=True) as observer:
        before = sessions(observer), deadlocks(observer)
        with deduplicating(database_url) as scene, closing(Race(scene.fl.database, database_url)) as race:
            scene.submit()  # registers the types
            with race.open() as theirs:
                # Both have taken many keys before they wait for this one.
                submit(scene, dedup_key="key 300", connection=theirs)
                first = race.waits(lambda: scene.fl.submit_many(batch(1)))
                second = race.waits(lambda: scene.fl.submit_many(batch(-1)))
            assert [job.id for job in first.result()] == [job.id for job in second.result()[::-1]]
        until(lambda: sessions(observer) == before[0])  # at its end each has told of its deadlocks
        assert deadlocks(observer) == before[1]


def sessions(observer: psycopg.Connection) -> int:
    return number(observer, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")


def deadlocks(observer: psycopg.Connection) -> int:
    return number(observer, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


def number(observer: psycopg.Connection, question: LiteralString) -> int:
    row = observer.execute(question).fetchone()
    assert row is not None
    return int(row[0])
