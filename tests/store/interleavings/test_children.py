"""Children beside their parents' ends: whatever comes first, they are released once and never forgotten (R9)."""

import pytest

from fairlane import Job, JobNotFound, JobStatus
from fairlane.domain.outcomes import Outcome
from fairlane.store.statements.locks import lock_job
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.order import Order
from tests.store.races.agreement import steps
from tests.store.races.scene import BROKEN, Claimed, Finished, Scene

PENDING, QUEUED, DEAD_LETTER = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.DEAD_LETTER
# How a parent ends, and what becomes of its child.
EVERY_END = pytest.mark.parametrize(
    ("outcome", "then"), [(None, QUEUED), (BROKEN, DEAD_LETTER)], ids=["completes", "fails"]
)


def run_all(scene: Scene, *jobs: Job) -> list[Claimed]:
    claimed = {one.id: one for one in scene.worker().claim(len(jobs))}
    return [claimed[job.id] for job in jobs]


def end_again(scene: Scene, outcome: Outcome | None, *ends: tuple[Claimed, list[Finished]]) -> None:
    """Write the ends that found their job's row held by somebody, as a worker does."""
    for claimed, (finished,) in ends:
        if finished.is_locked:
            (finished,) = scene.end(claimed, outcome=outcome)  # noqa: PLW2901 - the same, now written
        assert finished.transition is not None


def let_settle(scene: Scene) -> None:
    while scene.stage():
        pass


@EVERY_END
def test_a_child_submitted_beside_its_parent_s_end(
    scene: Scene, in_every_order: InEveryOrder, outcome: Outcome | None, then: JobStatus
):
    @in_every_order
    def play(order: Order) -> None:
        parent = scene.submit()
        (claimed,) = run_all(scene, parent)
        ends, child = order.run(lambda: scene.end(claimed, outcome=outcome), lambda: scene.submit(depends_on=[parent]))
        end_again(scene, outcome, (claimed, ends))
        let_settle(scene)
        assert steps(scene.fl, child) in ([then], [PENDING, then])


@pytest.mark.slow
def test_a_child_submitted_beside_its_parent_s_end_and_the_stage_service(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        parent = scene.submit()
        (claimed,) = run_all(scene, parent)
        ends, child, _ = order.run(lambda: scene.end(claimed), lambda: scene.submit(depends_on=[parent]), scene.stage)
        end_again(scene, None, (claimed, ends))
        let_settle(scene)
        assert steps(scene.fl, child) in ([QUEUED], [PENDING, QUEUED])


@pytest.mark.slow
@EVERY_END
def test_two_parents_that_end_beside_each_other(
    scene: Scene, in_every_order: InEveryOrder, outcome: Outcome | None, then: JobStatus
):
    @in_every_order
    def play(order: Order) -> None:
        parents = [scene.submit(), scene.submit()]
        child = scene.submit(depends_on=parents)
        let_settle(scene)
        first, second = run_all(scene, *parents)
        one, other = order.run(lambda: scene.end(first, outcome=outcome), lambda: scene.end(second, outcome=outcome))
        end_again(scene, outcome, (first, one), (second, other))
        let_settle(scene)
        assert steps(scene.fl, child) == [PENDING, then]


@pytest.mark.slow
@pytest.mark.parametrize("held", ["the parent", "the child", "both"])
def test_a_host_that_holds_rows_beside_the_parent_s_end(scene: Scene, in_every_order: InEveryOrder, held: str):
    @in_every_order
    def play(order: Order) -> None:
        parent = scene.submit()
        child = scene.submit(depends_on=[parent])
        let_settle(scene)
        (claimed,) = run_all(scene, parent)
        rows = {"the parent": [parent], "the child": [child], "both": [child, parent]}[held]
        ends, _ = order.run(
            lambda: scene.end(claimed),
            lambda: scene.write(lambda connection: [lock_job(connection, "acme", job.id) for job in rows]),
        )
        end_again(scene, None, (claimed, ends))
        let_settle(scene)
        assert steps(scene.fl, child) == [PENDING, QUEUED]


def test_a_cancel_of_the_child_beside_its_parent_s_end(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        parent = scene.submit()
        child = scene.submit(depends_on=[parent])
        let_settle(scene)
        (claimed,) = run_all(scene, parent)
        ends, canceled = order.run(lambda: scene.end(claimed), lambda: scene.fl.cancel(child.id, organization="acme"))
        end_again(scene, None, (claimed, ends))
        assert canceled.status == JobStatus.CANCELED
        assert steps(scene.fl, child) in ([PENDING, JobStatus.CANCELED], [PENDING, QUEUED, JobStatus.CANCELED])


def test_a_retry_of_one_parent_beside_the_end_of_the_other(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        parents = [scene.submit(), scene.submit()]
        child = scene.submit(depends_on=parents)
        let_settle(scene)
        first, second = run_all(scene, *parents)
        scene.end(first, outcome=BROKEN)
        retried, ends = order.run(lambda: scene.fl.retry(parents[0].id, organization="acme"), lambda: scene.end(second))
        end_again(scene, None, (second, ends))
        assert retried.status == QUEUED
        let_settle(scene)
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING]
        scene.end(*run_all(scene, parents[0]))
        let_settle(scene)
        assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING, QUEUED]


def test_a_decision_about_a_child_beside_the_retry_of_the_parent_that_took_it_down(
    scene: Scene, in_every_order: InEveryOrder
):
    @in_every_order
    def play(order: Order) -> None:
        parent = scene.submit()
        child = scene.submit(depends_on=[parent])
        scene.end(*run_all(scene, parent), outcome=BROKEN)
        retried, decided = order.run(
            lambda: scene.fl.retry(parent.id, organization="acme"),
            lambda: scene.fl.dead_letters.ignore(child.id, organization="acme"),
        )
        assert retried.status == QUEUED
        if isinstance(decided, JobNotFound):
            assert steps(scene.fl, child) == [PENDING, DEAD_LETTER, PENDING]
        else:
            assert steps(scene.fl, child) == [PENDING, DEAD_LETTER]
            (letter,) = scene.fl.dead_letters.list(organization="acme", resolution="ignored").items
            assert letter.job_id == child.id
