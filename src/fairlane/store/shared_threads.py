"""Threads that organizations share: they take turns, and none has all threads."""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from itertools import chain
from typing import Any, Final, TypeVar

from fairlane.store.forks import in_each_child

T = TypeVar("T")

_Work = tuple["Future[Any]", Callable[[], Any]]
_Whose = frozenset[str]  # one organization, or those of a batch, which needs a turn of each


class SharedThreads:
    """Run work for organizations. Its methods may be called from any thread.

    Where turns are given away, submit from the thread that does so: it changes the pool of threads.

    Nothing interrupts what runs, and a large file is on its way for minutes. So threads are kept for other
    organizations.

    A batch that comes first in line keeps the next free turn of each of its organizations until it can begin: else work
    of one organization alone would pass it for ever. Of each organization one turn is kept at most.

    Args:
        number: at least 2.
        name: what the names of the threads begin with.
        each: threads that one organization may have at most; None = all but one.
    """

    def __init__(self, number: int, name: str, each: int | None = None) -> None:
        self._number = number
        self._name = name
        self._each = each or number - 1
        self._begin_in_child()
        _all.add(self)

    def _begin_in_child(self) -> None:
        """Leave threads and work to the parent of this forked process."""
        self._threads = ThreadPoolExecutor(self._number, thread_name_prefix=self._name)
        self._lock = threading.Lock()  # of what follows
        self._waiting: dict[_Whose, deque[_Work]] = {}  # the next one first
        self._busy: dict[Future[Any], _Whose] = {}  # what each thread does, and for whom
        self._without_turn = set[Future[Any]]()  # what goes on, while others have its turn
        self._left_behind = set[Future[Any]]()  # what of it was ended for those who wait for it

    def submit(self, organizations: Collection[str], work: Callable[[], T]) -> "Future[T]":
        """Have a thread do it when it is their turn, in the caller's context.

        Raises:
            RuntimeError: it won't be done, as the interpreter ends, or no thread can be started.
        """
        future: Future[T] = Future()
        future.add_done_callback(lambda end: self._look_again() if end.cancelled() else None)  # it may have kept turns
        given = future, partial(copy_context().run, work)
        with self._lock:
            self._waiting.setdefault(frozenset(organizations), deque()).append(given)
        try:
            self._threads.submit(self._run)
        except RuntimeError:
            future.cancel()
            raise
        return future

    @contextmanager
    def turn(self, organizations: Collection[str], seconds: float) -> Iterator[bool]:
        """Have the block be their turn, in the caller's thread.

        Yields:
            Whether it came within so many seconds; it never does where no thread can be started.
        """
        begun, ended = threading.Event(), threading.Event()

        def hold() -> None:
            begun.set()
            ended.wait()

        try:
            coming = self.submit(organizations, hold)
        except RuntimeError:
            yield False
            return
        try:
            yield begun.wait(seconds)
        finally:
            coming.cancel()
            ended.set()

    async def run(self, organizations: Collection[str], work: Callable[[], T]) -> T:
        """Do the same, and await what it returns. What has begun goes on, whoever gives it up."""
        return await asyncio.wrap_future(self.submit(organizations, work))

    def are_of(self, organization: str) -> bool:
        """Return True if a thread works for the organization, or something of it waits for one."""
        with self._lock:
            return any(organization in whose for whose in (*self._busy.values(), *self._waiting))

    @property
    def is_busy(self) -> bool:
        """Return True if a thread does something, be it what was left behind."""
        return bool(self._busy or self._without_turn)

    @property
    def left_behind(self) -> int:
        """Return how much was left behind and goes on; from any thread."""
        return len(self._left_behind)

    def give_turn_away(self, future: "Future[Any]") -> None:
        """Let others have the turn of what runs. Its thread goes on with it, and then ends."""
        with self._lock:
            if not future.running() or self._busy.pop(future, None) is None:
                return  # it has ended, or has no turn any more
            self._without_turn.add(future)
            before, self._threads = self._threads, ThreadPoolExecutor(self._number, thread_name_prefix=self._name)
        before.shutdown(wait=False)
        self._look_again()

    def leave_behind(self, future: "Future[Any]", error: Exception) -> None:
        """End what runs without a turn by this error. Its thread goes on with it."""
        with self._lock:
            if future not in self._without_turn or future in self._left_behind:
                return
            self._left_behind.add(future)
        future.set_exception(error)

    def shutdown(self) -> None:
        """Begin nothing more; what waits is canceled."""
        with self._lock:
            left, self._waiting = self._waiting, {}
        for future, _ in chain.from_iterable(left.values()):
            future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        """Do what may be done now. What is left waits for a thread of its own organization, which then goes on here."""
        while (taken := self._take()) is not None:
            whose, (future, work) = taken
            tell = end_of(future, work) if future.set_running_or_notify_cancel() else None
            with self._lock:
                has_turn = self._busy.pop(future, None) is not None
                is_told = future in self._left_behind
                self._without_turn.discard(future)
                self._left_behind.discard(future)
            if tell is not None and not is_told:
                tell()
            if not has_turn:
                return
            for _ in range(len(whose) - 1):
                self._look_again()  # This thread goes on for one organization, others do for the rest.

    def _look_again(self) -> None:
        with suppress(RuntimeError):  # Where none can begin any more, the threads that there are do all that waits.
            self._threads.submit(self._run)

    def _take(self) -> tuple[_Whose, _Work] | None:
        with self._lock:
            if len(self._busy) >= self._number:
                return None
            taken = Counter(chain.from_iterable(self._busy.values()))
            kept = set[str]()  # organizations of which one turn is kept for who has waited longer
            for whose, mine in self._waiting.items():
                is_given_up = mine[0][0].cancelled()
                if is_given_up or all(taken[one] + (one in kept) < self._each for one in whose):
                    work = mine.popleft()
                    self._busy[work[0]] = whose
                    del self._waiting[whose]
                    if mine:
                        self._waiting[whose] = mine  # behind the others
                    return whose, work
                if kept.isdisjoint(whose):
                    kept |= whose
            return None


def end_of(future: "Future[Any]", work: Callable[[], Any]) -> Callable[[], None]:
    """Do the work, and return what tells its end."""
    try:
        return partial(future.set_result, work())
    except BaseException as error:  # noqa: BLE001 - it belongs to who waits for it
        return partial(future.set_exception, error)


_all: Final = in_each_child(SharedThreads._begin_in_child)  # noqa: SLF001 - the class above
