"""Identical submissions, for how long they count as identical, and the result (R2, R3). Races are in `races/`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event

from fairlane import DuplicateJob, Fairlane, Job, JobContext, JobStatus, Submission
from fairlane.store.statements import dependencies
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.scene import BROKEN, Scene

pytestmark = pytest.mark.both_databases

PENDING, QUEUED, RUNNING = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING
COMPLETED, CANCELED, DEAD_LETTER = JobStatus.COMPLETED, JobStatus.CANCELED, JobStatus.DEAD_LETTER


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:

        @scene.fl.job_type("letter")
        def letter(ctx: JobContext, /, value: Any = None, n: int = 0, **more: Any) -> None: ...

        @scene.fl.job_type("print")
        def print_report(ctx: JobContext, template: str = "monthly", copies: int = 1) -> None: ...

        yield scene


def letter(scene: Scene, **more: Any) -> Job:
    return scene.submit("letter", **more)


def duplicate(scene: Scene, **more: Any) -> DuplicateJob:
    with pytest.raises(DuplicateJob) as error:
        letter(scene, **more)
    return error.value


@contextmanager
def rows_changed(scene: Scene, table: str) -> Iterator[list[int]]:
    """Yield a list that gets the number of rows of each UPDATE of the table."""
    numbers: list[int] = []

    def note(_: Any, cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith(f"UPDATE {table} "):
            numbers.append(cursor.rowcount)

    event.listen(scene.fl.database.engine, "after_cursor_execute", note)
    yield numbers
    event.remove(scene.fl.database.engine, "after_cursor_execute", note)


class TestIdentity:
    def test_a_process_without_the_handler_knows_its_defaults(self, scene: Scene):
        job = scene.submit("print", parameters={"template": "monthly"})
        with Fairlane(scene.fl.settings, clock=scene.clock) as elsewhere:
            again = elsewhere.submit("print", organization=job.organization, on_duplicate="return")
            other = elsewhere.submit("print", organization=job.organization, parameters={"copies": 2})
        assert again.id == job.id
        assert other.id != job.id

    def test_another_type_or_organization_is_no_duplicate(self, scene: Scene):
        scene.add_type("parcel")
        letter(scene, parameters={"n": 1})
        scene.submit("parcel", parameters={"n": 1})
        letter(scene, parameters={"n": 1}, organization="rival", user="rita")
        letter(scene, dedup_key="november")
        scene.submit("parcel", dedup_key="november")
        letter(scene, dedup_key="november", organization="rival", user="rita")

    def test_another_user_priority_or_queue_is_a_duplicate(self, scene: Scene):
        job = letter(scene)
        found = duplicate(scene, user="bea", priority="critical", queue="slow", labels={"a": "b"}, delay=60)
        assert found.existing_id == job.id

    def test_an_explicit_key_stands_in_for_the_parameters(self, scene: Scene):
        job = letter(scene, parameters={"n": 1}, dedup_key="november")
        assert duplicate(scene, parameters={"n": 2}, dedup_key="november").existing_id == job.id
        letter(scene, parameters={"n": 1}, dedup_key="december")
        letter(scene, parameters={"n": 1})


class TestTheEarlierJob:
    def test_it_is_named_with_its_status(self, scene: Scene):
        parent = scene.submit()
        job = letter(scene, depends_on=[parent])
        assert (duplicate(scene).existing_id, duplicate(scene).existing_status) == (job.id, PENDING)
        scene.end(*scene.worker().claim())
        assert duplicate(scene).existing_status == QUEUED
        scene.worker(job_types=["letter"]).claim()
        assert duplicate(scene).existing_status == RUNNING
        assert str(job.id) in str(duplicate(scene))

    @pytest.mark.parametrize("end", [COMPLETED, CANCELED, DEAD_LETTER])
    def test_its_end_frees_the_key(self, scene: Scene, end: JobStatus):
        job = letter(scene)
        if end == CANCELED:
            scene.fl.cancel(job.id, organization="acme")
        else:
            outcome = BROKEN if end == DEAD_LETTER else None
            scene.end(*scene.worker(job_types=["letter"]).claim(), outcome=outcome)
        assert assert_log_agrees(scene.fl, job).status == end
        again = letter(scene)
        assert duplicate(scene).existing_id == again.id

    def test_its_retry_takes_no_key_and_collides_with_nobody(self, scene: Scene):
        job = letter(scene)
        scene.end(*scene.worker(job_types=["letter"]).claim(), outcome=BROKEN)
        again = letter(scene)
        assert scene.fl.retry(job.id, organization="acme").status == QUEUED
        assert duplicate(scene).existing_id == again.id

    def test_after_the_window_both_live(self, scene: Scene):
        job = letter(scene)
        scene.clock.advance(299)
        assert duplicate(scene).existing_id == job.id
        scene.clock.advance(1)
        assert letter(scene).id != job.id
        assert scene.get(job).status == QUEUED

    def test_a_refused_duplicate_does_not_lengthen_the_window(self, scene: Scene):
        letter(scene)
        scene.clock.advance(200)
        duplicate(scene)
        scene.clock.advance(100)
        letter(scene)


class TestReturn:
    def test_the_earlier_job_is_given_back_as_it_is(self, scene: Scene):
        job = letter(scene, labels={"a": "b"})
        scene.worker(job_types=["letter"]).claim()
        assert letter(scene, on_duplicate="return", priority="low") == scene.get(job)
        assert scene.total() == 1

    def test_without_an_earlier_job_a_new_one_is_made(self, scene: Scene):
        assert letter(scene, on_duplicate="return").status == QUEUED


class TestReplace:
    @pytest.mark.parametrize("delay", [None, 60], ids=["queued", "pending"])
    def test_a_job_that_has_not_started_is_canceled_and_its_key_handed_on(self, scene: Scene, delay: int | None):
        job = letter(scene, delay=delay)
        new = letter(scene, on_duplicate="replace", priority="high", user="olga")
        before = assert_log_agrees(scene.fl, job)
        assert (before.status, before.canceled_by) == (CANCELED, "olga")
        assert scene.fl.history(job.id, organization="acme")[-1].message == f"replaced by {new.id}"
        assert scene.fl.history(new.id, organization="acme")[0].message == f"submitted in place of {job.id}"
        assert duplicate(scene).existing_id == new.id

    def test_a_member_s_job_is_not_replaced_by_another_member(self, scene: Scene):
        job = letter(scene)
        found = duplicate(scene, on_duplicate="replace", user="bea")
        assert (found.existing_id, scene.get(job).status) == (job.id, QUEUED)

    def test_each_of_a_batch_says_which_job_it_stands_for(self, scene: Scene):
        jobs = [letter(scene, dedup_key=str(number)) for number in range(5)]
        batch = [
            Submission("letter", organization="acme", dedup_key=str(number), on_duplicate="replace")
            for number in range(6)
        ]
        messages = [scene.fl.history(new.id, organization="acme")[0].message for new in scene.fl.submit_many(batch)]
        assert messages == [f"submitted in place of {job.id}" for job in jobs] + ["submitted"]

    def test_a_running_job_is_not_replaced(self, scene: Scene):
        job = letter(scene)
        scene.worker(job_types=["letter"]).claim()
        found = duplicate(scene, on_duplicate="replace")
        assert (found.existing_id, found.existing_status) == (job.id, RUNNING)
        assert (scene.get(job).status, scene.get(job).cancel_requested_at) == (RUNNING, None)

    def test_a_chain_of_replacements_leaves_the_last(self, scene: Scene):
        submitted = [letter(scene, on_duplicate="replace", delay=n) for n in range(4)]
        assert [scene.get(job).status for job in submitted] == [CANCELED] * 3 + [PENDING]

    def test_children_wait_for_the_new_job(self, scene: Scene):
        job = letter(scene)
        children = [scene.submit(depends_on=[job], on_parent_failure=policy) for policy in ("dead_letter", "cancel")]
        new = letter(scene, on_duplicate="replace")
        assert {scene.get(child).depends_on for child in children} == {(new.id,)}
        scene.stage()
        scene.end(*scene.worker(job_types=["letter"]).claim())
        assert {tuple(steps(scene.fl, child)) for child in children} == {(PENDING, QUEUED)}

    def test_children_that_already_wait_for_the_new_job_wait_for_it_once(self, scene: Scene):
        job = letter(scene)
        new = Submission("letter", organization="acme", user="ana", on_duplicate="replace")
        child = Submission("report", organization="acme", user="ana", depends_on=[job, new])
        _, waiting = scene.fl.submit_many([new, child])
        assert scene.get(waiting).depends_on == (new.id,)
        scene.stage()
        scene.end(*scene.worker(job_types=["letter"]).claim())
        assert steps(scene.fl, waiting) == [PENDING, QUEUED]

    def test_one_submission_moves_no_more_children_than_a_transaction_settles(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ):
        """A request of 76 bytes changed 50,000 rows in one statement."""
        monkeypatch.setattr(dependencies, "EDGES", 3)
        jobs = [letter(scene, dedup_key=key) for key in ("few", "many", "other")]
        parents = [0, 0, 0, 1, 1, 1, 1, 2]
        children = [scene.submit(depends_on=[jobs[parent]]) for parent in parents]
        with rows_changed(scene, "fairlane_job_parents") as moved:
            few = letter(scene, dedup_key="few", on_duplicate="replace")
            assert sum(moved) == 3
            error = duplicate(scene, dedup_key="many", on_duplicate="replace")
            assert sum(moved) == 3
        assert (error.existing_id, error.existing_status) == (jobs[1].id, QUEUED)
        assert "at most 3 children" in str(error)
        together = [
            Submission("letter", organization="acme", dedup_key=key, on_duplicate="replace") for key in ("few", "other")
        ]
        with rows_changed(scene, "fairlane_job_parents") as moved, pytest.raises(DuplicateJob):
            scene.fl.submit_many(together)
        assert sum(moved) == 0
        assert [scene.get(job).status for job in (few, *jobs)] == [QUEUED, CANCELED, QUEUED, QUEUED]
        waits = {0: few.id, 1: jobs[1].id, 2: jobs[2].id}
        assert [scene.get(child).depends_on for child in children] == [(waits[parent],) for parent in parents]
        scene.fl.cancel(jobs[1].id, organization="acme")
        assert letter(scene, dedup_key="many", on_duplicate="replace").status == QUEUED

    def test_children_of_a_job_whose_successor_has_parents_learn_of_its_cancel(self, scene: Scene):
        # Were they to wait for the successor, it might wait for them.
        job = letter(scene)
        child = scene.submit(depends_on=[job])
        new = letter(scene, on_duplicate="replace", depends_on=[child])
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER]
        assert steps(scene.fl, new) == [PENDING, DEAD_LETTER]

    @pytest.mark.slow
    def test_so_do_those_that_one_transaction_does_not_settle(self, scene: Scene):
        job = letter(scene)
        wanted = partial(Submission, organization="acme", user="ana", depends_on=[job], on_parent_failure="run_anyway")
        children = scene.fl.submit_many([wanted("report") for _ in range(501)])
        letter(scene, on_duplicate="replace", depends_on=[max(children, key=lambda one: one.id)])
        while scene.stage():
            pass
        assert {scene.get(child).status for child in children} == {QUEUED}
