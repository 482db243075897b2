"""A child comes back to life while another of its parents ends: that end must count, or the child waits for ever."""

import pytest

from fairlane import IllegalTransition, Job, JobStatus
from fairlane.domain.outcomes import Outcome
from fairlane.store.statements import dead_letters
from fairlane.store.statements.locks import lock_job
from tests.store.races.agreement import steps
from tests.store.races.race import Race
from tests.store.races.scene import BROKEN, Claimed, Scene, Work

PENDING, QUEUED, DEAD_LETTER = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.DEAD_LETTER

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
    """To retry a dead letter, in a transaction of the test's."""
    return lambda connection: dead_letters.retry(connection, scene.now, "acme", job.id, actor="olga")


def complete(scene: Scene, parent: Job) -> None:
    """Run the parent, which is all that can be claimed."""
    (claimed,) = scene.worker().claim()
    assert claimed.id == parent.id
    scene.end(claimed)


@pytest.mark.parametrize(("outcome", "then"), [(None, QUEUED), (BROKEN, DEAD_LETTER)], ids=["completes", "fails"])
class TestTheRetryOfABrokenParent:
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
