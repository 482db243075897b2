"""A bulk action is about jobs as they were when it began: what has ended since, or lives again, it leaves alone."""

import pytest

from fairlane import Job, JobStatus
from fairlane.domain.bulk import BulkAction
from fairlane.store.statements.job_list import Place
from tests.engine.system.test_bulk import dead_lettered, submit
from tests.engine.system.test_bulk_steps import begin, now_is, steps
from tests.store.races.scene import BROKEN, Scene

pytestmark = pytest.mark.usefixtures("one_by_one")

PENDING, QUEUED, DEAD_LETTER = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.DEAD_LETTER
CANCELED = JobStatus.CANCELED


def places(*jobs: Job) -> list[Place]:
    return [Place(job.created_at, job.id) for job in jobs]


def counts(scene: Scene, action: BulkAction) -> tuple[int, int, int]:
    """Complete the action, and return how many of its jobs were changed, passed over and refused."""
    steps(scene, action)
    done = now_is(scene, action)
    return done.changed, done.passed_over, done.refused


@pytest.mark.parametrize("verb", ["delete", "retry"])
def test_what_dies_after_it_began_was_not_meant(scene: Scene, verb: str):
    running = scene.submit()
    claimed = scene.worker().claim()
    dead_lettered(scene, 2)
    action = begin(scene, verb)
    scene.clock.advance(1)
    scene.end(*claimed, outcome=BROKEN)
    assert counts(scene, action) == (2, 1, 0)
    assert scene.get(running).status == DEAD_LETTER


@pytest.mark.parametrize("verb", ["delete", "retry"])
def test_what_was_retried_after_it_began_and_failed_anew_was_not_meant(scene: Scene, verb: str):
    old, _ = dead_lettered(scene, 2)
    action = begin(scene, verb)
    scene.clock.advance(1)
    scene.fl.retry(old.id, organization="acme")
    scene.end(*[one for one in scene.worker().claim(2) if one.id == old.id], outcome=BROKEN)
    assert counts(scene, action) == (1, 1, 0)
    assert scene.get(old).status == DEAD_LETTER


def test_what_was_retried_between_the_look_and_its_turn_is_no_refused_deletion(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    old, new = dead_lettered(scene, 2)
    monkeypatch.setattr(scene.fl.bulk._steps._work, "_places", lambda *_, **__: places(new, old))
    action = begin(scene, "delete")
    scene.clock.advance(1)
    scene.fl.retry(old.id, organization="acme")
    (last,) = places(old)
    rest = lambda *_, before, **__: [last] if before != last else []  # noqa: E731
    monkeypatch.setattr(scene.fl.bulk._steps._work, "_places", rest)
    assert counts(scene, action) == (1, 1, 0)
    assert scene.get(old).status == QUEUED


def test_what_was_brought_back_after_it_began_is_not_canceled(scene: Scene):
    parent = scene.submit()
    child = scene.submit(depends_on=[parent.id])
    scene.end(*scene.worker().claim(), outcome=BROKEN)
    submit(scene, 2)
    action = begin(scene)
    scene.clock.advance(1)
    scene.fl.retry(parent.id, organization="acme")
    assert counts(scene, action) == (2, 2, 0)
    assert [scene.get(one).status for one in (parent, child)] == [QUEUED, PENDING]


def test_what_was_brought_back_before_it_began_is_meant(scene: Scene):
    (canceled,) = dead_lettered(scene, 1)
    scene.fl.retry(canceled.id, organization="acme")
    scene.clock.advance(1)
    assert counts(scene, begin(scene)) == (1, 0, 0)
    assert scene.get(canceled).status == CANCELED
    (deleted,) = dead_lettered(scene, 1)
    scene.fl.retry(deleted.id, organization="acme")
    scene.end(*scene.worker().claim(), outcome=BROKEN)
    scene.clock.advance(1)
    assert counts(scene, begin(scene, "delete")) == (1, 0, 0)
