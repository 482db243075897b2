"""Enough orders of a race are played to see all that can come of it, and no more."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.depth import far
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.model import Model, Outcome, Program
from tests.store.interleavings.order import Order
from tests.store.interleavings.orders import Orders
from tests.store.interleavings.steps import Touch

READ, INSERT, SHARE, UPDATE, REMOVE = Touch
_TABLES: Final = "abc"
_TOUCHED: Final = st.tuples(st.sampled_from(_TABLES), st.sampled_from(Touch))


def played(programs: Sequence[Program], there: Iterable[str], random: Random | None = None) -> dict[str, Outcome]:
    """The orders that are played, each as the numbers of those whose turn it was, and what came of it."""
    orders, found = Orders(random), dict[str, Outcome]()
    while True:
        model, taken = Model(programs, there), ""
        while turns := model.turns():
            place, _ = orders.choose(turns)
            model.take(place)
            taken += str(place + 1)
        assert taken not in found, "one order was played twice"
        found[taken] = model.outcome()
        if not orders.has_another():
            return found


def outcomes(programs: Sequence[Program], there: Iterable[str], taken: Sequence[int] = ()) -> set[Outcome]:
    """Return all possible outcomes, in any order that begins with these turns."""
    model = Model(programs, there)
    for place in taken:
        model.take(place)
    turns = model.turns()
    if not turns:
        return {model.outcome()}
    return set[Outcome]().union(*(outcomes(programs, there, (*taken, place)) for place, _ in turns))


@pytest.mark.parametrize(
    ("one", "other", "orders"),
    [
        # Nobody notices the other.
        ([("a", UPDATE)], [("b", UPDATE)], {"1122"}),
        ([("a", READ), ("b", READ)], [("a", READ)], {"112"}),
        ([("a", SHARE)], [("a", SHARE)], {"1122"}),
        # A read sees what is committed.
        ([("a", UPDATE)], [("a", READ)], {"112", "121"}),
        ([("a", UPDATE)], [("a", READ), ("a", READ)], {"1122", "1212", "1221"}),
        # The second waits, or comes when the first has ended.
        ([("a", UPDATE)], [("a", UPDATE)], {"1122", "1212", "2121", "2211"}),
        ([("a", SHARE)], [("a", REMOVE)], {"1122", "1212", "2121", "2211"}),
        ([("a", REMOVE)], [("a", INSERT)], {"1122", "1212", "2112", "2121", "2211"}),
    ],
)
def test_two_transactions_are_played_in_just_the_orders_that_differ(one: Program, other: Program, orders: set[str]):
    assert played([one, other], "a").keys() == orders


@st.composite
def races(draw: st.DrawFn) -> list[Program]:
    """Two or three transactions, short enough for all their orders."""
    number = draw(st.sampled_from([2, 2, 3]))
    return [draw(st.lists(_TOUCHED, min_size=1, max_size=5 - number)) for _ in range(number)]


@pytest.mark.slow
@given(programs=races(), there=st.sets(st.sampled_from(_TABLES)))
@settings(max_examples=far(20, 200, 5_000))
# An insert waits for who removes or changes the row of its key, and not for who will.
@example([[("a", REMOVE), ("a", READ)], [("a", INSERT)]], {"a"})
@example([[("a", UPDATE), ("b", INSERT), ("c", INSERT)], [("c", READ), ("a", INSERT), ("a", UPDATE)]], {"a", "c"})
# The second step of a race is asleep where the first was taken, and needs one of a third before it.
@example([[("b", REMOVE), ("a", READ)], [("a", INSERT)], [("b", READ), ("b", INSERT)]], {"b"})
@example([[("a", REMOVE)], [("b", INSERT), ("a", READ)], [("a", READ), ("b", READ)]], {"a", "c"})
def test_whatever_can_come_of_a_race_comes_of_an_order_that_is_played(programs: list[Program], there: set[str]):
    possible = outcomes(programs, there)
    for random in (None, Random(0)):
        assert set(played(programs, there, random).values()) == possible


def test_a_race_that_has_but_one_order_fails(in_every_order: InEveryOrder):
    """Its participants never meet: it would say that all is well whatever they do."""

    def play(order: Order) -> None:
        order.run(lambda: None, lambda: None)

    with pytest.raises(AssertionError, match="nobody raced"):
        in_every_order(play)
