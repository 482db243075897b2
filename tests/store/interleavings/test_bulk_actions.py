"""A step of a bulk action beside a job that dies or is revived: it takes nothing that it was not begun for.

And wherever one crashes, a pace holds.
"""

from datetime import timedelta
from itertools import pairwise

import pytest

from fairlane import Job, JobStatus
from fairlane.domain.bulk import BulkAction
from fairlane.store.statements import bulk_actions
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.order import Order
from tests.store.races.scene import BROKEN, START, Scene

pytestmark = pytest.mark.usefixtures("one_by_one")

QUEUED, DEAD_LETTER = JobStatus.QUEUED, JobStatus.DEAD_LETTER


def begin(scene: Scene, verb: str, per_second: float | None = None) -> BulkAction:
    """Begin a bulk action that has changed its first job, a second ago."""
    action = scene.fl.bulk.start(verb, {}, organization="acme", user="olga", seconds=0.0, per_second=per_second)
    assert (action.changed, action.state) == (1, "working")
    scene.clock.advance(1)
    return action


def go_on(scene: Scene, action: BulkAction) -> int:
    return scene.fl.bulk._steps.go_on("acme", action.id)


def finish(scene: Scene, action: BulkAction) -> None:
    """Go on to its end."""
    while go_on(scene, action):
        pass


def retry(scene: Scene, job: Job) -> Job:
    return scene.fl.retry(job.id, organization="acme", user="olga")


@pytest.mark.slow
def test_a_deletion_beside_a_job_that_dies(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        job = scene.submit()
        (claimed,) = scene.worker().claim()
        scene.dead_letter(), scene.dead_letter(), scene.dead_letter()
        action = begin(scene, "delete")
        order.run(lambda: go_on(scene, action), lambda: scene.end(claimed, outcome=BROKEN))
        finish(scene, action)
        assert scene.get(job).status == DEAD_LETTER


@pytest.mark.slow
def test_a_deletion_beside_a_retry_that_fails_anew(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        job, _ = scene.dead_letter(), scene.dead_letter()
        action = begin(scene, "delete")

        def retry_and_fail() -> JobStatus:
            retry(scene, job)
            scene.end(*scene.worker().claim(), outcome=BROKEN)
            return DEAD_LETTER

        status, _ = order.run(retry_and_fail, lambda: go_on(scene, action))
        finish(scene, action)
        is_there = [one.id for one in scene.fl.list(organization="acme").items] == [job.id]
        assert is_there == (status == DEAD_LETTER), "it was deleted before it was retried, or not at all"


def test_a_cancel_beside_a_retry(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        job = scene.dead_letter()
        scene.submit(), scene.submit(), scene.submit()
        action = begin(scene, "cancel")
        order.run(lambda: go_on(scene, action), lambda: retry(scene, job))
        finish(scene, action)
        assert scene.get(job).status == QUEUED


@pytest.mark.slow
def test_a_pace_holds_wherever_a_step_crashes(scene: Scene, in_every_order: InEveryOrder):
    def play(order: Order) -> None:
        jobs = [scene.dead_letter() for _ in range(4)]
        action = begin(scene, "retry", per_second=0.01)
        order.run(lambda: go_on(scene, action))
        # PostgreSQL hears a moment later that one has crashed, and a step passes by what somebody holds.
        scene.write(lambda connection: bulk_actions.lock(connection, "acme", action.id))
        scene.clock.advance(bulk_actions.TAKEN_FOR.total_seconds())
        finish(scene, action)
        moments = [scene.get(job).next_retry_at or START for job in reversed(jobs)]
        assert all(later - earlier >= timedelta(seconds=100) for earlier, later in pairwise(moments)), moments

    in_every_order(play, mortals=[0])
