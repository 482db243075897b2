"""Parents and children: whatever ends, begins or is revived at the same time, no child is forgotten (R9)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, create_engine, event, select, text, update

from fairlane import Job, JobStatus, StorageUnavailable, Submission
from fairlane.domain.statuses import EdgeState
from fairlane.store.statements import dependencies
from fairlane.store.statements.dependencies import EdgeKey
from fairlane.store.statements.locks import lock_job
from fairlane.store.tables import job_parents
from fairlane.store.transaction import Database
from tests.store.races.agreement import assert_log_agrees, steps
from tests.store.races.race import Race, at_once
from tests.store.races.scene import BROKEN, Claimed, Scene

PENDING, QUEUED, RUNNING, COMPLETED = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED
CANCELED, DEAD_LETTER = JobStatus.CANCELED, JobStatus.DEAD_LETTER


def look(scene: Scene) -> int:
    """The stage service's look at new edges."""
    return looks(scene, times=1, limit=500)


def looks(scene: Scene, *, times: int, limit: int) -> int:
    """Look so many times, at so many edges each."""
    moved, after = 0, dict[str, EdgeKey]()
    for _ in range(times):
        looked = scene.write(
            lambda connection: dependencies.look_at_new_edges(connection, scene.clock.now(connection), after, limit)  # noqa: B023 - called at once
        )
        moved, after = moved + looked.moved, dict(looked.after)
    return moved


def run(scene: Scene, *jobs: Job) -> list[Claimed]:
    """Claim exactly these."""
    claimed = {one.id: one for one in scene.worker().claim(len(jobs))}
    assert set(claimed) == {job.id for job in jobs}
    return [claimed[job.id] for job in jobs]


def fail(scene: Scene, *jobs: Job) -> None:
    scene.end(*run(scene, *jobs), outcome=BROKEN)


def status(scene: Scene, job: Job) -> JobStatus:
    return assert_log_agrees(scene.fl, job).status


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has no such snapshot
def test_a_child_submitted_in_a_snapshot_from_before_the_retry_of_its_parent_is_refused(
    scene: Scene, postgres_url: str
) -> None:
    """It would go to dead letter with a parent that lives again, and nobody would bring it back."""
    parent = scene.dead_letter()
    engine = create_engine(
        postgres_url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="REPEATABLE READ"
    )
    with engine.connect() as host:
        host.execute(text("SELECT count(*) FROM fairlane_jobs"))
        scene.fl.retry(parent.id, organization="acme")
        with pytest.raises(StorageUnavailable):
            scene.submit(depends_on=[parent], connection=host)
    engine.dispose()
    child = scene.submit(depends_on=[parent])
    scene.end(*run(scene, parent))
    look(scene)
    assert status(scene, child) == QUEUED


class TestChildSubmittedBesideAFinishingParent:
    @pytest.mark.parametrize(("outcome", "then"), [(None, QUEUED), (BROKEN, DEAD_LETTER)], ids=["completes", "fails"])
    def test_the_child_commits_after_its_parent_has_ended(self, scene: Scene, race: Race, outcome, then: JobStatus):
        parent = scene.submit()
        (claimed,) = run(scene, parent)
        with race.open() as submitting:
            child = scene.submit(depends_on=[parent], connection=submitting)
            end = race.passes(lambda: scene.end(claimed, outcome=outcome))
        assert end.result()[0].transition is not None
        if not race.serial:
            # Neither saw the other; the stage does.
            assert status(scene, child) == PENDING
            assert look(scene) == 1
        assert status(scene, child) == then
        assert look(scene) == 0

    def test_a_child_that_came_a_moment_before_its_parent_s_end_is_told_by_it(self, scene: Scene):
        parent = scene.submit()
        (claimed,) = run(scene, parent)
        child = scene.submit(depends_on=[parent])
        scene.end(claimed, has_checkpoint=False)
        assert status(scene, child) == QUEUED  # no stage has looked at the edge

    def test_the_child_commits_while_its_parent_s_end_is_not_committed(self, scene: Scene, race: Race):
        parent = scene.submit()
        (claimed,) = run(scene, parent)
        with race.open() as finishing:
            scene.ending(claimed)(finishing)
            submitting = race.passes(lambda: scene.submit(depends_on=[parent]))
            # The parent's row is locked, its end not visible: the stage must leave the edge for its next look.
            early = race.passes(lambda: look(scene))
        child = submitting.result()
        assert early.result() == 0
        look(scene)
        assert steps(scene.fl, child)[-1] == QUEUED
        assert status(scene, child) == QUEUED

    def test_a_look_that_finds_the_parent_live_leaves_the_child_to_the_finish(self, scene: Scene, race: Race):
        parent = scene.submit()
        (claimed,) = run(scene, parent)
        child = scene.submit(depends_on=[parent])
        with race.open() as looking:
            dependencies.look_at_new_edges(looking, scene.clock.now(looking), {})
            end = race.passes(lambda: scene.end(claimed))
        if end.result()[0].is_locked:
            scene.end(claimed)
        assert steps(scene.fl, child) == [PENDING, QUEUED]

    def test_two_looks_at_once_settle_an_edge_once(self, scene: Scene, race: Race):
        parents = [scene.submit() for _ in range(2)]
        claimed = run(scene, *parents)
        with race.open() as submitting:
            child = scene.submit(depends_on=parents, connection=submitting)
            end = race.passes(lambda: scene.end(claimed[0]))
        end.result()
        at_once([lambda: look(scene)] * 4)
        assert status(scene, child) == PENDING
        scene.end(claimed[1])
        look(scene)
        assert steps(scene.fl, child) == [PENDING, QUEUED]

    def test_a_parent_that_somebody_holds_keeps_only_its_own_children(self, scene: Scene, race: Race):
        held, free = scene.submit(), scene.submit()
        rivals = scene.submit(organization="rival", user="rita")
        for parent in [held] * 3 + [free]:
            scene.submit(depends_on=[parent])
        scene.submit(depends_on=[rivals], organization="rival", user="rita")
        with race.open() as host:
            lock_job(host, "acme", held.id)
            # One edge of each organization at a time.
            looking = race.passes(lambda: looks(scene, times=5, limit=2))
        assert looking.result() == (5 if race.serial else 2)
        assert look(scene) == (0 if race.serial else 3)


