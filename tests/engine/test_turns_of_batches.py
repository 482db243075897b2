"""A batch takes a turn of each of its organizations, so that none has more than two, and nobody passes it for ever."""

import asyncio
import threading
from collections import defaultdict, deque
from contextlib import closing
from queue import Queue

import pytest

from fairlane.store.shared_threads import SharedThreads
from tests.patience import PATIENCE

_RUNNING = "+a >a +a >a +b >b +b >b"


class Turns:
    """Turns of organizations whose names are letters, two of each at most. Each lasts until the test ends it."""

    def __init__(self, number: int) -> None:
        self._turns = SharedThreads(number, "turns", each=2)
        self._waiting = defaultdict[str, deque[asyncio.Future[None]]](deque)
        self._begun = Queue[tuple[str, threading.Event]]()
        self._running = defaultdict[str, deque[tuple[asyncio.Future[None], threading.Event]]](deque)
        self._ends: list[threading.Event] = []

    def come(self, organizations: str) -> None:
        """Come for a turn, in the order of calls."""
        ended = threading.Event()
        self._ends.append(ended)

        def last() -> None:
            self._begun.put((organizations, ended))
            assert ended.wait(PATIENCE)

        self._waiting[organizations].append(asyncio.wrap_future(self._turns.submit(organizations, last)))

    async def leave(self, organizations: str) -> None:
        """Give up the first of these that waits."""
        self._waiting[organizations].popleft().cancel()
        await asyncio.sleep(0)  # the loop tells the threads then

    async def begun(self) -> str:
        """Wait for the next that begins, and return its organizations."""
        organizations, ended = await asyncio.to_thread(self._begun.get, timeout=PATIENCE)
        self._running[organizations].append((self._waiting[organizations].popleft(), ended))
        return organizations

    async def end(self, organizations: str) -> None:
        """End the first of these that runs."""
        task, ended = self._running[organizations].popleft()
        ended.set()
        await task

    async def given(self) -> None:
        """Wait until all that may begin have their turns: the last to come looks at all that wait before it."""
        await self._turns.run("z", int)

    def close(self) -> None:
        self._turns.shutdown()
        for ended in self._ends:
            ended.set()


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param("+ab >ab +ab >ab +ac +ac +ad +z >z", id="batches of a with others leave turns to z"),
        pytest.param(f"{_RUNNING} +ab +a +a +b +b -a -b >ab", id="the batch came first"),
        pytest.param(f"{_RUNNING} +a +a +ab +b +b -a >a -a -b >ab -b >b", id="one of a came before"),
        pytest.param(f"{_RUNNING} +a +a +b +b +ab -a >a -b >b -a -b >ab", id="one of each came before"),
        pytest.param(f"{_RUNNING} +ab +ab +a +a +b +b -b -a >ab -a >a -b >b", id="another batch waits again"),
        pytest.param(f"{_RUNNING} +ab +a +a +b +b -a -a >a -b >ab", id="one turn of a is kept, and not both"),
        pytest.param(f"{_RUNNING} +ab +bc +abc +c >c +c >c -a -b >ab", id="a batch keeps no turn of c for a later one"),
        pytest.param("+ab >ab +ab >ab +a +a -ab >a +b >b -ab >a", id="who comes later has what the batch leaves"),
        pytest.param(f"{_RUNNING} +ab +a +b -a ~ab >a -b >b", id="a batch that is given up keeps nothing"),
    ],
)
async def test_the_order_of_turns(steps: str) -> None:
    """Play who comes (+), begins (>), ends (-), and gives up (~)."""
    with closing(Turns(8)) as turns:
        for step, whose in ((each[0], each[1:]) for each in steps.split()):
            if step == "+":
                turns.come(whose)
            elif step == ">":
                assert await turns.begun() == whose
            elif step == "-":
                await turns.end(whose)
                await turns.given()
            else:
                await turns.leave(whose)


async def test_the_end_of_a_batch_has_one_of_each_of_its_organizations_begin() -> None:
    with closing(Turns(5)) as turns:
        for whose in ("ab", "ab"):
            turns.come(whose)
            await turns.begun()
        for whose in ("a", "a", "b", "b"):
            turns.come(whose)
        await turns.end("ab")
        assert sorted([await turns.begun(), await turns.begun()]) == ["a", "b"]
        await turns.end("ab")
        assert sorted([await turns.begun(), await turns.begun()]) == ["a", "b"]
