"""Identical submissions beside each other, and beside the end of the job that has their key (R3)."""

from functools import partial
from typing import Any, Literal

import pytest

from fairlane import DuplicateJob, Job, JobStatus
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.invariants import a_dedup_key_has_one_live_owner
from tests.store.interleavings.order import Order
from tests.store.races.scene import Scene

Wish = Literal["reject", "return", "replace"]
WISHES = pytest.mark.parametrize("wish", ["reject", "return", "replace"])


@pytest.fixture(autouse=True)
def _monthly(scene: Scene) -> None:
    scene.add_type("monthly", dedup_window=300)
    # The first submission registers the type, under a lock of the process that is no step of a transaction.
    submit(scene, "return")


def submit(scene: Scene, wish: Wish) -> Job:
    return scene.submit("monthly", parameters={"n": 11}, on_duplicate=wish)


def check(scene: Scene, wish: Wish, answers: list[Any], *, most: int) -> None:
    """Assert that the submitters' answers fit the one job that lives."""
    a_dedup_key_has_one_live_owner(scene)
    jobs = [answer for answer in answers if isinstance(answer, Job)]
    (live,) = [job for job in scene.fl.list(organization="acme").items if job.status == JobStatus.QUEUED]
    assert live.id in {job.id for job in jobs}
    match wish:
        case "reject":
            assert len(jobs) == 1
            refusals = [answer for answer in answers if isinstance(answer, DuplicateJob)]
            assert [one.existing_id for one in refusals] == [live.id] * (most - 1)
        case "return":
            assert [job.id for job in jobs] == [live.id] * most
        case "replace":
            assert len({job.id for job in jobs}) == most


@WISHES
def test_two_submitters_of_a_new_key(scene: Scene, in_every_order: InEveryOrder, wish: Wish):
    @in_every_order
    def play(order: Order) -> None:
        check(scene, wish, order.run(*[partial(submit, scene, wish)] * 2), most=2)


@WISHES
def test_two_submitters_of_a_key_whose_job_has_ended(scene: Scene, in_every_order: InEveryOrder, wish: Wish):
    @in_every_order
    def play(order: Order) -> None:
        earlier = submit(scene, wish)
        (claimed,) = scene.worker(job_types=["monthly"]).claim()
        scene.end(claimed)
        assert scene.get(earlier).status == JobStatus.COMPLETED
        check(scene, wish, order.run(*[partial(submit, scene, wish)] * 2), most=2)


def test_three_submitters(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        check(scene, "reject", order.run(*[partial(submit, scene, "reject")] * 3), most=3)


@pytest.mark.slow
@WISHES
def test_a_submitter_beside_the_end_of_the_job_that_has_the_key(scene: Scene, in_every_order: InEveryOrder, wish: Wish):
    @in_every_order
    def play(order: Order) -> None:
        earlier = submit(scene, wish)
        (claimed,) = scene.worker(job_types=["monthly"]).claim()
        answer, ends = order.run(partial(submit, scene, wish), lambda: scene.end(claimed))
        if ends[0].is_locked:
            scene.end(claimed)
        assert scene.get(earlier).status == JobStatus.COMPLETED
        a_dedup_key_has_one_live_owner(scene)
        if isinstance(answer, DuplicateJob):
            assert answer.existing_id == earlier.id
        else:
            assert isinstance(answer, Job)
            assert answer.id != earlier.id or wish == "return"


def test_a_replacement_beside_the_claim_of_the_job_in_its_place(scene: Scene, in_every_order: InEveryOrder):
    @in_every_order
    def play(order: Order) -> None:
        earlier = submit(scene, "replace")
        worker = scene.worker(job_types=["monthly"])
        answer, claimed = order.run(partial(submit, scene, "replace"), worker.claim)
        a_dedup_key_has_one_live_owner(scene)
        if isinstance(answer, DuplicateJob):
            assert [one.id for one in claimed] == [earlier.id]
        else:
            assert scene.get(earlier).status == JobStatus.CANCELED
            assert {one.id for one in claimed} <= {answer.id}
