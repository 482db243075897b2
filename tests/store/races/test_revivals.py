"""A child is revived while another of its parents ends: that end must count, or the child waits for ever."""

import pytest
from sqlalchemy import Connection, select, text

from fairlane import IllegalTransition, Job, JobStatus, Submission
from fairlane.domain.outcomes import Outcome
from fairlane.engine.stage import Stage
from fairlane.store.statements import dead_letters, revival
from fairlane.store.statements.locks import lock_job
from fairlane.store.tables import job_parents, jobs
from tests.store.races.agreement import steps
from tests.store.races.race import Race
from tests.store.races.scene import BROKEN, Claimed, Scene, Work
from tests.store.races.test_families import rows_written

PENDING, QUEUED, DEAD_LETTER = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.DEAD_LETTER
BATCH = 100  # jobs that a transaction revives
PARENTS = 500  # that it looks at
MORE, MANY = BATCH + 15, 2 * BATCH + 15

Family = tuple[Job, Claimed, Job]


@pytest.fixture
def family(scene: Scene) -> Family:
    """A broken parent, one that still runs, and the child of both, which the broken one has taken down."""
    parents = [scene.submit() for _ in range(2)]
    child = scene.submit(depends_on=parents)
    claimed = {one.id: one for one in scene.worker().claim(2)}
    scene.end(claimed[parents[0].id], outcome=BROKEN)
    assert steps(scene.fl, child) == [PENDING, DEAD_LETTER]
    return parents[0], claimed[parents[1].id], child


def retrying(scene: Scene, job: Job) -> Work[object]:
    """Return the work that retries a dead letter, in a transaction of the test's."""
    return lambda connection: dead_letters.retry(connection, scene.now, "acme", job.id, actor="olga")


def complete(scene: Scene, parent: Job) -> None:
    """Run the parent, which is all that can be claimed."""
    (claimed,) = scene.worker().claim()
    assert claimed.id == parent.id
    scene.end(claimed)


@pytest.mark.parametrize(("outcome", "then"), [(None, QUEUED), (BROKEN, DEAD_LETTER)], ids=["completes", "fails"])
class TestTheRetryOfABrokenParent:
    @pytest.mark.slow
    def test_the_other_ends_while_the_child_is_being_revived(
        self, scene: Scene, race: Race, family: Family, outcome: Outcome | None, then: JobStatus
    ):
        broken, running, child = family
        with race.open() as reviving:
            retrying(scene, broken)(reviving)
            end = race.begins(lambda: scene.end(running, outcome=outcome))
        assert end.result()[0].transition is not None
        scene.stage()
        complete(scene, broken)
        scene.stage()
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING, then]

    @pytest.mark.slow
    def test_the_child_is_revived_while_the_other_s_end_is_not_committed(
        self, scene: Scene, race: Race, family: Family, outcome: Outcome | None, then: JobStatus
    ):
        broken, running, child = family
        with race.open() as finishing:
            scene.ending(running, outcome=outcome)(finishing)
            retry = race.begins(lambda: scene.fl.retry(broken.id, organization="acme"))
        retry.result()
        scene.stage()
        complete(scene, broken)
        scene.stage()
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING, then]


def test_a_parent_that_ended_beside_a_retry_that_is_rolled_back_counts_once(scene: Scene, race: Race, family: Family):
    broken, running, child = family
    scene.stage()  # from here on the end of the other has to tell the child
    with race.open(commit=False) as retry:
        retrying(scene, broken)(retry)
        end = race.begins(lambda: scene.end(running))  # which finds the child's edge held
    end.result()
    scene.fl.retry(broken.id, organization="acme")
    scene.stage()
    scene.cleaner().run_once()
    assert steps(scene.fl, child)[-1] == PENDING
    complete(scene, broken)
    scene.stage()
    assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING, QUEUED]


