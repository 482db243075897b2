"""The end of an attempt beside whatever else happens to its job."""

from typing import NamedTuple

import pytest

from fairlane import IllegalTransition, Job, JobStatus
from fairlane.domain.outcomes import Outcome
from fairlane.store.statements import attempts
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.order import Order
from tests.store.races.agreement import steps
from tests.store.races.scene import BROKEN, JAMMED, LEASE, Claimed, Finished, Scene, key_of

QUEUED, RUNNING, COMPLETED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED
FAILED, CANCELED, DEAD_LETTER = JobStatus.FAILED, JobStatus.CANCELED, JobStatus.DEAD_LETTER


class End(NamedTuple):
    """The end of an attempt by itself (None: well), and its steps. Without a checkpoint it ends the short way."""

    outcome: Outcome | None
    steps: list[JobStatus]
    has_checkpoint: bool = True


ENDS = {
    "completed": End(None, [COMPLETED]),
    "completed plainly": End(None, [COMPLETED], has_checkpoint=False),
    "retried": End(JAMMED, [FAILED, QUEUED]),
    "dead-lettered": End(BROKEN, [FAILED, DEAD_LETTER]),
}
EVERY_END = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
EVERY_COMPLETION = pytest.mark.parametrize(
    "end", [end for end in ENDS.values() if end.outcome is None], ids=[name for name in ENDS if "completed" in name]
)


def running(scene: Scene) -> tuple[Job, Claimed]:
    """A job, and its attempt."""
    job = scene.submit()
    (claimed,) = scene.worker().claim()
    return job, claimed


def write(scene: Scene, claimed: Claimed, end: End) -> list[Finished]:
    return scene.end(claimed, outcome=end.outcome, has_checkpoint=end.has_checkpoint)


def once_more(scene: Scene, claimed: Claimed, ends: list[Finished], end: End) -> bool:
    """Write an end that found its job's row held by somebody, as a worker does; whether it counted in the end."""
    (one,) = write(scene, claimed, end) if ends[0].is_locked else ends
    assert not one.is_locked
    return one.transition is not None


@EVERY_END
def test_beside_a_cancel_exactly_one_wins(scene: Scene, in_every_order: InEveryOrder, end: End):
    @in_every_order
    def play(order: Order) -> None:
        job, claimed = running(scene)
        canceled, ends = order.run(
            lambda: scene.fl.cancel(job.id, organization="acme", user="ana"),
            lambda: write(scene, claimed, end),
        )
        assert once_more(scene, claimed, ends, end)
        way, told = steps(scene.fl, job)[2:], scene.fl.history(job.id, organization="acme")[-1].message
        if isinstance(canceled, IllegalTransition):
            assert way == end.steps
            assert "cancel" not in told
        elif end.outcome is None:
            assert way == end.steps
            assert "it completed, though ana asked at " in told
        else:
            assert way in ([CANCELED], [*end.steps, CANCELED])


@EVERY_END
def test_beside_a_write_of_its_progress_that_is_kept_or_refused(scene: Scene, in_every_order: InEveryOrder, end: End):
    @in_every_order
    def play(order: Order) -> None:
        job, claimed = running(scene)
        lease = key_of(claimed)
        written, ends = order.run(
            lambda: scene.write(
                lambda connection: attempts.set_progress(connection, scene.now, lease, percent=50.0, message="half")
            ),
            lambda: write(scene, claimed, end),
        )
        assert once_more(scene, claimed, ends, end)
        assert steps(scene.fl, job) == [QUEUED, RUNNING, *end.steps]
        # A job that waits for its next attempt shows none.
        shows = written and end.steps[-1] is not QUEUED
        assert scene.get(job).progress == (50.0 if shows else None)


@pytest.mark.slow
@EVERY_END
def test_beside_the_rescue_of_its_job_one_of_them_counts(scene: Scene, in_every_order: InEveryOrder, end: End):
    @in_every_order
    def play(order: Order) -> None:
        job, claimed = running(scene)
        scene.clock.advance(LEASE + 1)
        _, ends = order.run(scene.rescue, lambda: write(scene, claimed, end))
        counted = once_more(scene, claimed, ends, end)
        scene.rescue()
        assert steps(scene.fl, job) == [QUEUED, RUNNING, *(end.steps if counted else [QUEUED])]


@EVERY_COMPLETION
def test_beside_its_rescue_and_the_next_claim_of_its_job(scene: Scene, in_every_order: InEveryOrder, end: End):
    @in_every_order
    def play(order: Order) -> None:
        job, claimed = running(scene)
        scene.clock.advance(LEASE + 1)
        other = scene.worker("other")
        _, ends, again = order.run(scene.rescue, lambda: write(scene, claimed, end), other.claim)
        counted = once_more(scene, claimed, ends, end)
        scene.rescue()
        assert not (counted and again), "two attempts of one job counted"
        assert steps(scene.fl, job)[2:] == ([COMPLETED] if counted else [QUEUED, *[RUNNING] * len(again)])
        assert again or counted or len(other.claim()) == 1


@EVERY_END
def test_beside_the_same_end_sent_again(scene: Scene, in_every_order: InEveryOrder, end: End):
    @in_every_order
    def play(order: Order) -> None:
        job, claimed = running(scene)
        first, second = order.run(*[lambda: write(scene, claimed, end)] * 2)
        assert [once_more(scene, claimed, ends, end) for ends in (first, second)].count(True) == 1
        assert steps(scene.fl, job) == [QUEUED, RUNNING, *end.steps]
        assert scene.get(job).retry_count == (end.steps == [FAILED, QUEUED])
