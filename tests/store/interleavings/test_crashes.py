"""A participant that crashes in the middle of a write leaves no job behind, nor half of it, whatever runs beside it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import pytest

from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.invariants import a_dedup_key_has_one_live_owner
from tests.store.interleavings.order import Order
from tests.store.interleavings.test_ends import running
from tests.store.races.scene import BROKEN, LEASE, Scene

Race = Sequence[Callable[[], object]]


def end_and_rescue(scene: Scene) -> Race:
    _, claimed = running(scene)
    scene.clock.advance(LEASE + 1)
    return partial(scene.end, claimed), scene.rescue


def end_and_cancel(scene: Scene) -> Race:
    job, claimed = running(scene)
    return partial(scene.end, claimed, outcome=BROKEN), partial(scene.fl.cancel, job.id, organization="acme")


def end_and_child(scene: Scene) -> Race:
    parent, claimed = running(scene)
    return partial(scene.end, claimed), partial(scene.submit, depends_on=[parent])


def end_and_stage(scene: Scene) -> Race:
    parent, claimed = running(scene)
    scene.submit(depends_on=[parent])
    return partial(scene.end, claimed, outcome=BROKEN), scene.stage


RACES: Final[Mapping[str, Callable[[Scene], Race]]] = {
    "an end and a rescue": end_and_rescue,
    "an end and a cancel": end_and_cancel,
    "an end and the submission of a child": end_and_child,
    "a parent's end and the stage service": end_and_stage,
}


@pytest.mark.slow
@pytest.mark.parametrize("mortal", [0, 1])
@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
def test_of_two_that_race(
    scene: Scene, in_every_order: InEveryOrder, race: Callable[[Scene], Race], mortal: int
) -> None:
    def play(order: Order) -> None:
        order.run(*race(scene))

    in_every_order(play, mortals=[mortal])


@pytest.mark.parametrize("mortal", [0, 1])
def test_of_two_submitters_of_a_key_one_has_it(scene: Scene, in_every_order: InEveryOrder, mortal: int) -> None:
    scene.add_type("monthly", dedup_window=300)
    submit = partial(scene.submit, "monthly", parameters={"n": 11})
    submit()  # the first one registers the type, under a lock that is no step of a transaction

    def play(order: Order) -> None:
        order.run(submit, submit)
        assert scene.fl.list(organization="acme").total == 1
        a_dedup_key_has_one_live_owner(scene)

    in_every_order(play, mortals=[mortal])