class TestParentsThatFinishTogether:
    def test_the_second_passes_by_the_child_that_the_first_holds_and_the_stage_releases_it(
        self, scene: Scene, race: Race
    ):
        parents = [scene.submit() for _ in range(2)]
        child = scene.submit(depends_on=parents)
        first, second = run(scene, *parents)
        with race.open() as finishing:
            scene.ending(first)(finishing)
            late = race.passes(lambda: scene.end(second))
        assert late.result()[0].transition is not None
        scene.stage()
        assert steps(scene.fl, child) == [PENDING, QUEUED]
        assert_log_agrees(scene.fl, child)

    def test_of_a_failing_and_a_completing_parent_the_failing_one_decides(self, scene: Scene, race: Race):
        parents = [scene.submit() for _ in range(2)]
        child = scene.submit(depends_on=parents)
        first, second = run(scene, *parents)
        with race.open() as finishing:
            scene.ending(first, outcome=BROKEN)(finishing)
            late = race.passes(lambda: scene.end(second))
        late.result()
        scene.stage()
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER]

    @pytest.mark.slow
    def test_ten_parents_at_once_release_ten_shared_children(self, scene: Scene):
        parents = [scene.submit() for _ in range(10)]
        children = [scene.submit(depends_on=parents) for _ in range(10)]
        claimed = run(scene, *parents)
        at_once([partial(scene.end, one) for one in claimed])
        scene.stage()
        assert {tuple(steps(scene.fl, child)) for child in children} == {(PENDING, QUEUED)}

    def test_a_cancel_of_the_child_that_waits_for_the_parent_s_finish_still_wins(self, scene: Scene, race: Race):
        parent = scene.submit()
        child = scene.submit(depends_on=[parent])
        (claimed,) = run(scene, parent)
        with race.open() as finishing:
            scene.ending(claimed)(finishing)
            late = race.waits(lambda: scene.fl.cancel(child.id, organization="acme"))
        assert late.result().status == CANCELED
        assert steps(scene.fl, child) == [PENDING, QUEUED, CANCELED]


def most_rows(scene: Scene, end: str, *, children: int) -> tuple[int, int]:
    """Return the most rows that a transaction writes: of those that watch the children, and of those that tell them."""
    parent = scene.submit(priority="critical")
    scene.fl.submit_many([Submission("report", organization="acme", depends_on=[parent]) for _ in range(children)])
    with rows_written(scene.fl.database) as watching:
        while scene.stage():
            pass
    with rows_written(scene.fl.database) as settling:
        if end == "is canceled":
            scene.fl.cancel(parent.id, organization="acme")
        else:
            scene.end(*run(scene, parent), outcome=BROKEN if end == "fails" else None)
        while scene.stage():
            pass
    assert not scene.fl.list(organization="acme", status="pending", limit=1).total
    return max(watching), max(settling)


