"""Claims beside pauses, beside each other, and beside the crash of a worker in the middle of its own."""

from datetime import timedelta

import pytest

from fairlane import IllegalTransition, JobStatus
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.invariants import at_most
from tests.store.interleavings.order import Order
from tests.store.races.agreement import steps
from tests.store.races.scene import LEASE, Scene
from tests.store.races.test_pauses import EVERY_HOLD, HOLDS

LIMIT = 2


@pytest.mark.slow
@EVERY_HOLD
def test_a_claim_beside_a_hold_starts_the_job_or_leaves_it_and_nothing_starts_after_both(
    scene: Scene, in_every_order: InEveryOrder, hold: str
):
    begin, end = HOLDS[hold]

    @in_every_order
    def play(order: Order) -> None:
        end(scene.fl)
        job, later, worker = scene.submit(), scene.submit(delay=60), scene.worker()
        claimed, _ = order.run(worker.claim_round, lambda: begin(scene.fl))
        assert claimed in ([], [job.id])
        scene.clock.advance(60)
        scene.stage()
        worker.beat()
        assert worker.claim_round() == []
        assert len(steps(scene.fl, job)) == 1 + len(claimed)
        end(scene.fl)
        assert set(worker.claim_round()) == {job.id, later.id} - set(claimed)


def test_two_claims_of_the_same_jobs_share_them(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        jobs = {scene.submit().id, scene.submit().id}
        claims = order.run(scene.worker("w1").claim, scene.worker("w2").claim)
        claimed = [one.id for claim in claims for one in claim]
        assert len(set(claimed)) == len(claimed), "a job ran twice under valid leases"
        assert set(claimed) <= jobs


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite's claims are serial
def test_a_limit_beside_the_crash_of_a_worker_that_claims_under_it(scene: Scene, in_every_order: InEveryOrder):
    scene.add_type("limited", dedup_window=0, max_running=LIMIT)

    def play(order: Order) -> None:
        for _ in range(LIMIT + 1):
            scene.submit("limited")
        workers = [scene.worker(name, job_types=["limited"]) for name in ("w1", "w2")]
        order.run(*[worker.claim_round for worker in workers])
        at_most(LIMIT, scene)
        scene.clock.advance(LEASE + 1)
        while scene.rescue() is not None:
            pass
        assert len(scene.worker("w3", job_types=["limited"]).claim_round()) == LIMIT, "a slot has leaked"
        at_most(LIMIT, scene)

    in_every_order(play, mortals=[0])


def test_a_cancel_beside_a_claim_ends_the_job_or_asks_its_worker_to(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        job = scene.submit()
        canceled, claimed = order.run(lambda: scene.fl.cancel(job.id, organization="acme"), scene.worker().claim)
        assert canceled.status == (JobStatus.RUNNING if claimed else JobStatus.CANCELED)
        assert (scene.get(job).cancel_requested_at is not None) is bool(claimed)


def test_a_reschedule_beside_a_claim_is_refused_or_lets_the_job_wait(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        job, at = scene.submit(), scene.now + timedelta(hours=1)
        made, claimed = order.run(lambda: scene.fl.reschedule(job, at, organization="acme"), scene.worker().claim)
        assert isinstance(made, IllegalTransition) is bool(claimed)
        assert scene.get(job).run_at == (job.run_at if claimed else at)


def test_another_priority_beside_a_claim_is_refused_or_the_job_has_it(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        job, worker = scene.submit(), scene.worker()
        made, claimed = order.run(lambda: scene.fl.prioritize(job, "high", organization="acme"), worker.claim)
        assert scene.get(job).priority == ("normal" if isinstance(made, IllegalTransition) else "high")
        assert [one.id for one in claimed or worker.claim()] == [job.id]