class TestTheRetryOfTheChildItself:
    @pytest.fixture
    def family(self, scene: Scene) -> Family:
        """A canceled parent, one that still runs, and the child of both, which the canceled one has taken down."""
        parents = [scene.submit() for _ in range(2)]
        child = scene.submit(depends_on=parents)
        scene.fl.cancel(parents[0].id, organization="acme")
        (claimed,) = scene.worker().claim()
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER]
        return parents[0], claimed, child

    def test_it_is_refused_while_the_parent_that_took_it_down_is_a_dead_letter(self, scene: Scene):
        parent = scene.dead_letter()
        child = scene.submit(depends_on=[parent])
        grandchild = scene.submit(depends_on=[child])
        for fallen, culprit in ((child, parent), (grandchild, child)):
            with pytest.raises(IllegalTransition, match=rf"{culprit.id}\. Retry that parent: its children follow"):
                scene.fl.retry(fallen.id, organization="acme")
            assert steps(scene.fl, fallen)[-1] == DEAD_LETTER

    def test_it_waits_for_parents_that_have_not_ended_and_passes_over_one_that_was_canceled(
        self, scene: Scene, family: Family
    ):
        _, running, child = family
        scene.fl.retry(child.id, organization="acme")
        assert steps(scene.fl, child)[-1] == PENDING
        scene.end(running)
        assert steps(scene.fl, child)[-1] == QUEUED

    @pytest.mark.slow
    def test_it_passes_over_a_canceled_parent_that_it_was_to_hear_of_again(self, scene: Scene):
        """It was revived with one parent, and taken down again before anybody looked at the end of the other."""
        broken, canceled = scene.dead_letter(), scene.submit()
        live = scene.submit()
        child = scene.submit(depends_on=[broken, canceled, live])
        assert scene.fl.cancel(canceled.id, organization="acme").status == JobStatus.CANCELED
        scene.fl.retry(broken.id, organization="acme")
        scene.fl.cancel(broken.id, organization="acme")
        scene.fl.retry(child.id, organization="acme")
        scene.stage()
        assert steps(scene.fl, child)[2:] == [PENDING, DEAD_LETTER, PENDING]
        complete(scene, live)
        assert steps(scene.fl, child)[-1] == QUEUED

    def test_a_canceled_parent_that_it_passed_over_takes_it_down_again_once_another_has_failed(self, scene: Scene):
        """The retry of the other brings it back without a person who looks at it: nobody decided about that run."""
        canceled, failing = scene.submit(), scene.submit()
        child = scene.submit(depends_on=[canceled, failing])
        scene.fl.cancel(canceled.id, organization="acme")
        scene.fl.retry(child.id, organization="acme")
        scene.end(*scene.worker().claim(), outcome=BROKEN)
        scene.fl.retry(failing.id, organization="acme")
        scene.stage()
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING, DEAD_LETTER, PENDING, DEAD_LETTER]
        scene.fl.retry(child.id, organization="acme")
        complete(scene, failing)
        assert steps(scene.fl, child)[6:] == [PENDING, QUEUED]

    def test_a_parent_that_ended_just_before_the_retry_counts_for_no_other(self, scene: Scene, race: Race):
        canceled, ended, live = [scene.submit() for _ in range(3)]
        child = scene.submit(depends_on=[canceled, ended, live])
        scene.fl.cancel(canceled.id, organization="acme")
        (claimed,) = scene.worker().claim()
        assert claimed.id == ended.id
        with race.open() as reviving:
            lock_job(reviving, "acme", child.id)
            end = race.begins(lambda: scene.end(claimed))
            retrying(scene, child)(reviving)
        end.result()
        scene.stage()
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING]
        complete(scene, live)
        assert steps(scene.fl, child)[-1] == QUEUED

    def test_a_child_about_which_a_person_has_decided_is_not_revived_but_may_be_retried(self, scene: Scene):
        broken = scene.dead_letter()
        child = scene.submit(depends_on=[broken])
        scene.fl.dead_letters.resolve(child.id, organization="acme", note="done by hand")
        scene.fl.retry(broken.id, organization="acme")
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER]
        complete(scene, broken)
        assert scene.fl.retry(child.id, organization="acme").status == QUEUED

    def test_a_parent_completes_while_the_child_is_being_retried(self, scene: Scene, race: Race, family: Family):
        _, running, child = family
        with race.open() as retry:
            retrying(scene, child)(retry)
            end = race.begins(lambda: scene.end(running))
        end.result()
        scene.stage()
        assert steps(scene.fl, child)[-1] == QUEUED

    def test_the_child_is_retried_while_a_parent_s_end_is_not_committed(self, scene: Scene, race: Race, family: Family):
        _, running, child = family
        with race.open() as finishing:
            scene.ending(running)(finishing)
            retry = race.begins(lambda: scene.fl.retry(child.id, organization="acme"))
        retry.result()
        scene.stage()
        assert steps(scene.fl, child)[-1] == QUEUED


