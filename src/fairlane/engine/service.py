"""The services that a worker runs repeatedly beside jobs: each is a name, an interval and a function.

If the database is away, a service retries with a growing wait, emits an event, and another one when it is back.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import NamedTuple, TypeVar

from fairlane.domain.errors import ConfigurationError, FairlaneError, StorageUnavailable
from fairlane.domain.events import Emit, ServiceFailed, StorageBack, StorageLost
from fairlane.domain.timing import NEXT_TRY

T = TypeVar("T")

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 10.0  # seconds
_LEAST = 0.6  # the least part of a wait, by chance, so that not all workers retry at once
# A wait is a multiple of the duration of two rounds. So slow rounds, as while a session holds an old snapshot, are less
# frequent, but not rarer than this many intervals, as the process itself may have been held up.
_REST, _MOST_INTERVALS = 4, 10


class Service(NamedTuple):
    """A service of a worker.

    Attributes:
        interval: seconds between rounds that found nothing to do.
        run_once: does a round, in a thread; returns how much there was to do, None if the database was not asked.
    """

    name: str
    interval: float
    run_once: Callable[[], int | None]


class Outage:
    """The waits and the events of a service during an outage of the database.

    Args:
        longest: the most seconds between two tries, if they are fewer than usual.
    """

    def __init__(self, service: str, emit: Emit, longest: float = math.inf) -> None:
        self._service = service
        self._emit = emit
        self._longest = longest
        self._wait = 0.0
        self._say_again = 0.0  # monotonic

    @property
    def is_on(self) -> bool:
        """Return True if the database was away at the last try; from any thread."""
        return self._wait > 0

    def goes_on(self, error: Exception) -> float:
        """Emit an event for another failure, less and less often, and return the seconds until the next try."""
        before, self._wait = self._wait, next_wait(self._wait)
        seconds = min(self._wait, self._longest) * random.uniform(_LEAST, 1.0)  # noqa: S311 - no secret
        now = time.monotonic()
        if self._wait > before or now >= self._say_again:
            self._say_again = now + _LONGEST_WAIT * _LEAST
            self._emit(StorageLost(self._service, str(error), seconds))
        return seconds

    def is_over(self) -> None:
        """Emit an event that the database is back, if it was away."""
        if self._wait:
            self._wait = 0.0
            self._emit(StorageBack(self._service))


def next_wait(seconds: float) -> float:
    """Return the next wait in an outage after a wait of `seconds`; 0 = there was none yet."""
    return min(max(_FIRST_WAIT, seconds * 2), _LONGEST_WAIT)


async def run_service(service: Service, threads: Executor, stopping: asyncio.Event, emit: Emit) -> None:
    """Run rounds until `stopping`. A round that found much to do is followed by the next at once."""
    outage, took = Outage(service.name, emit), 0.0
    while not stopping.is_set():
        began = time.monotonic()
        try:
            done = await in_thread(threads, service.run_once)
            # One slow round may have been held up, for example by an outage; the next round shall not wait for that.
            last, took = took, time.monotonic() - began
            rest = min(_REST * min(last, took), _MOST_INTERVALS * service.interval)
            wait = 0.0 if done else max(service.interval, rest)
            if done is not None:
                outage.is_over()
        except (StorageUnavailable, ConfigurationError) as error:
            wait = outage.goes_on(error)
        except Exception as error:  # noqa: BLE001 - one broken round must not end the service
            emit(ServiceFailed(service.name, error))
            wait = service.interval
        await wait_until(stopping, wait)


async def end_services(running: Iterable[asyncio.Task[None]], stopping: asyncio.Event) -> None:
    """Let each service end its present round; a cancellation of this cancels them."""
    stopping.set()
    await asyncio.gather(*running, return_exceptions=True)


async def try_until(until: float, work: Callable[[], Awaitable[bool]]) -> None:
    """Try until the work returns True, at least once; no other try begins after `until`, by the loop's clock.

    Raises:
        FairlaneError: the error of the last try, after which there is no time for another.
    """
    time_now, wait = asyncio.get_running_loop().time, 0.0
    while True:
        try:
            if await work():
                return
        except FairlaneError:
            if time_now() > until:
                raise
        wait = min(next_wait(wait), NEXT_TRY)
        if time_now() + wait > until:
            return
        await asyncio.sleep(wait)


async def in_thread(threads: Executor | None, work: Callable[[], T]) -> T:
    """Run blocking work in one of `threads`, None: the loop's own. A cancel does not interrupt work that began."""
    return await asyncio.get_running_loop().run_in_executor(threads, work)


async def wait_until(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for the event, at most `seconds` (None: without a limit); return whether it is set."""
    task = asyncio.current_task()
    assert task is not None
    cancels, limit = task.cancelling(), asyncio.timeout(seconds)
    try:
        async with limit:
            await event.wait()
    except TimeoutError:
        return False
    except asyncio.CancelledError:
        # Python before 3.11.3 mistakes the timeout for another cancel, if the task was cancelled before.
        if limit.expired() and task.cancelling() == cancels:
            return False
        raise
    return True
