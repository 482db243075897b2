"""The worker's own event loop, and the log lines for errors that nobody awaits.

`asyncio.run` waits for ever for tasks that swallow their cancellation; this does not. The log lines hold no words and
no values of a handler: they may belong to one organization, and the log belongs to all.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fairlane.domain.classify import without_words
from fairlane.domain.timing import TASKS_END

T = TypeVar("T")


def run(main: Callable[[], Coroutine[Any, Any, T]], goes_on: Callable[[BaseException], bool] | None = None) -> T:
    """Run `main` to its end on a new loop; then cancel the other tasks, and leave behind those that ignore it.

    Args:
        goes_on: called if not `main` ends the loop, but SystemExit or KeyboardInterrupt of another task or a callback,
            or `loop.stop()`. True: the loop goes on, and the code that awaits that task gets its error.

    Returns:
        The value that `main` returned.

    Raises:
        RuntimeError: this thread runs a loop already.
    """
    if is_running():
        raise RuntimeError(
            "An event loop runs in this thread; await the worker's run_async() or drain_async(), or use another thread."
        )
    loop = _new_loop()
    loop.set_exception_handler(tell_without_words)
    task = loop.create_task(main())
    try:
        while True:
            try:
                return loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                if goes_on is None or task.done() or loop.is_closed() or not goes_on(error):
                    raise
    except KeyboardInterrupt:
        task.cancel()
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        raise
    finally:
        left = asyncio.all_tasks(loop)
        for one in left:
            one.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=TASKS_END))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def tell_without_words(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error on the loop that nobody awaited, as asyncio does."""
    told = {
        "message": "Exception in a callback" if "handle" in context else context.get("message", "An error on the loop")
    }
    error = context.get("exception")
    loop.default_exception_handler(told if error is None else {**told, "exception": without_words(error)})


def tell_of_threads_without_words() -> None:
    """Log the failure of a handler's own thread, as Python does, with its place and class only.

    A hook of the application for such errors stays in place.
    """
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _tell_of_thread


def _tell_of_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is None or issubclass(told.exc_type, SystemExit):
        return
    error = without_words(told.exc_value)
    threading.__excepthook__(threading.ExceptHookArgs((type(error), error, error.__traceback__, told.thread)))


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop: the faster one if the extra `uvloop` is installed."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def is_running() -> bool:
    """Return True if an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