class TestASubmissionBesideTheRetry:
    def test_a_child_submitted_beside_the_retry_of_its_dead_parent_waits_for_it(self, scene: Scene, race: Race):
        parent = scene.dead_letter()
        with race.open() as reviving:
            retrying(scene, parent)(reviving)
            submitting = race.passes(lambda: scene.submit(depends_on=[parent]))
        child = submitting.result()
        scene.stage()
        assert steps(scene.fl, child) == [PENDING]
        complete(scene, parent)
        assert steps(scene.fl, child) == [PENDING, QUEUED]

    def test_a_retry_beside_a_child_s_submission_revives_the_child(self, scene: Scene, race: Race):
        parent = scene.dead_letter()
        with race.open() as submitting:
            child = scene.submit(depends_on=[parent], connection=submitting)
            assert child.status == DEAD_LETTER
            retry = race.waits(lambda: scene.fl.retry(parent.id, organization="acme"))
        retry.result()
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING]


def fallen(scene: Scene, number: int, parent: Job) -> list[Job]:
    """Submit so many children of a dead letter, and let it take them all down."""
    children = scene.fl.submit_many(children_of(parent, number))
    stage_all(scene)
    assert statuses(scene, parent.organization)[DEAD_LETTER] == number + 1
    return children


def children_of(parent: Job | Submission, number: int) -> list[Submission]:
    return [Submission("report", organization=parent.organization, depends_on=[parent]) for _ in range(number)]


def stage_all(scene: Scene) -> None:
    while scene.stage():
        pass


def statuses(scene: Scene, organization: str = "acme") -> dict[JobStatus, int]:
    """Return how many jobs have each status, if any has it."""
    found = scene.fl.metrics(organization=organization).jobs_by_status
    return {status: number for status, number in found.items() if number}


