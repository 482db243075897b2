"""Twins of a request under one idempotency key, beside each other."""

import json
from functools import partial
from uuid import UUID

import pytest

from fairlane import Submission, new_id
from fairlane.engine.idempotency import Key
from fairlane.store.statements import idempotency
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.order import Order
from tests.store.races.scene import DAY, Scene

KEY = Key("acme", "ana", "once")


def keep(scene: Scene) -> tuple[str, bool]:
    """The id that a twin submits its job under, of the one that it has drawn and the one that is kept."""
    kept, is_new = scene.fl.idempotency._keep(KEY, "ab" * 32, [new_id()])
    (job_id,) = json.loads(kept.job_ids)
    return job_id, is_new


@pytest.mark.parametrize("is_expired", [False, True])
def test_of_twins_one_draws_the_ids_and_the_other_finds_them(
    scene: Scene, in_every_order: InEveryOrder, is_expired: bool
):
    @in_every_order
    def play(order: Order) -> None:
        earlier = keep(scene) if is_expired else None
        scene.clock.advance(DAY + 1)
        answers = order.run(*[partial(keep, scene)] * 2)
        (job_id,) = {one for one, _ in answers}
        assert sorted(is_new for _, is_new in answers) == [False, True]
        assert earlier is None or job_id != earlier[0]


def test_a_key_that_a_refused_twin_gives_up_is_the_other_s(scene: Scene, in_every_order: InEveryOrder):
    def give_up() -> None:
        scene.fl.database.write(lambda connection: idempotency.give_up(connection, *KEY), of="acme")

    @in_every_order
    def play(order: Order) -> None:
        refused, _ = keep(scene)
        (found, is_new), _ = order.run(partial(keep, scene), give_up)
        assert is_new == (found != refused)
        give_up()


def test_what_came_under_a_key_that_was_given_up_beside_it_comes_once(scene: Scene, in_every_order: InEveryOrder):
    def submit() -> UUID:
        (job,), _ = scene.fl.idempotency.submit(KEY, "ab" * 32, [Submission("report", organization="acme", user="ana")])
        return job.id

    def give_up_and_retry() -> UUID:
        scene.fl.database.write(lambda connection: idempotency.give_up(connection, *KEY), of="acme")
        return submit()

    submit()  # the job type is registered, and known, before the first play

    @in_every_order
    def play(order: Order) -> None:
        keep(scene)  # by one that is about to be refused; the first below is its resend
        answers = order.run(submit, give_up_and_retry)
        assert {*answers, submit()} == {job.id for job in scene.fl.list(organization="acme").items}
        assert len(set(answers)) == 1


def test_of_two_resends_after_a_crash_one_is_answered_as_new(scene: Scene, in_every_order: InEveryOrder):
    scene.add_type("once")  # a report is never a duplicate

    def submit() -> tuple[UUID, bool]:
        one = Submission("once", organization="acme", user="ana", on_duplicate="return")
        (job,), was_there = scene.fl.idempotency.submit(KEY, "ab" * 32, [one])
        return job.id, was_there

    submit()  # as above

    @in_every_order
    def play(order: Order) -> None:
        drawn, _ = keep(scene)
        answers = order.run(submit, submit)
        assert sorted(answers) == [(UUID(drawn), False), (UUID(drawn), True)]
