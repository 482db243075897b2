"""The one thing that a worker tells a running handler: stop."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from fairlane.engine.reports import Interruption


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


# Of all of them: each holds it for a moment, and few ever do. Again by the same thread, if the garbage collector runs
# what a handler left just then.
_lock: Final = threading.RLock()


class Interrupt:
    """Whether a handler was asked to stop, and why. Safe to use from any thread.

    Attributes:
        reason: None while nobody asked.
        was_thrown: whether the handler has felt it: `throw` was called.
    """

    # How each begins, and nearly all end: on the class, since a worker makes tens of thousands a second.
    reason: Interruption | None = None
    was_thrown = False
    _waiting: tuple[threading.Event, ...] = ()

    def set(self, reason: Interruption) -> bool:
        """Ask the handler to stop. The first reason stands; False if this was not the first."""
        with _lock:
            if self.reason is not None:
                return False
            self.reason = reason
            for event in self._waiting:
                event.set()
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the handler is asked to stop, at most `timeout` seconds; False if nobody asked."""
        with self._event() as event:
            return event.wait(timeout)

    def wait_for(self, future: "Future[Any]") -> None:
        """Wait until the future is done, or the handler is asked to stop."""
        with self._event() as event:
            future.add_done_callback(lambda _: event.set())
            event.wait()

    @contextmanager
    def _event(self) -> Iterator[threading.Event]:
        """Give an event that is set when the handler is asked to stop."""
        event = threading.Event()
        with _lock:
            if self.reason is not None:
                event.set()
            self._waiting = (*self._waiting, event)
        try:
            yield event
        finally:
            with _lock:
                self._waiting = tuple(one for one in self._waiting if one is not event)

    def throw(self) -> NoReturn:
        """Raise `Interrupted`. Takes no lock, so that a signal handler may call it; `reason` must be set."""
        assert self.reason is not None
        self.was_thrown = True
        raise Interrupted(self.reason)
