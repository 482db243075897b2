"""Plays of a race in all orders, on each kind of database.

A few races have hundreds of orders, which is more than a run of all tests has time for: how many of each are played
says `tests.depth`, and which ones chance. `FAIRLANE_TEST_ORDERS` names a seed, as a play that fails says.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import inf
from random import Random
from typing import Final

import psycopg
import pytest

from tests.depth import far
from tests.store.emptied import empty
from tests.store.interleavings import invariants
from tests.store.interleavings.order import Choose, Order
from tests.store.interleavings.orders import Orders
from tests.store.races.race import DEADLINE
from tests.store.races.scene import Scene

Play = Callable[[Order], None]
NewOrder = Callable[[Choose, Sequence[int]], Order]

_MOST: Final = far(2, 15, 0)  # 0: all
VARIABLE: Final = "FAIRLANE_TEST_ORDERS"
SEED: Final = os.environ.get(VARIABLE) or str(secrets.randbelow(10**6))


@dataclass
class InEveryOrder:
    """Decorates a play, which sets the scene, runs its participants by the order given and looks at what came out.

    It is played in every order, each time on a database without jobs; afterwards the invariants must hold, and an
    honest worker must bring all jobs to their end. At `most` that many orders are played.
    """

    scene: Scene
    new_order: NewOrder
    most: int

    def __call__(self, play: Play, *, mortals: Sequence[int] = ()) -> None:
        orders, number = Orders(Random(SEED)), 0
        while True:
            empty(self.scene.fl.database)
            order = self.new_order(orders.choose, mortals)
            number += 1
            try:
                play(order)
                invariants.hold(self.scene)
                invariants.no_job_is_lost(self.scene)
            except BaseException as error:
                error.add_note(f"In the order, number {number} with {VARIABLE}={SEED}:{order}")
                raise
            if not orders.has_another() or number == self.most:
                break
        assert number > 1, f"nobody raced: of these steps no other order makes a difference:{order}"


@pytest.fixture
def scene(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """An application and its people."""
    # Who gives a lock up after a while would leave a play to the machine's pace.
    monkeypatch.setattr("fairlane.engine.submission.LOCK_WAIT_OF_MOMENT", DEADLINE)
    monkeypatch.setattr("fairlane.app.LOCK_WAIT_OF_UPKEEP", DEADLINE)
    with Scene(database_url, lock_timeout=DEADLINE) as scene:
        # What is kept of keys would grow old in the middle of a play on a busy machine, and be asked for there.
        scene.fl.keyring._max_age = inf
        scene.fl.keyring.rings_of(scene.fl.database, ["acme", "rival"])
        yield scene


@pytest.fixture
def new_order(database_url: str) -> Iterator[NewOrder]:
    """Make an order of the database's transactions from a choice of turns and the participants that may crash."""
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(4, thread_name_prefix="racer"))
        observer = None
        if database_url.startswith("postgresql"):
            observer = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        yield partial(Order, observer, threads)


@pytest.fixture
def in_every_order(scene: Scene, new_order: NewOrder) -> InEveryOrder:
    """Plays a race of the scene in every order."""
    return InEveryOrder(scene, new_order, _MOST)
