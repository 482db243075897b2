"""Deletion beside everything that still needs a job: it goes wholly, or stays (R14)."""

from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from fairlane import IllegalTransition, Job, JobNotFound, JobStatus, ParentNotFound, StorageUnavailable, Submission
from fairlane.domain.errors import FairlaneError
from fairlane.domain.outcomes import Completed
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.engine.cleanup import Cleanup
from fairlane.store.statements import cleanup, dead_letters, doomed_files
from fairlane.store.statements.locks import lock_job
from tests.engine.worker_kit import until
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.race import DEADLINE, Race, at_once
from tests.store.races.scene import DAY, Scene, Work

STOP_IF_MANY_GO = """
CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF (SELECT count(*) FROM gone) > 1 THEN RAISE EXCEPTION USING ERRCODE = 'query_canceled'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER stop AFTER DELETE ON fairlane_jobs REFERENCING OLD TABLE AS gone EXECUTE FUNCTION stop()
"""
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{error}'; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON fairlane_jobs FOR EACH ROW WHEN (OLD.id = '{job}') EXECUTE FUNCTION refuse()
"""
PENDING, QUEUED, COMPLETED = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.COMPLETED


def cleaning(scene: Scene) -> Work[int]:
    """Return the work that deletes a batch of jobs older than a day, in a transaction of the test's."""
    cleaner = scene.cleaner()

    def work(connection: Connection) -> int:
        deleted = 0
        for shelf, moment in cleaner._look_for_due(connection):
            page = cleanup.ended_before(connection, shelf, moment, None, 100)
            deleted += cleaner._delete(connection, shelf.organization, [row.id for row in page], moment)[0]
        return deleted

    return work


def clean(scene: Scene) -> int:
    """Run one round of the clean-up service."""
    return scene.cleaner().run_once()


def grow_old(scene: Scene) -> None:
    scene.clock.advance(DAY + 1)


def completed(scene: Scene) -> Job:
    job = scene.submit()
    scene.end(*scene.worker().claim(), outcome=Completed('"done"'))
    return job


def parent_and_resolved_child(scene: Scene) -> tuple[Job, Job]:
    """A job that completed and is old, and one that needs it and died a day later."""
    parent = completed(scene)
    grow_old(scene)
    child = scene.dead_letter(depends_on=[parent])
    scene.fl.dead_letters.resolve(child.id, organization="acme")
    return parent, child


def is_there(scene: Scene, job: Job) -> bool:
    try:
        scene.get(job)
    except JobNotFound:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("checked", ["IMMEDIATE", "DEFERRED"])  # Django's are deferred: they speak at the commit
def test_a_job_that_a_host_refers_to_stays_and_holds_up_no_other(scene: Scene, checked: str):
    jobs = [completed(scene) for _ in range(5)]
    grow_old(scene)
    scene.write(lambda connection: refer(connection, jobs[1], checked))
    cleaner = scene.cleaner()
    assert [cleaner.run_once(), cleaner.run_once()] == [4, 0]
    assert [is_there(scene, job) for job in jobs] == [False, True, False, False, False]


