"""Threads that organizations share: they take turns, and none has all threads."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any, TypeVar

T = TypeVar("T")

_Work = tuple["Future[Any]", Callable[[], Any]]


class SharedThreads:
    """Run work for organizations. Its methods may be called from any thread.

    One thread is always kept for other organizations, since nothing interrupts what runs: a large file is on its way
    for minutes.

    Args:
        number: at least 2.
        name: what the names of the threads begin with.
    """

    def __init__(self, number: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(number, thread_name_prefix=name)
        self._most = number - 1  # for one organization
        self._lock = threading.Lock()  # of what follows
        self._waiting: dict[str, deque[_Work]] = {}  # by organization, the next one first
        self._busy: list[str] = []  # the organization of each thread that works

    def submit(self, organization: str, work: Callable[[], T]) -> "Future[T]":
        """Have a thread do it when it is the organization's turn."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.setdefault(organization, deque()).append((future, work))
        self._threads.submit(self._run)
        return future

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
            organization, (future, work) = taken
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 - it belongs to who waits for it
                    future.set_exception(error)
            with self._lock:
                self._busy.remove(organization)

    def _take(self) -> tuple[str, _Work] | None:
        with self._lock:
            for organization, mine in self._waiting.items():
                if self._busy.count(organization) < self._most:
                    self._busy.append(organization)
                    work = mine.popleft()
                    del self._waiting[organization]
                    if mine:
                        self._waiting[organization] = mine  # behind the other organizations
                    return organization, work
            return None