@pytest.mark.slow
class TestMoreChildrenThanABatch:
    def test_the_retry_revives_a_batch_and_the_stage_the_others(self, scene: Scene):
        parent = scene.dead_letter()
        children = fallen(scene, MANY, parent)
        scene.fl.retry(parent.id, organization="acme", user="olga")
        assert statuses(scene) == {QUEUED: 1, PENDING: BATCH, DEAD_LETTER: MANY - BATCH}
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 1, PENDING: MANY}
        last = [scene.fl.history(child.id, organization="acme")[-1] for child in children[::100]]
        assert {(entry.actor, entry.message) for entry in last} == {("olga", "its parent was retried")}
        complete(scene, parent)
        stage_all(scene)
        assert statuses(scene) == {JobStatus.COMPLETED: 1, QUEUED: MANY}

    def test_no_transaction_writes_more_rows_where_there_are_more_children(self, scene: Scene):
        """Else one member who retries a job holds up all that SQLite's one writer has to do."""
        most = []
        for number in (MORE, MANY):
            parent = scene.dead_letter(priority="critical")
            fallen(scene, number, parent)
            with rows_written(scene.fl.database) as written:
                scene.fl.retry(parent.id, organization="acme")
                stage_all(scene)
            most.append(max(written))
            assert DEAD_LETTER not in statuses(scene)
            complete(scene, parent)
        assert most[0] == most[1]

    def test_children_of_many_parents_are_revived_by_their_edges(self, scene: Scene):
        """A batch of them held up the stage service, and so the delayed jobs of all, for ten seconds."""
        parent = scene.dead_letter()
        others = scene.fl.submit_many([Submission("report", organization="acme") for _ in range(999)])
        scene.fl.submit_many(
            [Submission("report", organization="acme", depends_on=[parent, *others]) for _ in range(8)]
        )
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 999, DEAD_LETTER: 9}
        scene.fl.retry(parent.id, organization="acme")
        assert statuses(scene) == {QUEUED: 1000, PENDING: 5, DEAD_LETTER: 3}
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 1000, PENDING: 8}

    def test_what_is_far_below_is_revived_in_batches_too(self, scene: Scene):
        parent = scene.dead_letter()
        chain = children_of(parent, 1)
        for _ in range(11):
            chain += children_of(chain[-1], 1)
        scene.fl.submit_many([*chain, *children_of(chain[-1], MORE)])
        stage_all(scene)
        assert statuses(scene) == {DEAD_LETTER: 1 + len(chain) + MORE}
        scene.fl.retry(parent.id, organization="acme")
        assert statuses(scene) == {QUEUED: 1, PENDING: BATCH, DEAD_LETTER: len(chain) + MORE - BATCH}
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 1, PENDING: len(chain) + MORE}

    def test_what_a_crash_undoes_is_done_by_the_next_stage(self, scene: Scene, race: Race):
        parent = scene.dead_letter()
        fallen(scene, MORE, parent)
        scene.fl.retry(parent.id, organization="acme")
        with race.open(commit=False) as crashing:
            assert revival.go_on(crashing, scene.now, "acme", None) == (MORE - BATCH, None)
        assert statuses(scene) == {QUEUED: 1, PENDING: BATCH, DEAD_LETTER: MORE - BATCH}
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 1, PENDING: MORE}

    def test_a_parent_that_completes_before_the_last_is_revived_has_them_all_run(self, scene: Scene):
        parent = scene.dead_letter()
        fallen(scene, MORE, parent)
        scene.fl.retry(parent.id, organization="acme")
        complete(scene, parent)
        stage_all(scene)
        assert statuses(scene) == {JobStatus.COMPLETED: 1, QUEUED: MORE}

    @pytest.mark.parametrize("end", ["fails", "is canceled"])
    def test_a_parent_that_ends_badly_before_the_last_is_revived_revives_no_more(self, scene: Scene, end: str):
        parent = scene.dead_letter(priority="critical")
        fallen(scene, MORE, parent)
        scene.fl.retry(parent.id, organization="acme")
        if end == "fails":
            scene.end(*scene.worker().claim(), outcome=BROKEN)
        else:
            scene.fl.cancel(parent.id, organization="acme")
        stage_all(scene)
        assert statuses(scene)[DEAD_LETTER] == (MORE + 1 if end == "fails" else MORE)
        if end == "fails":
            scene.fl.retry(parent.id, organization="acme")
            stage_all(scene)
            assert statuses(scene) == {QUEUED: 1, PENDING: MORE}

    def test_people_decide_about_children_before_these_are_revived(self, scene: Scene):
        parent = scene.dead_letter()
        fallen(scene, MORE, parent)
        scene.fl.retry(parent.id, organization="acme")
        left = scene.fl.list(organization="acme", status="dead_letter", limit=3).items
        scene.fl.dead_letters.resolve(left[0].id, organization="acme", note="done by hand")
        scene.fl.delete(left[1].id, organization="acme")
        assert scene.fl.retry(left[2].id, organization="acme").status == PENDING
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 1, PENDING: MORE - 2, DEAD_LETTER: 1}

    def test_organizations_take_turns(self, scene: Scene):
        parents = [scene.dead_letter(), scene.dead_letter(organization="rival", user="rita")]
        for parent, number in zip(parents, (MANY, MORE), strict=True):
            fallen(scene, number, parent)
        for parent in parents:
            scene.fl.retry(parent.id, organization=parent.organization)
        stage = Stage(scene.fl.database, scene.fl.database.hint)
        assert [stage.run_once() >= BATCH, stage.run_once() >= MORE - BATCH] == [True] * 2
        assert statuses(scene, "rival") == {QUEUED: 1, PENDING: MORE}
        assert statuses(scene) == {QUEUED: 1, PENDING: 2 * BATCH, DEAD_LETTER: MANY - 2 * BATCH}


