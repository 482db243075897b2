"""What a worker does again and again beside running jobs: each service is a name, an interval and a function.

A service whose database is away keeps trying with a growing wait, says so, and says when it is back.
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
_LEAST = 0.6  # of a wait, by chance, so that not all workers come at once
# Times what two rounds took: looks that are dear, as while some session holds an old snapshot, are taken less often,
# but no more rarely than this many intervals, as it may have been the process that was held up.
_REST, _MOST_INTERVALS = 4, 10


class Service(NamedTuple):
    """One of these.

    Attributes:
        interval: seconds between rounds that found nothing to do.
        run_once: does one round, in a thread; returns how much there was to do, None if the database was not asked.
    """

    name: str
    interval: float
    run_once: Callable[[], int | None]


class Outage:
    """The waits of one service during an outage of the database, and what it says about it.

    Args:
        longest: seconds between two tries, at most, where that is to be less than usual.
    """

    def __init__(self, service: str, emit: Emit, longest: float = math.inf) -> None:
        self._service = service
        self._emit = emit
        self._longest = longest
        self._wait = 0.0
        self._say_again = 0.0  # monotonic

    def goes_on(self, error: Exception) -> float:
        """Tell of another failure, less and less often, and return the seconds to wait before the next try."""
        before, self._wait = self._wait, next_wait(self._wait)
        seconds = min(self._wait, self._longest) * random.uniform(_LEAST, 1.0)  # noqa: S311 - no secret
        now = time.monotonic()
        if self._wait > before or now >= self._say_again:
            self._say_again = now + _LONGEST_WAIT * _LEAST
            self._emit(StorageLost(self._service, str(error), seconds))
        return seconds

    def is_over(self) -> None:
        """Say that the database is back, if it was away."""
        if self._wait:
            self._wait = 0.0
            self._emit(StorageBack(self._service))


def next_wait(seconds: float) -> float:
    """Return how long to wait in an outage after a wait of `seconds`; 0 = there was none yet."""
    return min(max(_FIRST_WAIT, seconds * 2), _LONGEST_WAIT)


async def run_service(service: Service, threads: Executor, stopping: asyncio.Event, emit: Emit) -> None:
    """Run rounds until `stopping`. A round that found much to do is followed by the next at once."""
    outage, took = Outage(service.name, emit), 0.0
    while not stopping.is_set():
        began = time.monotonic()
        try:
            done = await in_thread(threads, service.run_once)
            # One dear round may have been held up, as by an outage, after which nothing shall wait the longer.
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
    """Let them end the round that each is in; who cancels this cancels them."""
    stopping.set()
    await asyncio.gather(*running, return_exceptions=True)


async def try_until(until: float, work: Callable[[], Awaitable[bool]]) -> None:
    """Try until it says that it is done, at least once; no other try begins after `until`, by the loop's clock.

    Raises:
        FairlaneError: of a try that took until then: there is no hope of another.
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
    """Run blocking work in one of `threads`, None: the loop's own. Cancelling does not interrupt what has begun."""
    return await asyncio.get_running_loop().run_in_executor(threads, work)


async def wait_until(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for the event, but no longer than `seconds` (None: however long); whether it is set."""
    task = asyncio.current_task()
    assert task is not None
    cancels, limit = task.cancelling(), asyncio.timeout(seconds)
    try:
        async with limit:
            await event.wait()
    except TimeoutError:
        return False
    except asyncio.CancelledError:
        # Python before 3.11.3 takes the timeout of a task that was cancelled before for another cancel.
        if limit.expired() and task.cancelling() == cancels:
            return False
        raise
    return True
