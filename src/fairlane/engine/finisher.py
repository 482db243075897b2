"""Ends are written together: whatever came while the last batch was written is the next batch.

Plain completions and the other ends take turns: those are dearer to write, and whoever fails by the thousand must not
hold up what others complete. Among the other ends organizations take turns.

One bad end must not stop the rest: a batch that can't be written is split until the bad one is alone, and that one
fails its attempt; at once where its values are at fault, else if it can't be written the next time either. A live row
that somebody else holds is left out and tried again. A row beside it, such as a dead letter of the job's former life,
can't be left out: the end that waits for it is found by splitting, too, and from then on tried alone.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError, FairlaneError, StorageUnavailable
from fairlane.domain.events import Emit, ServiceFailed
from fairlane.domain.outcomes import Completed, ErrorReport, Failed, Released, Snoozed
from fairlane.engine.facts import KEY_NOT_HERE
from fairlane.engine.service import SOON, Outage, in_thread, wait_until
from fairlane.engine.verdict import DEFERRED
from fairlane.registry.keyring import Keyring
from fairlane.registry.sealing import Ring
from fairlane.store.driver_errors import is_held_up, is_of_values
from fairlane.store.line import Line
from fairlane.store.statements.finish import Finish, Finished, complete_all, finish, tell_children
from fairlane.store.transaction import Database

_BATCH: Final = 500  # plain completions
_MOST_AT_ONCE: Final = 1_000_000  # characters of results, for which the loop stands a hundredth of a second
_FEW: Final = 100  # other ends: some 20 ms, for which completions wait
_LOCKED_WAIT: Final = 0.1  # seconds before a row that somebody holds is tried again
# Meanwhile no other end is written, so it is short; so is the time that splitting may take altogether.
_PATIENCE: Final = 0.1  # seconds for a lock beside a live row
_MOST_WAITS: Final = 12  # enough to find one among a thousand
_HELD_WAIT: Final = 1.0  # seconds before an end that such a lock holds up is tried again
_BROKEN_WAIT: Final = 10.0  # seconds before an end that can't be written is tried again
_TELL_AGAIN: Final = 60.0  # seconds
_UNSTORABLE: Final = "UnstorableOutcome"
_BAD_VALUE: Final = (
    "the database refused what the handler left: a value that is too long, or a character that can't be stored"
)
_OUR_MISTAKE: Final = "the worker could not write how the attempt ended; see its log"


@dataclass(frozen=True, slots=True)
class FinisherParts:
    """What a finisher works with. `on_finished` is called, on the loop's thread, for each end that is written, with the
    end as it was written.
    """

    database: Database
    threads: Executor
    emit: Emit
    on_finished: Callable[[Finished], None]
    keyring: Keyring = field(default_factory=Keyring)
    are_ours: bool = True  # whether organizations are in Fairlane's own directory


class Turns:
    """Ends that wait; organizations take turns."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Finish]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, item: Finish) -> None:
        """Behind the others of its organization."""
        self._waiting.setdefault(item.organization, deque()).append(item)

    def take(self, most: int) -> list[Finish]:
        """Up to so many."""
        taken: list[Finish] = []
        while self._waiting and len(taken) < most:
            organization = next(iter(self._waiting))
            mine = self._waiting.pop(organization)
            taken.append(mine.popleft())
            if mine:
                self._waiting[organization] = mine  # behind the other organizations
        return taken


