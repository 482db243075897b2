"""The loop that all services have in common."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from fairlane.domain.errors import StorageUnavailable
from fairlane.domain.events import Event, StorageBack, StorageLost
from fairlane.domain.timing import NEXT_TRY
from fairlane.engine import service
from fairlane.engine.service import Outage, Service, run_service, try_until, wait_until
from tests.engine.worker_store import Monotonic
from tests.patience import PATIENCE


async def test_a_service_whose_looks_are_slow_takes_a_fifth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes so long while some session holds an old snapshot.

    The pause is ten intervals at most, as perhaps the process stood still. A single long look changes nothing, as an
    outage may have held it up: a lost worker's jobs waited for that much longer.
    """
    clock, stopping, waits = Monotonic(), asyncio.Event(), list[float]()
    takes = iter([60.0, 0.1, 2.0, 2.0, 60.0, 60.0])

    def look() -> int:
        clock.now += next(takes)
        return 0

    async def wait_until(_event: asyncio.Event, seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 6:
            stopping.set()
        return stopping.is_set()

    monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(service, "wait_until", wait_until)
    with ThreadPoolExecutor(1) as threads:
        await run_service(Service("looking", 1.0, look), threads, stopping, lambda _: None)
    assert waits == [1.0, 1.0, 1.0, 8.0, 8.0, 10.0]


def test_what_jobs_wait_for_is_tried_each_second_however_long_the_database_was_away_and_told_of_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, told = Monotonic(), list[Event]()
    monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=clock))
    outage = Outage("finisher", told.append, NEXT_TRY)
    for _ in range(120):
        waited = outage.goes_on(StorageUnavailable("It is away."))
        assert 0.0 < waited <= NEXT_TRY
        clock.now += waited
    assert {type(one) for one in told} == {StorageLost}
    assert 12 <= len(told) <= 24
    outage.is_over()
    assert isinstance(told.pop(), StorageBack)
    outage.goes_on(StorageUnavailable("It is away."))
    assert isinstance(told.pop(), StorageLost)


async def test_who_was_cancelled_before_waits_as_long_as_anybody_and_no_longer() -> None:
    """Python before 3.11.3 took the end of the wait for another cancel, and a worker did not leave in order."""
    waits = asyncio.Event()

    async def leaving() -> bool:
        try:
            waits.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await wait_until(asyncio.Event(), 0.01)
        return True

    task = asyncio.create_task(leaving())
    await waits.wait()
    task.cancel()
    assert await task is False


async def test_a_wait_that_is_cancelled_ends_as_cancelled() -> None:
    task = asyncio.create_task(wait_until(asyncio.Event(), PATIENCE))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


Answers = list[bool | Exception]


async def tried(answers: Answers, seconds: float) -> Answers:
    """Return the answers that are left after tries for so many seconds."""

    async def work() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    await try_until(asyncio.get_running_loop().time() + seconds, work)
    return answers


async def test_what_fails_for_a_moment_is_tried_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_FIRST_WAIT", 0.001)
    assert await tried([False, StorageUnavailable("It broke."), True, True], PATIENCE) == [True]


async def test_once_the_time_is_over_nothing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await tried([False, True], -1.0) == [True]
    monkeypatch.setattr(service, "NEXT_TRY", PATIENCE)
    monkeypatch.setattr(service, "next_wait", lambda _: 2 * PATIENCE)
    assert await tried([StorageUnavailable("It broke."), True], PATIENCE / 2) == [True]


async def test_within_its_time_it_is_tried_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart of the database takes some three seconds, of which the longer waits would leave the last two out."""
    slept = list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(service, "asyncio", SimpleNamespace(get_running_loop=asyncio.get_running_loop, sleep=sleep))
    assert await tried([False, False, False, False, False, True], PATIENCE) == []
    assert slept == [0.25, 0.5, 1.0, 1.0, 1.0]


async def test_a_database_that_was_silent_until_the_time_was_over_is_asked_for_nothing_else() -> None:
    with pytest.raises(StorageUnavailable):
        await tried([StorageUnavailable("It did not answer.")], -1.0)
