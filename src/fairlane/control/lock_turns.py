"""Whose submission waits for a lock next: organizations take turns, so that one waits behind itself alone.

A submission that waits for another transaction's lock keeps a connection of the pool busy. So each is tried for a
moment first. One that meets a lock comes here, and waits for its turn without a connection. There are as many turns as
half of the pool has connections, and two of them at most are one organization's. A batch takes a turn of each of its
organizations.

While an organization is here, no event loop sends its jobs together with those of others.
"""

import asyncio
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Final, TypeVar

from fairlane.control.batch import Submission
from fairlane.domain.errors import StorageUnavailable
from fairlane.store.forks import in_each_child

T = TypeVar("T")

A_MOMENT: Final = 0.05  # seconds that a submission waits for a lock before it waits for its turn
_EACH: Final = 2  # turns of one organization
_CROWDED: Final = (
    "Another transaction holds a lock that the submission needs, and too many submissions wait for locks; "
    "nothing was submitted, try again."
)


class _Turn:
    """A turn of an organization, or of each of several that submit together. `begun` is done when it has come."""

    def __init__(self, whose: frozenset[str]) -> None:
        self.whose = whose
        self.begun = Future[None]()

    def refuse_unless_begun(self) -> None:
        if not self.begun.done():
            raise StorageUnavailable(_CROWDED)


class LockTurns:
    """The turns of one process.

    Args:
        at_once: turns of all organizations together.
        seconds: how long a turn is waited for.
    """

    def __init__(self, at_once: int, seconds: float) -> None:
        self.at_once = at_once
        self._seconds = seconds
        self.begin_in_child()
        _all.add(self)

    def begin_in_child(self) -> None:
        """Leave the turns to the parent of this forked process: here nobody ends them."""
        self._lock = threading.Lock()
        self._here = Counter[str]()  # turns of each organization, those that it waits for among them
        self._begun = Counter[str]()
        self._free = self.at_once
        self._waiting = OrderedDict[frozenset[str], deque[_Turn]]()  # whose turn was longest ago comes first

    def run(self, submissions: Sequence[Submission], work: Callable[[], T]) -> T:
        """Run `work`, which submits them, in this thread when their turn has come.

        Raises:
            StorageUnavailable: it did not come in time.
        """
        turn = self._come(submissions)
        try:
            wait([turn.begun], self._seconds)
            turn.refuse_unless_begun()
            return work()
        finally:
            self._end(turn)

    async def run_in(self, threads: ThreadPoolExecutor, submissions: Sequence[Submission], work: Callable[[], T]) -> T:
        """Do the same on an event loop, in one of the threads. The turn lasts until `work` ends, whoever gives it up.

        Args:
            threads: no fewer than turns; none is taken before the turn has come.
        """
        turn = self._come(submissions)
        try:
            await asyncio.wait([asyncio.wrap_future(turn.begun)], timeout=self._seconds)
            turn.refuse_unless_begun()
            going = threads.submit(copy_context().run, self._go, turn, work)
        except BaseException:
            self._end(turn)
            raise
        return await asyncio.shield(asyncio.wrap_future(going))

    def are_of(self, organization: str) -> bool:
        """Return True if the organization has a turn, or waits for one."""
        return organization in self._here

    def _go(self, turn: _Turn, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            self._end(turn)

    def _come(self, submissions: Sequence[Submission]) -> _Turn:
        turn = _Turn(frozenset(one.organization for one in submissions))
        with self._lock:
            self._here.update(turn.whose)
            self._waiting.setdefault(turn.whose, deque()).append(turn)
            self._begin()
        return turn

    def _end(self, turn: _Turn) -> None:
        with self._lock:
            self._here -= Counter(turn.whose)  # which keeps no zeros
            if turn.begun.done():
                self._begun -= Counter(turn.whose)
                self._free += 1
            else:
                self._take(turn)
            self._begin()

    def _begin(self) -> None:
        """Begin what may begin: the organization with the fewest turns comes first."""
        while self._free:
            turns = {whose: max(self._begun[one] for one in whose) for whose in self._waiting}
            whose = min(turns, key=turns.__getitem__, default=None)  # the first of equals
            if whose is None or turns[whose] >= _EACH:
                return
            turn = self._waiting[whose][0]
            self._waiting.move_to_end(whose)
            self._take(turn)
            self._begun.update(whose)
            self._free -= 1
            turn.begun.set_result(None)

    def _take(self, turn: _Turn) -> None:
        line = self._waiting[turn.whose]
        line.remove(turn)
        if not line:
            del self._waiting[turn.whose]


_all: Final = in_each_child(LockTurns.begin_in_child)