@pytest.mark.slow
def test_of_jobs_that_a_host_refers_to_no_more_are_remembered_than_a_bound(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.engine.cleanup._MOST_KEPT", 2)
    jobs = [completed(scene) for _ in range(6)]
    grow_old(scene)
    scene.write(lambda connection: refer(connection, jobs[0], "IMMEDIATE"))
    for job in jobs[1:5]:
        scene.write(partial(add_reference, job))
    cleaner = scene.cleaner()
    for _ in range(4):
        cleaner.run_once()
        assert 0 < len(cleaner._kept) <= 2
    assert [is_there(scene, job) for job in jobs] == [True] * 5 + [False]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
# The second as where it takes too long, the others as where a trigger misses its table or divides by nothing.
@pytest.mark.parametrize("error", ["raise_exception", "query_canceled", "undefined_table", "division_by_zero"])
def test_a_job_whose_deletion_the_database_refuses_holds_up_nothing_else(scene: Scene, error: str):
    jobs = [completed(scene) for _ in range(5)]
    grow_old(scene)
    scene.write(lambda connection: connection.exec_driver_sql(REFUSE.format(job=jobs[1].id, error=error)))
    cleaner = scene.cleaner()
    refusals = rounds(cleaner, 8)
    assert [is_there(scene, job) for job in jobs] == [False, True, False, False, False]
    assert refusals == 4  # of five, two, two and one
    assert cleaner.run_once() == 0
    scene.write(lambda connection: connection.exec_driver_sql("DROP TRIGGER refuse ON fairlane_jobs"))
    scene.clock.advance(3600)
    assert cleaner.run_once() == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("error", ["internal_error", "disk_full"])
def test_a_fault_that_hits_all_jobs_is_told_each_time_and_leaves_none_behind(scene: Scene, error: str):
    jobs = [completed(scene) for _ in range(5)]
    grow_old(scene)
    of_all = REFUSE.replace("WHEN (OLD.id = '{job}') ", "").format(error=error)
    scene.write(lambda connection: connection.exec_driver_sql(of_all))
    cleaner = scene.cleaner()
    assert rounds(cleaner, 5) == 5
    scene.write(lambda connection: connection.exec_driver_sql("DROP TRIGGER refuse ON fairlane_jobs"))
    scene.clock.advance(3600)
    assert rounds(cleaner, 2) == 0
    assert not any(is_there(scene, job) for job in jobs)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_job_that_cannot_be_deleted_holds_up_none_while_files_are_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    jobs = [completed(scene) for _ in range(3)]
    grow_old(scene)
    scene.write(lambda connection: connection.exec_driver_sql(REFUSE.format(job=jobs[0].id, error="query_canceled")))

    def refuse(_storage: ObjectStorage, _path: str) -> None:
        raise OSError("the storage is away")

    cleaner = scene.cleaner()
    monkeypatch.setattr(ObjectStorage, "delete", refuse)
    scene.write(lambda connection: doomed_files.doom(connection, scene.now, "acme", [f"x/{n}" for n in range(40)]))
    rounds(cleaner, 6)
    assert [is_there(scene, job) for job in jobs] == [True, False, False]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_page_that_takes_too_long_is_retried_smaller(scene: Scene):
    """Many rows of a host may go with each job."""
    jobs = [completed(scene) for _ in range(3)]
    grow_old(scene)
    scene.write(lambda connection: connection.exec_driver_sql(STOP_IF_MANY_GO))
    cleaner = scene.cleaner()
    with pytest.raises(StorageUnavailable):
        cleaner.run_once()
    for _ in range(2):
        with suppress(StorageUnavailable):
            cleaner.run_once()
    assert not any(is_there(scene, job) for job in jobs)


def rounds(cleaner: Cleanup, number: int) -> int:
    """Clean up so often; return how many times that raised."""
    raised = 0
    for _ in range(number):
        try:
            cleaner.run_once()
        except (DBAPIError, FairlaneError, OSError):
            raised += 1
    return raised


def refer(connection: Connection, job: Job, checked: str) -> None:
    """A host's table with a foreign key to jobs, and a row of it."""
    connection.execute(
        text(
            "CREATE TABLE orders (organization_id varchar(140), job_id uuid,"
            " FOREIGN KEY (organization_id, job_id) REFERENCES fairlane_jobs (organization_id, id)"
            f" DEFERRABLE INITIALLY {checked})"
        )
    )
    add_reference(job, connection)


def add_reference(job: Job, connection: Connection) -> None:
    key = job.id.hex if connection.dialect.name == "sqlite" else job.id
    connection.execute(text("INSERT INTO orders VALUES ('acme', :id)"), {"id": key})


def test_an_organization_is_deleted_although_a_host_holds_a_job_of_it(scene: Scene, race: Race):
    held, free = scene.submit(delay=60), scene.submit(delay=60)
    with race.open() as host:
        lock_job(host, "acme", held.id)
        deletion = race.passes(lambda: scene.fl.organizations.delete("acme"))
    deletion.result()
    assert scene.get(free).status == JobStatus.DEAD_LETTER
    assert scene.get(held).status == (JobStatus.DEAD_LETTER if race.serial else PENDING)


class TestTwoCleaners:
    def test_the_second_passes_by_what_the_first_is_deleting(self, scene: Scene, race: Race):
        old = [completed(scene) for _ in range(3)]
        grow_old(scene)
        with race.open() as first:
            assert cleaning(scene)(first) == 3
            second = race.passes(lambda: clean(scene))
        assert second.result() == 0
        assert not any(is_there(scene, job) for job in old)

    @pytest.mark.slow
    def test_each_job_is_deleted_once_however_many_cleaners_there_are(self, scene: Scene):
        for _ in range(20):
            completed(scene)
        grow_old(scene)
        assert sum(at_once([lambda: clean(scene)] * 8)) + clean(scene) == 20
        assert scene.fl.list(organization="acme").total == 0

    def test_a_job_whose_row_a_host_holds_is_left_for_the_next_round(self, scene: Scene, race: Race):
        old = [completed(scene) for _ in range(2)]
        grow_old(scene)
        with race.open() as host:
            lock_job(host, "acme", old[0].id)
            cleaner = race.passes(lambda: clean(scene))
        assert cleaner.result() == (2 if race.serial else 1)
        clean(scene)
        assert not any(is_there(scene, job) for job in old)


class TestRetry:
    @pytest.fixture
    def letter(self, scene: Scene) -> Job:
        """A dead letter that somebody has dealt with, past its retention."""
        job = scene.dead_letter()
        scene.fl.dead_letters.ignore(job.id, organization="acme")
        grow_old(scene)
        return job

    def test_a_cleaner_passes_by_a_dead_letter_that_is_being_retried(self, scene: Scene, race: Race, letter: Job):
        with race.open() as retrying:
            now = scene.clock.now(retrying)
            dead_letters.retry(retrying, now, "acme", letter.id, actor="olga")
            cleaner = race.passes(lambda: clean(scene))
        assert cleaner.result() == 0
        assert clean(scene) == 0
        assert assert_log_agrees(scene.fl, letter).status == QUEUED

    def test_a_retry_that_waits_for_the_cleaner_finds_no_job(self, scene: Scene, race: Race, letter: Job):
        with race.open() as first:
            assert cleaning(scene)(first) == 1
            retry = race.waits(lambda: scene.fl.retry(letter.id, organization="acme"))
        with pytest.raises(JobNotFound):
            retry.result()

    def test_a_retry_of_a_job_whose_deletion_rolls_back_goes_on(self, scene: Scene, race: Race, letter: Job):
        with race.open(commit=False) as first:
            assert cleaning(scene)(first) == 1
            retry = race.waits(lambda: scene.fl.retry(letter.id, organization="acme"))
        assert retry.result().status == QUEUED

    def test_a_delete_that_waits_for_the_retry_is_refused(self, scene: Scene, race: Race, letter: Job):
        with race.open() as retrying:
            now = scene.clock.now(retrying)
            dead_letters.retry(retrying, now, "acme", letter.id, actor="olga")
            delete = race.waits(lambda: scene.fl.dead_letters.delete(letter.id, organization="acme"))
        with pytest.raises(IllegalTransition, match="is queued; cancel it before you delete it"):
            delete.result()
        assert assert_log_agrees(scene.fl, letter).status == QUEUED


class TestChildren:
    def test_a_cleaner_passes_by_a_parent_whose_child_is_being_submitted(self, scene: Scene, race: Race):
        parent = completed(scene)
        grow_old(scene)
        with race.open() as submitting:
            child = scene.submit(depends_on=[parent], connection=submitting)
            cleaner = race.passes(lambda: clean(scene))
        assert cleaner.result() == 0
        assert clean(scene) == 0
        assert scene.get(child).depends_on == (parent.id,)
        assert steps(scene.fl, child) == [QUEUED]

    def test_a_child_that_waits_for_the_deletion_of_its_parent_learns_that_it_is_gone(self, scene: Scene, race: Race):
        parent = completed(scene)
        grow_old(scene)
        batch = [
            Submission("report", organization="acme", user="ana"),
            Submission("report", organization="acme", user="ana", depends_on=[parent]),
        ]
        with race.open() as first:
            assert cleaning(scene)(first) == 1
            submitting = race.waits(lambda: scene.fl.submit_many(batch))
        with pytest.raises(ParentNotFound, match=f"Parent {parent.id} is not a job of organization acme") as refused:
            submitting.result()
        assert refused.value.index == 1
        assert scene.fl.list(organization="acme").total == 0

    def test_a_delete_that_waits_for_a_child_s_submission_is_refused(self, scene: Scene, race: Race):
        parent = scene.dead_letter()
        with race.open() as submitting:
            child = scene.submit(depends_on=[parent], on_parent_failure="run_anyway", connection=submitting)
            delete = race.waits(lambda: scene.fl.dead_letters.delete(parent.id, organization="acme"))
        with pytest.raises(IllegalTransition, match=r"depends on job .* first"):
            delete.result()
        assert scene.get(child).depends_on == (parent.id,)

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_delete_sees_a_child_that_came_after_it_had_begun(
        self, scene: Scene, race: Race, monkeypatch: pytest.MonkeyPatch
    ):
        parent = scene.dead_letter()
        begun, go_on = Event(), Event()
        lock = cleanup.lock_to_delete

        def lock_later(*key: Any) -> None:
            begun.set()
            assert go_on.wait(DEADLINE)
            lock(*key)

        monkeypatch.setattr(cleanup, "lock_to_delete", lock_later)
        with race.open() as submitting:
            delete = race.starts(lambda: scene.fl.dead_letters.delete(parent.id, organization="acme"))
            assert begun.wait(DEADLINE)
            child = scene.submit(depends_on=[parent], on_parent_failure="run_anyway", connection=submitting)
            go_on.set()
            until(race.waiting)
        with pytest.raises(IllegalTransition, match=r"depends on job .* first"):
            delete.result()
        assert scene.get(child).depends_on == (parent.id,)

    @pytest.mark.parametrize("deletes", ["person", "clean-up"])
    def test_a_retry_that_waits_for_the_deletion_of_the_parent_is_refused(self, scene: Scene, race: Race, deletes: str):
        parent, child = parent_and_resolved_child(scene)
        with race.open() as deleting:
            if deletes == "person":
                cleanup.lock_to_delete(deleting, "acme", parent.id)
                cleanup.delete_jobs(deleting, scene.now, "acme", [parent.id])
            else:
                assert cleaning(scene)(deleting) == 1
            retry = race.waits(lambda: scene.fl.retry(child.id, organization="acme"))
        with pytest.raises(IllegalTransition, match="was deleted; submit it anew"):
            retry.result()
        assert scene.get(child).status == JobStatus.DEAD_LETTER

    def test_the_parent_of_a_job_that_is_being_retried_is_kept(self, scene: Scene, race: Race):
        parent, child = parent_and_resolved_child(scene)
        with race.open() as retrying:
            dead_letters.retry(retrying, scene.now, "acme", child.id, actor="ana")
            cleaner = race.passes(lambda: clean(scene))
            deletion = race.waits(lambda: scene.fl.delete(parent.id, organization="acme"))
        assert cleaner.result() == 0
        with pytest.raises(IllegalTransition, match=f"Job {child.id} depends on job {parent.id} and is queued"):
            deletion.result()
        assert scene.get(child).depends_on == (parent.id,)

    def test_a_parent_goes_when_its_last_child_has_ended(self, scene: Scene):
        parent = completed(scene)
        child = scene.submit(depends_on=[parent])
        grow_old(scene)
        assert clean(scene) == 0
        scene.end(*scene.worker().claim())
        assert clean(scene) == 1
        assert scene.get(child).depends_on == ()

    def test_an_unresolved_dead_letter_and_its_parent_stay(self, scene: Scene):
        parent = completed(scene)
        letter = scene.dead_letter(depends_on=[parent])
        grow_old(scene)
        assert clean(scene) == 0
        scene.fl.dead_letters.resolve(letter.id, organization="acme")
        while clean(scene):
            pass
        assert scene.fl.list(organization="acme").total == 0