class TestAChildThatSomebodyHolds:
    @pytest.mark.slow
    @pytest.mark.parametrize("held", ["the child", "its edge"])
    def test_it_is_revived_later_and_keeps_nobody_waiting(self, scene: Scene, race: Race, held: str):
        parent = scene.dead_letter()
        child, sister = (scene.submit(depends_on=[parent]) for _ in range(2))
        grandchild = scene.submit(depends_on=[child])
        with race.open() as host:
            if held == "the child":
                lock_job(host, "acme", child.id)
            else:
                edge = job_parents.c.organization_id == "acme", job_parents.c.job_id == child.id
                host.execute(select(job_parents).where(*edge).with_for_update())
            retry = race.passes(lambda: scene.fl.retry(parent.id, organization="acme"))
            staged = race.passes(scene.stage)
            if not race.serial:
                assert [steps(scene.fl, one)[-1] for one in (sister, child, grandchild)] == [
                    PENDING,
                    DEAD_LETTER,
                    DEAD_LETTER,
                ]
        retry.result()
        staged.result()
        stage_all(scene)
        assert [steps(scene.fl, one) for one in (sister, child, grandchild)] == [[PENDING, DEAD_LETTER, PENDING]] * 3

    @pytest.mark.slow
    def test_its_parent_keeps_no_children_of_another_s(self, scene: Scene, race: Race):
        """Every parent has its own actor, and the first returns in each round."""
        parent = scene.dead_letter()
        child = scene.submit(depends_on=[parent])
        stage_all(scene)
        other = scene.dead_letter()
        fallen_too = scene.fl.submit_many(children_of(other, MORE))
        stage_all(scene)
        with race.open() as host:
            lock_job(host, "acme", child.id)
            host_stays(host)
            retries = [
                race.passes(lambda: scene.fl.retry(parent.id, organization="acme", user="olga")),
                race.passes(lambda: scene.fl.retry(other.id, organization="acme")),
            ]
            race.passes(lambda: stage_all(scene))
            if not race.serial:
                assert statuses(scene) == {QUEUED: 2, PENDING: MORE, DEAD_LETTER: 1}
        for retry in retries:
            retry.result()
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 2, PENDING: MORE + 1}
        actors = [scene.fl.history(one.id, organization="acme")[-1].actor for one in (child, fallen_too[-1])]
        assert actors == ["olga", "system"]

    @pytest.mark.slow
    @pytest.mark.parametrize("held", ["children", "edges"])
    def test_a_batch_of_them_keeps_none_that_are_behind(self, scene: Scene, race: Race, held: str):
        parent = scene.dead_letter()
        children = fallen(scene, MORE, parent)
        key = jobs.c.id if held == "children" else job_parents.c.job_id
        first = select(key).where(key.in_([one.id for one in children])).order_by(key).limit(BATCH)
        with race.open() as host:
            assert len(host.scalars(first.with_for_update()).all()) == BATCH
            host_stays(host)
            retry = race.passes(lambda: scene.fl.retry(parent.id, organization="acme"))
            if not race.serial:
                assert statuses(scene) == {QUEUED: 1, PENDING: MORE - BATCH, DEAD_LETTER: BATCH}
        retry.result()
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 1, PENDING: MORE}

    @pytest.mark.slow
    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite locks no rows
    def test_a_batch_of_parents_with_a_held_child_each_keeps_no_other_parent_s_children(self, scene: Scene, race: Race):
        top = scene.dead_letter()
        parents = children_of(top, PARENTS)
        held = [child for parent in parents for child in children_of(parent, 1)]
        scene.fl.submit_many(parents + held)
        stage_all(scene)
        other = scene.dead_letter()
        scene.fl.submit_many(children_of(other, MORE))
        stage_all(scene)
        service = Stage(scene.fl.database, scene.fl.database.hint)
        with race.open() as host:
            its = jobs.c.organization_id == "acme", jobs.c.id.in_([one.id for one in held])
            assert len(host.execute(select(jobs.c.id).where(*its).with_for_update()).all()) == PARENTS
            host_stays(host)
            for parent in (top, other):
                scene.fl.retry(parent.id, organization="acme")
            for _ in range(PARENTS // BATCH + MORE // BATCH + 4):
                service.run_once()
            assert statuses(scene) == {QUEUED: 2, PENDING: PARENTS + MORE, DEAD_LETTER: PARENTS}
        stage_all(scene)
        assert statuses(scene) == {QUEUED: 2, PENDING: 2 * PARENTS + MORE}


def host_stays(host: Connection) -> None:
    """Let this transaction of the application be as idle as it likes."""
    if host.dialect.name == "postgresql":
        host.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