@contextmanager
def rows_written(database: Database) -> Iterator[list[int]]:
    """Count the rows that each transaction writes."""
    found: list[int] = []
    before = 0

    def total(connection: Connection) -> int:
        driver: Any = connection.connection.driver_connection
        if not database.kind.is_server:
            return int(driver.total_changes)
        rows = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables"
        return int(driver.execute(rows).fetchone()[0])

    def begins(connection: Connection) -> None:
        nonlocal before
        before = total(connection)

    def commits(connection: Connection) -> None:
        found.append(total(connection) - before)

    event.listen(database.engine, "begin", begins)
    event.listen(database.engine, "commit", commits)
    yield found
    event.remove(database.engine, "begin", begins)
    event.remove(database.engine, "commit", commits)


def edges_settled(scene: Scene) -> int:
    settled = job_parents.c.state == EdgeState.SETTLED
    return len(scene.write(lambda connection: connection.execute(select(job_parents).where(settled)).all()))


class TestManyChildren:
    @pytest.mark.slow
    def test_an_end_settles_one_batch_of_children_and_the_stage_the_others(self, scene: Scene):
        parent = scene.submit()
        children = [Submission("report", organization="acme", depends_on=[parent]) for _ in range(1_100)]
        scene.fl.submit_many(children)
        (claimed,) = run(scene, parent)
        (end,) = scene.end(claimed)
        assert end.transition is not None
        assert scene.fl.metrics(organization="acme").jobs_by_status[QUEUED] == 500
        while scene.stage():
            pass
        assert scene.fl.metrics(organization="acme").jobs_by_status[QUEUED] == 1_100

    @pytest.mark.slow
    @pytest.mark.parametrize("end", ["completes", "fails", "is canceled"])
    def test_no_transaction_writes_more_rows_where_there_are_more_children(self, scene: Scene, end: str):
        """Else one parent with 200,000 holds up whatever else the same worker, or SQLite's one writer, has to do."""
        assert most_rows(scene, end, children=600) == most_rows(scene, end, children=1_100)

    @pytest.mark.slow
    def test_parents_that_end_together_settle_so_many_edges_and_the_stage_the_others(self, scene: Scene):
        """A batch of children with hundreds of such parents held up all other ends, or all due jobs, for seconds."""
        parents = scene.fl.submit_many([Submission("report", organization="acme") for _ in range(100)])
        wanted = [Submission("report", organization="acme", depends_on=parents) for _ in range(110)]
        children = scene.fl.submit_many(wanted)
        while scene.stage():
            pass  # the edges become watched
        scene.end(*run(scene, *parents))
        settled = [0, edges_settled(scene)]
        while scene.stage():
            settled.append(edges_settled(scene))
        assert all(0 < after - before <= 5_000 for before, after in pairwise(settled))
        assert {tuple(steps(scene.fl, child)) for child in children} == {(PENDING, QUEUED)}

    @pytest.mark.slow
    def test_a_parent_that_is_retried_before_all_its_children_were_told_has_them_wait_again(self, scene: Scene):
        parent = scene.submit()
        scene.fl.submit_many([Submission("report", organization="acme", depends_on=[parent]) for _ in range(1_100)])
        while scene.stage():
            pass
        fail(scene, parent)
        scene.stage()
        scene.fl.retry(parent.id, organization="acme")
        while scene.stage():
            pass
        assert scene.fl.metrics(organization="acme").jobs_by_status[PENDING] == 1_100
        scene.end(*run(scene, parent))
        while scene.stage():
            pass
        assert scene.fl.metrics(organization="acme").jobs_by_status[QUEUED] == 1_100

    def test_a_child_that_a_host_holds_does_not_hold_up_the_end_of_its_parent(self, scene: Scene, race: Race):
        parent = scene.submit()
        child = scene.submit(depends_on=[parent])
        (claimed,) = run(scene, parent)
        with race.open() as host:
            lock_job(host, "acme", child.id)
            end = race.passes(lambda: scene.end(claimed))
            looked = race.passes(lambda: look(scene))
        assert end.result()[0].transition is not None
        assert looked.result() == 0 or race.serial
        look(scene)
        assert steps(scene.fl, child) == [PENDING, QUEUED]


class TestSweep:
    def test_the_sweeper_tells_the_children_of_an_ended_parent_page_by_page(self, scene: Scene):
        parent = scene.submit()
        child = scene.submit(depends_on=[parent])
        (claimed,) = run(scene, parent)
        scene.end(claimed)
        scene.write(lambda connection: unsettle(connection, child.id))
        assert scene.cleaner().run_once() == 1
        assert scene.cleaner().run_once() == 0


def unsettle(connection: Connection, child: UUID) -> None:
    """Leave the edge watched, as where a session of the application held it when its parent ended."""
    connection.execute(
        update(job_parents)
        .where(job_parents.c.organization_id == "acme", job_parents.c.job_id == child)
        .values(state=EdgeState.WATCHED)
    )


