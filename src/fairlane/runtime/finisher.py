"""Completions are written together: whatever ended while the last batch was written is the next batch.

One bad end must not stop the rest: a batch that the database refuses is split until the bad one is alone, and that one
fails its attempt. A row that somebody else holds is left out and tried again.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from random import Random

from sqlalchemy.exc import DBAPIError

from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.domain.events import DeadLetterAlert, Emit
from fairlane.domain.outcomes import ErrorReport, Failed
from fairlane.domain.statuses import JobStatus, Resolution
from fairlane.runtime.service import Outage, in_thread
from fairlane.store.statements import dead_letters
from fairlane.store.statements.finish import Finish, Finished, finish
from fairlane.store.transaction import Database

_BATCH = 500
_LOCKED_WAIT = 0.1  # seconds before a row that somebody holds is tried again


@dataclass(frozen=True, slots=True)
class FinisherParts:
    """What a finisher works with. `alert_at`: unresolved dead letters of an organization that raise an alert."""

    database: Database
    threads: Executor
    emit: Emit
    alert_at: int
    on_finished: Callable[[Finished], None]


class Finisher:
    """Takes the ends of attempts and writes them in batches, in order of arrival."""

    def __init__(self, parts: FinisherParts) -> None:
        self._parts = parts
        self._queue: asyncio.Queue[Finish] = asyncio.Queue()
        self._random = Random()  # noqa: S311 - jitter, no secret
        self._unwritten = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._outage = Outage("finisher", parts.emit)

    def add(self, item: Finish) -> None:
        """Have it written."""
        self._unwritten += 1
        self._empty.clear()
        self._queue.put_nowait(item)

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._write(batch)

    async def join(self) -> None:
        """Wait until all that was added is written."""
        await self._empty.wait()

    async def _write(self, batch: Sequence[Finish]) -> None:
        while True:
            try:
                done = await in_thread(self._parts.threads, lambda: self.write(batch))
            except (StorageUnavailable, ConfigurationError) as error:
                await asyncio.sleep(self._outage.goes_on(error))
                continue
            self._outage.is_over()
            break
        for one in done:
            if one.is_locked:
                asyncio.get_running_loop().call_later(_LOCKED_WAIT, self._queue.put_nowait, one.finish)
                continue
            self._parts.on_finished(one)
            self._unwritten -= 1
        if self._unwritten == 0:
            self._empty.set()

    def write(self, batch: Sequence[Finish]) -> list[Finished]:
        """Write one batch, in a thread; split it where the database refuses a value in it."""
        database = self._parts.database
        try:
            done = database.write(lambda c: finish(c, database.clock.now(c), batch, self._random))
        except DBAPIError as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                return self.write(batch[:middle]) + self.write(batch[middle:])
            return self.write([_refused(batch[0], error)])
        self._alert(done)
        return done

    def _alert(self, done: Sequence[Finished]) -> None:
        """Tell once when an organization's unresolved dead letters pass the threshold (R8)."""
        buried: dict[str, int] = {}
        for one in done:
            if one.transition is not None and one.transition.target is JobStatus.DEAD_LETTER:
                buried[one.finish.organization] = buried.get(one.finish.organization, 0) + 1
        for organization, new in buried.items():
            depth = self._parts.database.read(
                lambda c, name=organization: dead_letters.count(c, name, resolution=Resolution.PENDING)  # type: ignore[misc] # a default binds the loop's name
            )
            if depth - new < self._parts.alert_at <= depth:
                self._parts.emit(DeadLetterAlert(organization, depth))


def _refused(item: Finish, error: DBAPIError) -> Finish:
    """The end of an attempt whose own end can't be stored."""
    if isinstance(item.outcome, Failed) and item.outcome.error.error_type == "UnstorableOutcome":
        raise error  # not even this can be stored, so it is not the values' fault
    reason = f"the database refused what the handler left ({type(error.orig).__name__})"
    return replace(item, outcome=Failed(ErrorReport("UnstorableOutcome", reason, permanent=True)))
