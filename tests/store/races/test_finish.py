"""The end of an attempt beside other writers of the same job: they hold each other up in nothing but its row."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text

from fairlane import Job, JobStatus
from fairlane.domain.outcomes import Outcome
from fairlane.store.statements import attempts
from fairlane.store.statements.locks import lock_job
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.race import Race, at_once
from tests.store.races.scene import BROKEN, JAMMED, Claimed, Scene, Work, key_of

QUEUED, RUNNING, COMPLETED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED
Writing = Callable[[Scene, Claimed], Work[bool]]


def progress(scene: Scene, claimed: Claimed) -> Work[bool]:
    return lambda c: attempts.set_progress(c, scene.clock.now(c), key_of(claimed), percent=50.0, message="half")


def checkpoint(scene: Scene, claimed: Claimed) -> Work[bool]:
    return lambda c: attempts.set_checkpoint(c, scene.clock.now(c), key_of(claimed), '{"page": 7}')


def log_line(scene: Scene, claimed: Claimed) -> Work[bool]:
    return lambda c: attempts.add_lines(c, scene.clock.now(c), key_of(claimed), [("info", "half")])


WRITES = pytest.mark.parametrize("writing", [progress, checkpoint, log_line], ids=lambda writing: writing.__name__)


@pytest.fixture
def job(scene: Scene) -> Job:
    return scene.submit()


@pytest.fixture
def claimed(scene: Scene, job: Job) -> Claimed:
    (claimed,) = scene.worker().claim()
    return claimed


class TestWritesOfTheAttempt:
    @pytest.mark.slow
    @WRITES
    def test_a_finish_passes_by_a_job_whose_write_is_not_committed_and_returns(
        self, scene: Scene, race: Race, claimed: Claimed, writing: Writing
    ):
        with race.open() as open_write:
            assert writing(scene, claimed)(open_write)
            end = race.passes(lambda: scene.end(claimed))
        assert end.result()[0].is_locked is not race.serial
        scene.end(claimed)
        assert assert_log_agrees(scene.fl, claimed.id).status == COMPLETED

    @WRITES
    def test_a_write_waits_for_a_finish_that_is_not_committed_and_is_refused(
        self, scene: Scene, race: Race, claimed: Claimed, writing: Writing
    ):
        with race.open() as finishing:
            scene.ending(claimed)(finishing)
            write = race.waits(lambda: scene.write(writing(scene, claimed)))
        assert write.result() is False
        assert assert_log_agrees(scene.fl, claimed.id).status == COMPLETED

    @pytest.mark.slow
    @WRITES
    @pytest.mark.parametrize("outcome", [None, JAMMED, BROKEN], ids=["completed", "retried", "dead-lettered"])
    def test_a_write_after_the_finish_is_refused(
        self, scene: Scene, claimed: Claimed, writing: Writing, outcome: Outcome | None
    ):
        scene.end(claimed, outcome=outcome)
        assert scene.write(writing(scene, claimed)) is False
        assert scene.get(claimed.id).progress is None

    def test_fifty_progress_writes_and_a_finish_end_in_completion(self, scene: Scene, claimed: Claimed):
        at_once([lambda: scene.end(claimed), *[lambda: scene.write(progress(scene, claimed))] * 50])
        scene.end(claimed)  # where the first found the row held by a write
        assert steps(scene.fl, claimed.id) == [QUEUED, RUNNING, COMPLETED]


class TestTheSameFinishTwice:
    def test_only_the_first_of_two_at_once_counts(self, scene: Scene, claimed: Claimed):
        (first,), (second,) = at_once([lambda: scene.end(claimed)] * 2)
        assert [first.transition, second.transition].count(None) == 1
        assert steps(scene.fl, claimed.id) == [QUEUED, RUNNING, COMPLETED]

    def test_a_finish_whose_answer_was_lost_can_be_sent_again(self, scene: Scene, claimed: Claimed):
        scene.end(claimed, outcome=JAMMED)
        (again,) = scene.end(claimed, outcome=JAMMED)
        assert (again.transition, again.is_locked) == (None, False)
        assert scene.get(claimed.id).retry_count == 1


class TestAHostThatHoldsTheRow:
    def test_the_rest_of_the_batch_is_finished_and_the_held_one_later(self, scene: Scene, race: Race):
        submitted = [scene.submit() for _ in range(3)]
        claimed = scene.worker().claim(3)
        held = submitted[1]
        with race.open() as host:
            lock_job(host, "acme", held.id)
            batch = race.passes(lambda: scene.end(*claimed))
        left = {one.finish.job_id for one in batch.result() if one.is_locked}
        assert left == (set() if race.serial else {held.id})
        again = scene.end(*(one for one in claimed if one.id in left))
        assert all(one.transition is not None for one in again)
        assert {tuple(steps(scene.fl, job)) for job in submitted} == {(QUEUED, RUNNING, COMPLETED)}

    def test_two_batches_with_the_same_jobs_in_opposite_order_finish_each_once(self, scene: Scene):
        submitted = [scene.submit() for _ in range(20)]
        claimed = scene.worker().claim(20)
        batches = at_once([lambda: scene.end(*claimed), lambda: scene.end(*reversed(claimed))])
        assert sum(one.transition is not None for batch in batches for one in batch) == 20
        assert {tuple(steps(scene.fl, job)) for job in submitted} == {(QUEUED, RUNNING, COMPLETED)}


class TestAHostsForeignKey:
    """A host's table refers to jobs. Its open insert locks the job's row FOR KEY SHARE."""

    @pytest.fixture(autouse=True)
    def _orders(self, scene: Scene) -> None:
        scene.write(
            lambda connection: connection.execute(
                text(
                    "CREATE TABLE orders (organization_id varchar(140), job_id uuid,"
                    " FOREIGN KEY (organization_id, job_id) REFERENCES fairlane_jobs (organization_id, id))"
                )
            )
        )

    def order(self, host: Connection, job: Job) -> None:
        key = job.id.hex if host.dialect.name == "sqlite" else job.id
        host.execute(text("INSERT INTO orders VALUES ('acme', :id)"), {"id": key})

    def test_a_job_is_claimed_and_finished_while_a_host_s_reference_is_open(self, scene: Scene, race: Race, job: Job):
        worker = scene.worker()
        with race.open() as host:
            self.order(host, job)
            claim = race.passes(worker.claim)
            if not race.serial:
                (claimed,) = claim.result()
                assert race.passes(lambda: scene.end(claimed)).result()[0].transition is not None
        if race.serial:
            scene.end(*claim.result())
        assert steps(scene.fl, job) == [QUEUED, RUNNING, COMPLETED]

    def test_a_host_refers_to_a_job_while_it_is_being_claimed_or_finished(self, scene: Scene, race: Race, job: Job):
        def refer() -> None:
            scene.write(lambda connection: self.order(connection, job))

        worker = scene.worker()
        with race.open() as claiming:
            (claimed,) = worker.claiming()(claiming)
            references = [race.passes(refer)]
        references[0].result()
        with race.open() as finishing:
            scene.ending(claimed)(finishing)
            references.append(race.passes(refer))
        references[1].result()
        assert steps(scene.fl, job) == [QUEUED, RUNNING, COMPLETED]

    def test_a_host_submits_a_job_and_refers_to_it_in_one_transaction(self, scene: Scene, race: Race):
        with race.open() as host:
            job = scene.submit(connection=host)
            self.order(host, job)
        (claimed,) = scene.worker().claim()
        scene.end(claimed)
        assert assert_log_agrees(scene.fl, job).status == COMPLETED


def test_the_deletion_of_an_organization_finds_what_an_end_beside_it_queues(
    scene: Scene, race: Race, job: Job, claimed: Claimed
):
    """The end was decided while the organization was there, and is committed after it was deleted."""
    with race.open() as ending:
        scene.ending(claimed, outcome=JAMMED)(ending)
        deletion = race.begins(lambda: scene.fl.organizations.delete("acme"))
    deletion.result()
    assert steps(scene.fl, job) == [QUEUED, RUNNING, JobStatus.FAILED, QUEUED, JobStatus.DEAD_LETTER]