class TestCascade:
    """grandparent → parent → child → grandchild, of which the child's sister is canceled instead of dead-lettered."""

    @pytest.fixture
    def family(self, scene: Scene) -> list[Job]:
        chain = [Submission("report", organization="acme", user="ana", parameters={"n": 0})]
        for n in (1, 2, 3):
            chain.append(
                Submission("report", organization="acme", user="ana", parameters={"n": n}, depends_on=[chain[-1]])
            )
        sister = Submission(
            "report",
            organization="acme",
            user="ana",
            parameters={"n": 4},
            depends_on=[chain[1]],
            on_parent_failure="cancel",
        )
        return scene.fl.submit_many([*chain, sister])

    def statuses(self, scene: Scene, family: list[Job]) -> list[JobStatus]:
        return [status(scene, job) for job in family]

    def test_a_dead_letter_takes_down_three_generations(self, scene: Scene, family: list[Job]):
        fail(scene, family[0])
        assert self.statuses(scene, family) == [DEAD_LETTER] * 4 + [CANCELED]
        reasons = [scene.fl.history(job.id, organization="acme")[-1].message for job in family[1:4]]
        assert reasons == [f"parent {job.id} (report) ended as dead letter" for job in family[:3]]

    def test_a_retry_brings_back_exactly_what_was_taken_down(self, scene: Scene, family: list[Job]):
        unrelated = scene.submit(priority="critical")
        fail(scene, unrelated)
        fail(scene, family[0])
        scene.fl.retry(family[0].id, organization="acme")
        assert self.statuses(scene, family) == [QUEUED, PENDING, PENDING, PENDING, CANCELED]
        assert status(scene, unrelated) == DEAD_LETTER
        for job in family[:4]:
            scene.end(*run(scene, job))
        assert self.statuses(scene, family) == [COMPLETED] * 4 + [CANCELED]

    def test_revived_children_run_also_if_the_stage_never_looked(self, scene: Scene, family: list[Job]):
        fail(scene, family[0])
        scene.fl.retry(family[0].id, organization="acme")
        (claimed,) = run(scene, family[0])
        scene.end(claimed)
        assert self.statuses(scene, family)[:2] == [COMPLETED, QUEUED]

    @pytest.mark.slow
    def test_a_retry_that_fails_again_takes_them_down_again(self, scene: Scene, family: list[Job]):
        for _ in range(2):
            fail(scene, family[0])
            assert self.statuses(scene, family) == [DEAD_LETTER] * 4 + [CANCELED]
            scene.fl.retry(family[0].id, organization="acme")
        assert self.statuses(scene, family) == [QUEUED, PENDING, PENDING, PENDING, CANCELED]

    @pytest.mark.slow
    def test_a_second_failed_parent_takes_a_revived_child_down_again(self, scene: Scene):
        parents = [scene.submit() for _ in range(2)]
        child = scene.submit(depends_on=parents)
        grandchild = scene.submit(depends_on=[child])
        fail(scene, *parents)
        (culprit,) = [parent for parent in parents if str(parent.id) in _last_message(scene, child)]
        (other,) = [parent for parent in parents if parent != culprit]
        scene.fl.retry(culprit.id, organization="acme")
        assert self.statuses(scene, [child, grandchild]) == [PENDING, PENDING]
        look(scene)
        assert self.statuses(scene, [child, grandchild]) == [DEAD_LETTER, DEAD_LETTER]
        assert str(other.id) in _last_message(scene, child)
        scene.fl.retry(other.id, organization="acme")
        scene.end(*run(scene, *parents))
        assert self.statuses(scene, [child, grandchild]) == [QUEUED, PENDING]

    def test_a_long_chain_at_which_the_stage_has_not_looked_goes_down_to_its_last(self, scene: Scene):
        """The job at which a look had stopped was live when it began, and its edge became watched: nobody told it."""
        chain = [scene.submit()]
        for _ in range(24):
            chain.append(scene.submit(depends_on=[chain[-1]]))
        fail(scene, chain[0])
        while scene.stage():
            pass
        assert self.statuses(scene, chain) == [DEAD_LETTER] * 25

    def test_a_parent_that_fails_while_another_is_retried_is_not_forgotten(self, scene: Scene, race: Race):
        parents = [scene.submit() for _ in range(2)]
        child = scene.submit(depends_on=parents)
        first, second = run(scene, *parents)
        scene.end(first, outcome=BROKEN)
        with race.open() as finishing:
            scene.ending(second, outcome=BROKEN)(finishing)
            retry = race.passes(lambda: scene.fl.retry(parents[0].id, organization="acme"))
        retry.result()
        while scene.stage():
            pass
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING, DEAD_LETTER]
        assert str(parents[1].id) in _last_message(scene, child)


def _last_message(scene: Scene, job: Job) -> str:
    return scene.fl.history(job.id, organization="acme")[-1].message
