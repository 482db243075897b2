"""Threads that organizations share. Organizations take turns, and none can take all threads."""

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
_Whose = frozenset[str]  # one organization, or all organizations of a batch, which needs a turn of each


class SharedThreads:
    """Run work for organizations. Any thread may call its methods.

    `give_turn_away` changes the pool of threads, so call `submit` from the same thread.

    Nothing interrupts running work, and a large file takes minutes. So some threads are reserved for other
    organizations.

    The first waiting batch reserves the next free turn of each of its organizations until it can begin. Otherwise work
    of a single organization would overtake it for ever. At most one turn of each organization is reserved.

    Args:
        number: at least 2.
        name: the prefix of the threads' names.
        each: the most threads that one organization may have; None = all but one.
    """

    def __init__(self, number: int, name: str, each: int | None = None) -> None:
        self._number = number
        self._name = name
        self._each = each or number - 1
        self._begin_in_child()
        _all.add(self)

    def _begin_in_child(self) -> None:
        """Forget threads and work in a forked child: they belong to the parent."""
        self._threads = ThreadPoolExecutor(self._number, thread_name_prefix=self._name)
        self._lock = threading.Lock()  # for the fields below
        self._waiting: dict[_Whose, deque[_Work]] = {}  # the next one first
        self._busy: dict[Future[Any], _Whose] = {}  # the work of each thread, and for whom
        self._without_turn = set[Future[Any]]()  # running work whose turn was given away
        self._left_behind = set[Future[Any]]()  # running work whose future was ended early

    def submit(self, organizations: Collection[str], work: Callable[[], T]) -> "Future[T]":
        """Do the work in a thread when it is the organizations' turn, in the caller's context.

        Raises:
            RuntimeError: the work won't be done: the interpreter ends, or no thread can be started.
        """
        future: Future[T] = Future()
        future.add_done_callback(
            lambda end: self._look_again() if end.cancelled() else None
        )  # it may have turns reserved
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
        """Run the block in the caller's thread, as the organizations' turn.

        Yields:
            True if the turn came within so many seconds. It never comes if no thread can be started.
        """
        begun, ended = threading.Event(), threading.Event()

        def occupy() -> None:
            begun.set()
            ended.wait()

        try:
            coming = self.submit(organizations, occupy)
        except RuntimeError:
            yield False
            return
        try:
            yield begun.wait(seconds)
        finally:
            coming.cancel()
            ended.set()

    async def run(self, organizations: Collection[str], work: Callable[[], T]) -> T:
        """Do the work in a thread when it is the organizations' turn, and return its value.

        Work that has started continues even if the caller is canceled.
        """
        return await asyncio.wrap_future(self.submit(organizations, work))

    def are_of(self, organization: str) -> bool:
        """Return True if the organization has running or waiting work."""
        with self._lock:
            return any(organization in whose for whose in (*self._busy.values(), *self._waiting))

    @property
    def is_busy(self) -> bool:
        """Return True if a thread is working, even on work that was left behind."""
        return bool(self._busy or self._without_turn)

    @property
    def left_behind(self) -> int:
        """Count the work that was left behind and still runs. Any thread may call this."""
        return len(self._left_behind)

    def give_turn_away(self, future: "Future[Any]") -> None:
        """Give the turn of running work to others. Its thread finishes the work, and then ends."""
        with self._lock:
            if not future.running() or self._busy.pop(future, None) is None:
                return  # it has ended, or its turn was given away
            self._without_turn.add(future)
            before, self._threads = self._threads, ThreadPoolExecutor(self._number, thread_name_prefix=self._name)
        before.shutdown(wait=False)
        self._look_again()

    def leave_behind(self, future: "Future[Any]", error: Exception) -> None:
        """End the future of running work without a turn by this error. Its thread continues the work."""
        with self._lock:
            if future not in self._without_turn or future in self._left_behind:
                return
            self._left_behind.add(future)
        future.set_exception(error)

    def shutdown(self) -> None:
        """Start no more work, and cancel waiting work."""
        with self._lock:
            left, self._waiting = self._waiting, {}
        for future, _ in chain.from_iterable(left.values()):
            future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        """Do waiting work that may run now. Other work waits for a thread of its own organization."""
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
                self._look_again()  # This thread continues for one organization, other threads for the others.

    def _look_again(self) -> None:
        with suppress(RuntimeError):  # If no thread can be started, the existing threads do all waiting work.
            self._threads.submit(self._run)

    def _take(self) -> tuple[_Whose, _Work] | None:
        with self._lock:
            if len(self._busy) >= self._number:
                return None
            taken = Counter(chain.from_iterable(self._busy.values()))
            kept = set[str]()  # organizations with a turn reserved for a batch that has waited longer
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
    """Do the work, and return a function that sets the future's result or error."""
    try:
        return partial(future.set_result, work())
    except BaseException as error:  # noqa: BLE001 - it belongs to who waits for it
        return partial(future.set_exception, error)


_all: Final = in_each_child(SharedThreads._begin_in_child)  # noqa: SLF001 - the class above
