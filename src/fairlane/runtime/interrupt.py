"""The one thing that a worker tells a running handler: stop."""

import threading
from concurrent.futures import Future
from typing import Any, NoReturn

from fairlane.runtime.reports import Interruption


class Interrupted(BaseException):
    """Raised in a blocking handler that was asked to stop.

    Its next call of the context raises it; a handler in a process of its own finds it raised wherever it is.
    No `Exception`, so that `except Exception` in a handler does not swallow it: clean up in `finally`, or catch it and
    raise it again. It is raised by one call; after it `ctx.log`, `ctx.checkpoint` and `ctx.artifact` work once more.

    Attributes:
        reason: "cancel", "timeout", "shutdown" or "lease lost".
    """

    def __init__(self, reason: Interruption) -> None:
        super().__init__(f"the handler was asked to stop: {reason}")
        self.reason = reason


class Interrupt:
    """Whether a handler was asked to stop, and why. Safe to use from any thread."""

    def __init__(self) -> None:
        self._event: threading.Event | None = None  # made by the first `wait`: few handlers wait
        self._others: list[threading.Event] = []  # of those who wait for something else as well
        self._lock = threading.Lock()
        self._reason: Interruption | None = None
        self._thrown = False

    @property
    def reason(self) -> Interruption | None:
        """Why, or None while nobody asked."""
        return self._reason

    @property
    def was_thrown(self) -> bool:
        """Whether the handler has felt it: `throw` was called."""
        return self._thrown

    def set(self, reason: Interruption) -> bool:
        """Ask the handler to stop. The first reason stands; False if this was not the first."""
        with self._lock:
            if self._reason is not None:
                return False
            self._reason = reason
            for event in (self._event, *self._others):
                if event is not None:
                    event.set()
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the handler is asked to stop, at most `timeout` seconds; False if nobody asked."""
        with self._lock:
            if self._reason is not None:
                return True
            self._event = event = self._event or threading.Event()
        return event.wait(timeout)

    def wait_for(self, future: "Future[Any]") -> None:
        """Wait until the future is done, or the handler is asked to stop."""
        either = threading.Event()
        with self._lock:
            if self._reason is not None:
                return
            self._others.append(either)
        try:
            future.add_done_callback(lambda _: either.set())
            either.wait()
        finally:
            self._others.remove(either)

    def throw(self) -> NoReturn:
        """Raise `Interrupted`. Takes no lock, so that a signal handler may call it; `reason` must be set."""
        assert self._reason is not None
        self._thrown = True
        raise Interrupted(self._reason)