class Finisher:
    """Takes the ends of attempts and writes them in batches."""

    def __init__(self, parts: FinisherParts) -> None:
        self._parts = parts
        self._plain: list[Finish] = []
        self._others = Turns()
        self._held: deque[Finish] = deque()  # to be tried alone
        self._wake = asyncio.Event()
        self._random = Random()  # noqa: S311 - jitter, no secret
        self._unwritten: dict[UUID, Finish] = {}  # by lease
        self._failed: set[UUID] = set()  # leases whose end could not be written by a mistake
        self._written = asyncio.Event()  # something was
        self._outage = Outage("finisher", parts.emit, SOON)
        self._failed_before = False  # the one statement for plain completions
        self._tell_again = 0.0  # monotonic; not before, that it fails
        # For plain completions. New tables were never analyzed, and then a scan looks cheap.
        session = {"lock_timeout": f"{_PATIENCE}s", "enable_seqscan": "off"}
        self._line = Line(parts.database, parts.threads, session) if parts.database.is_postgres else None

    def add(self, item: Finish) -> None:
        """Have it written."""
        self._unwritten[item.lease_token] = item
        self._put(item)

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            await self._wake.wait()
            plain, self._plain = self._plain[:_BATCH], self._plain[_BATCH:]
            if plain:
                await self._complete(plain)
            others = self._others.take(_FEW)
            if others:
                await self._write(others)
            if self._held:
                await self._write([self._held.popleft()])
            if not (self._plain or self._others or self._held):
                self._wake.clear()

    async def close(self) -> None:
        """Close the connection of the loop; nothing is completed any more."""
        if self._line is not None:
            await self._line.close()

    def _put(self, item: Finish) -> None:
        if item.is_plain:
            self._plain.append(item)
        else:
            self._others.add(item)
        self._wake.set()

    async def join(self, patience: float | None = None) -> None:
        """Wait until all that was added is written, or nothing was for `patience` seconds."""
        while self._unwritten and await wait_until(self._written, patience):
            self._written.clear()

    async def write_left(self) -> bool:
        """Write what `run` had not written when it was cancelled; False if something can't be written now.

        Raises:
            StorageUnavailable, ConfigurationError: nothing can be.
        """
        parts: list[Sequence[Finish]] = [list(self._unwritten.values())] if self._unwritten else []
        waits = 0
        while parts:
            part = parts.pop()
            try:
                self._tell(await in_thread(self._parts.threads, partial(self._finish, part)))
            except Exception as error:
                if is_held_up(error):
                    waits += 1
                    parts += _halves(part) if len(part) > 1 and waits < _MOST_WAITS else []
                elif isinstance(error, StorageUnavailable | ConfigurationError):
                    raise
                elif len(part) > 1 or is_of_values(error):
                    parts += self._smaller(part, error)
                else:  # nothing may be wrong with it, and there is no time to find out: it is given back
                    self._parts.emit(ServiceFailed("finisher", error))
        return not self._unwritten

    async def _complete(self, batch: Sequence[Finish]) -> None:
        """Write plain ends by one statement on the loop; what it can't write goes the way of the others."""
        organizations = {one.organization for one in batch}
        line, rings = self._line, self._parts.keyring.kept(organizations)
        if line is None or len(rings) < len(organizations) or _size(batch) > _MOST_AT_ONCE:
            await self._write(batch)
            return
        sealed = [_sealing(one, rings[one.organization]) for one in batch] if any(rings.values()) else batch
        try:
            done = await complete_all(line, [one for one in sealed if one.is_plain])
        except Exception as error:  # noqa: BLE001 - whatever it is, the other way finds out for which ends
            done = []
            self._on_quick_end_failed(error)
        else:
            self._failed_before = False
        if with_child := [one for one in done if one.may_free]:
            with suppress(FairlaneError):  # then `stage` tells them
                await in_thread(self._parts.threads, partial(self._tell_children, with_child))
        self._tell(done)
        if len(done) < len(batch):
            written = {one.finish.lease_token for one in done}
            await self._write([one for one in batch if one.lease_token not in written])

    def _on_quick_end_failed(self, error: Exception) -> None:
        """Tell, once in a while, where it fails again and again: the other way is several times dearer.

        Of an outage, a lock and a value that can't be stored the other way tells.
        """
        now = time.monotonic()
        if is_held_up(error) or is_of_values(error):
            return
        if self._failed_before and now >= self._tell_again:
            self._tell_again = now + _TELL_AGAIN
            self._parts.emit(ServiceFailed("quick end", error))
        self._failed_before = True

    def _tell_children(self, done: Sequence[Finished]) -> None:
        """In a thread."""
        database = self._parts.database
        database.write(lambda connection: tell_children(connection, database.clock.now(connection), done))

    async def _write(self, batch: Sequence[Finish]) -> None:
        parts, waits = [batch], 0
        while parts:
            part = parts.pop()
            try:
                done = await in_thread(self._parts.threads, partial(self._finish, part))
            except (StorageUnavailable, ConfigurationError) as error:
                if is_held_up(error):
                    waits += 1
                    parts += self._apart(part) if waits < _MOST_WAITS else self._put_off(part)
                    continue
                parts.append(part)
                await asyncio.sleep(self._outage.goes_on(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up the other ends
                parts += self._smaller(part, error)
            else:
                self._outage.is_over()
                self._tell(done)

    def _finish(self, batch: Sequence[Finish]) -> list[Finished]:
        """In a thread."""
        database, keyring = self._parts.database, self._parts.keyring

        def work(connection: Connection) -> list[Finished]:
            rings = keyring.rings(connection, {one.organization for one in batch})
            items = [_sealing(one, rings.get(one.organization)) for one in batch] if rings else batch
            now = database.clock.now(connection)
            return finish(connection, now, items, self._random, are_ours=self._parts.are_ours)

        # SQLite has one lock for all, so nothing is won by splitting.
        return database.write(work, lock_seconds=_PATIENCE if database.is_postgres else None)

    def _smaller(self, part: Sequence[Finish], error: Exception) -> list[Sequence[Finish]]:
        """What to write instead of a part that could not be written."""
        if len(part) > 1:
            return _halves(part)
        (item,) = part
        is_bad_value = is_of_values(error)
        if not _is_replaced(item) and (is_bad_value or item.lease_token in self._failed):
            return [[_refused(item, _BAD_VALUE if is_bad_value else _OUR_MISTAKE)]]
        # Not even that can be stored, or nothing is wrong with it: a mistake of ours, or of the database.
        self._parts.emit(ServiceFailed("finisher", error))
        self._failed.add(item.lease_token)
        self._later(item, _BROKEN_WAIT)
        return []

    def _apart(self, part: Sequence[Finish]) -> list[Sequence[Finish]]:
        """What to write instead of a part that a lock holds up."""
        return _halves(part) if len(part) > 1 else self._put_off(part)

    def _put_off(self, part: Sequence[Finish]) -> list[Sequence[Finish]]:
        """Have each tried alone, later; nothing is left to write."""
        asyncio.get_running_loop().call_later(_HELD_WAIT, self._put_alone, part)
        return []

    def _put_alone(self, part: Sequence[Finish]) -> None:
        self._held += part
        self._wake.set()

    def _tell(self, done: Sequence[Finished]) -> None:
        for one in done:
            if one.is_locked:
                self._later(one.finish, _LOCKED_WAIT)
                continue
            if self._failed:
                self._failed.discard(one.finish.lease_token)
            try:
                self._parts.on_finished(one)
            except Exception as error:  # noqa: BLE001 - it is written, and those behind it have to be, too
                self._parts.emit(ServiceFailed("finisher", error))
            del self._unwritten[one.finish.lease_token]
            self._written.set()

    def _later(self, item: Finish, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._put, item)


def _size(batch: Sequence[Finish]) -> int:
    """How many characters of results they leave."""
    return sum(len(one.outcome.result or "") for one in batch if isinstance(one.outcome, Completed))


def _halves(part: Sequence[Finish]) -> list[Sequence[Finish]]:
    """The first half last: it is taken first."""
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _sealing(item: Finish, ring: Ring | None) -> Finish:
    """The end as it may be written, by the keys that its organization has now, and not by those of its beginning.

    Where only this process lacks the key the job is given back, as when that is seen at its start.
    """
    if ring is None:
        return item
    if ring.problem is None or (ring.is_destroyed and item.has_run):
        return item._replace(seal=partial(ring.seal, item.job_id))
    if not item.has_run:
        return item
    # The reason of a snooze can't be kept, its time can.
    seconds = item.outcome.seconds if isinstance(item.outcome, Snoozed) else 0.0
    return item._replace(outcome=Released(KEY_NOT_HERE, max(seconds, DEFERRED)))


def _is_replaced(item: Finish) -> bool:
    return isinstance(item.outcome, Failed) and item.outcome.error.error_type == _UNSTORABLE


def _refused(item: Finish, reason: str) -> Finish:
    """The end of an attempt whose own end can't be stored."""
    return item._replace(outcome=Failed(ErrorReport(_UNSTORABLE, reason, permanent=True)))
