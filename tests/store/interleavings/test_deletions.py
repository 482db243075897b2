"""Clean-up beside transactions that still need the job deletes the job wholly, or keeps it wholly (R14)."""

from fairlane import Job, JobNotFound, JobStatus, ParentNotFound
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.order import Order
from tests.store.races.agreement import steps
from tests.store.races.scene import Scene
from tests.store.races.test_cleanup import clean, completed, grow_old, is_there


def old_letter(scene: Scene) -> Job:
    """A dead letter that somebody has dealt with, past its retention."""
    job = scene.dead_letter()
    scene.fl.dead_letters.ignore(job.id, organization="acme")
    grow_old(scene)
    return job


def test_a_retry_beside_clean_up_brings_the_job_back_or_finds_none(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        letter = old_letter(scene)
        deleted, retried = order.run(lambda: clean(scene), lambda: scene.fl.retry(letter.id, organization="acme"))
        if isinstance(retried, JobNotFound):
            assert deleted == 1
            assert not is_there(scene, letter)
        else:
            assert (deleted, retried.status) == (0, JobStatus.QUEUED)
            assert steps(scene.fl, letter)[-1] == JobStatus.QUEUED


def test_a_child_submitted_beside_the_clean_up_of_its_parent_keeps_it_or_is_refused(
    scene: Scene, in_every_order: InEveryOrder
):
    @in_every_order
    def play(order: Order) -> None:
        parent = completed(scene)
        grow_old(scene)
        deleted, child = order.run(lambda: clean(scene), lambda: scene.submit(depends_on=[parent]))
        if isinstance(child, ParentNotFound):
            assert deleted == 1
            assert not is_there(scene, parent)
        else:
            assert deleted == 0
            assert scene.get(child).depends_on == (parent.id,)


def test_two_retries_of_one_dead_letter_bring_it_back_once(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        letter = scene.dead_letter()
        answers = order.run(*[lambda: scene.fl.retry(letter.id, organization="acme")] * 2)
        assert sum(isinstance(answer, Job) for answer in answers) == 1
        assert steps(scene.fl, letter)[-2:] == [JobStatus.DEAD_LETTER, JobStatus.QUEUED]
