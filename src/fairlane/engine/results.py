"""Write the outcomes of attempts in batches: the outcomes that arrive during one batch are the next batch.

Quick completions, which one statement writes together, and the other results take turns. The others are several times
as expensive, and an organization whose jobs fail by the thousand must not hold up the completions of others. Among the
other results, organizations take turns. Large results count as other results, as a megabyte takes a fifth of a second
to write.

One bad result must not stop the rest. A batch that can't be written is split until the bad result is alone. It fails
its attempt: at once if its values are at fault, else if it can't be written the next time either. A live row that
another session holds is skipped and retried. Another locked row of the job, for example an old dead letter, can't be
skipped: splitting finds the result that waits for it, and from then on that result is tried alone.

On SQLite each commit waits for the disk. There a claim takes the waiting quick completions into its transaction.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError, FairlaneError, StorageUnavailable
from fairlane.domain.events import JobEnded, ServiceFailed, hears
from fairlane.domain.outcomes import Completed, Deferred, ErrorReport, Failed, Outcome, Released, Snoozed
from fairlane.domain.statuses import PASSING, JobStatus
from fairlane.domain.timing import LOCK_WAIT_OF_ROUND, NEXT_TRY, SAY_AGAIN
from fairlane.encryption.sealing import Ring
from fairlane.engine.breakers import Tally
from fairlane.engine.deps import Deps
from fairlane.engine.reports import AttemptInputs
from fairlane.engine.service import Outage, in_thread, wait_until
from fairlane.engine.start_checks import DEFERRED, KEY_NOT_HERE
from fairlane.store.driver_errors import is_held_up, is_of_values
from fairlane.store.gathering import Savepoint
from fairlane.store.line import Line
from fairlane.store.statements.finish import Finish, Finished, complete_all, finish, tell_children

_BATCH: Final = 500  # quick completions
_WITH_CLAIM: Final = 1000  # of them in the transaction of a claim: as many as a worker of a thousand slots has at once
_MUCH: Final = 10_000  # characters of a result; a larger result waits for its organization's turn
_MOST_AT_ONCE: Final = 1_000_000  # characters of results, after which a batch takes no more
_FEW: Final = 100  # other results: some 20 ms, for which completions wait
_CLAIM_WAIT: Final = 0.1  # seconds that quick completions wait for a claim, whose transaction writes them
_LOCKED_WAIT: Final = 0.1  # seconds until a row that another session has locked is retried
_MOST_WAITS: Final = 12  # for locks, while no other result is written; enough to find one among a thousand
_HELD_WAIT: Final = 1.0  # seconds until a result that waits for such a lock is retried
_BROKEN_WAIT: Final = 10.0  # seconds until a result that can't be written is retried
_UNSTORABLE: Final = "UnstorableOutcome"
_BAD_VALUE: Final = "the database refused the handler's result: a value is too long, or a character can't be stored"
_OUR_MISTAKE: Final = "the worker could not write the outcome of the attempt; see its log"

T = TypeVar("T")
Part = Sequence[Finish]


class Results:
    """Take the outcomes of attempts, write them, and emit their events. On the loop's thread.

    Attributes:
        ended: the number of attempts by their status at the end.
        released: the number of attempts that were given back unfinished.
        tally: the counts for circuit breakers.
        changed: set whenever a result is written.

    Args:
        worker: its name, for the log.
        on_written: called for each batch; the argument says whether it may have made a job ready.
        on_broken: called when an unexpected error stops the writing of results.
    """

    def __init__(
        self,
        deps: Deps,
        worker: str,
        threads: Executor,
        on_written: Callable[[bool], object],
        on_broken: Callable[[], object],
    ) -> None:
        self.ended = Counter[JobStatus]()
        self.released = 0
        self.tally = Tally()
        self.changed = asyncio.Event()
        self._deps = deps
        self._hears = hears(deps.emit)
        self._job_types = deps.catalogue.mine
        self._are_ours = deps.are_ours
        self._worker = worker
        self._threads = threads
        self._on_written = on_written
        self._on_broken = on_broken
        self._unwritten: dict[UUID, Finish] = {}  # by lease token
        self._quick = deque[Finish]()
        self._others: dict[str, deque[Finish]] = {}  # by organization, the next one first
        self._held = deque[Part]()  # results that are written alone
        self._no_claim = asyncio.Event()  # set unless a claim is running that will write quick completions
        self._no_claim.set()
        self._loop = asyncio.get_running_loop()
        self._failed: set[UUID] = set()  # lease tokens whose result had an unexpected error
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._random = Random()  # noqa: S311 - jitter, no secret
        self._outage = Outage("finisher", deps.emit, NEXT_TRY)
        self._failed_before = False  # the statement for quick completions
        self._tell_again = 0.0  # monotonic; when the next failure may be logged
        # For quick completions. New tables were never analyzed, and then a scan looks cheap.
        session = {"lock_timeout": f"{LOCK_WAIT_OF_ROUND}s", "enable_seqscan": "off"}
        self._line = Line(deps.database, threads, session) if deps.database.kind.is_server else None

    def start(self) -> None:
        """Write from now on."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._on_gone)

    async def stop(self) -> None:
        """Write no more, except by `write_left`."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait({self._task})
        finally:
            if self._line is not None:
                await self._line.close()

    def _on_gone(self, task: asyncio.Task[None]) -> None:
        """Log the error, if the task was not stopped: without the task no slot becomes free, and no job is released."""
        error = task.exception() if not task.cancelled() else None
        self.changed.set()
        if isinstance(error, Exception):
            self._deps.emit(ServiceFailed("finisher", error))
            self._on_broken()

    def __len__(self) -> int:
        """Return the number of results that are not written yet."""
        return len(self._unwritten)

    def tokens(self) -> frozenset[UUID]:
        """Return the lease tokens of the outcomes that are not written yet; from any thread."""
        return frozenset(self._unwritten.copy())

    def add(
        self,
        inputs: AttemptInputs,
        outcome: Outcome,
        seconds: float = 0.0,
        *,
        has_checkpoint: bool = True,
        has_run: bool = False,
    ) -> None:
        """Add the outcome of an attempt, to be written."""
        item = Finish(
            inputs.organization,
            inputs.job_id,
            inputs.job_type,
            inputs.lease_token,
            outcome,
            self._job_types[inputs.job_type].options.backoff,
            self._worker,
            has_checkpoint,
            has_run,
            seconds,
        )
        self._unwritten[inputs.lease_token] = item
        self._put(item)

    async def join(self, timeout: float) -> None:
        """Wait until all results are written, or none was written for `timeout` seconds, or the task has ended."""
        while self._unwritten and self._task is not None and not self._task.done():
            self.changed.clear()
            if not await wait_until(self.changed, timeout):
                return

    async def write_left(self) -> bool:
        """Write the results that were left when it was stopped; return False if some can't be written now.

        Raises:
            StorageUnavailable, ConfigurationError: nothing can be written.
        """
        if self._unwritten:
            await self._write(list(self._unwritten.values()), is_last=True)
        return not self._unwritten

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            has_waited = not (self._no_claim.is_set() or await wait_until(self._no_claim, _CLAIM_WAIT))
            if (has_waited or self._no_claim.is_set()) and (quick := self._take_quick(_BATCH)):
                await self._complete(quick)
            if self._others:
                await self._write(self._take_others())
            if self._held:
                await self._write(self._held.popleft())
            if not (self._quick or self._others or self._held):
                self._wake.clear()

    def _put(self, item: Finish) -> None:
        if item.is_quick and _size(item) <= _MUCH:
            self._quick.append(item)
        else:
            self._others.setdefault(item.organization, deque()).append(item)
        self._wake.set()

    def _put_alone(self, *part: Finish) -> None:
        self._held.append(part)
        self._wake.set()

    def _take_quick(self, most: int) -> Part:
        """Return up to `most` quick completions and remove them, for the caller to write; from any thread."""
        taken: list[Finish] = []
        size = 0
        with suppress(IndexError):  # another thread may take them, too
            while len(taken) < most and size < _MOST_AT_ONCE:
                taken.append(self._quick.popleft())
                size += _size(taken[-1])
        return taken

    def _take_others(self) -> Part:
        taken: list[Finish] = []
        size = 0
        while self._others and len(taken) < _FEW and size < _MOST_AT_ONCE:
            organization = next(iter(self._others))
            mine = self._others.pop(organization)
            taken.append(mine.popleft())
            size += _size(taken[-1])
            if mine:
                self._others[organization] = mine  # behind the other organizations
        return taken

    async def _complete(self, batch: Part) -> None:
        """Write quick completions by one statement on the loop; those that it can't write become other results."""
        line = self._line
        if line is None:
            await self._write(batch)
            return
        try:
            rings = await self._deps.keyring.rings_on(line, {one.organization for one in batch})
            sealed = [_sealing(one, rings[one.organization]) for one in batch] if any(rings.values()) else batch
            done = await complete_all(line, [one for one in sealed if one.is_quick])
        except Exception as error:  # noqa: BLE001 - whatever it is, `finish` finds the results that cause it
            done = []
            self._on_quick_way_failed(error)
        else:
            self._failed_before = False
            # `finish` decides the results that the statement has skipped. If an earlier commit without an answer has
            # written a result, `finish` finds no row any more, and changes nothing.
            batch = [one._replace(was_left_out=True) for one in batch] if len(done) < len(batch) else batch
        if with_child := [one for one in done if one.may_make_ready]:
            try:
                await in_thread(self._threads, partial(self._tell_children, with_child))
            except FairlaneError:
                pass  # then `stage` settles the children
            except Exception as error:  # noqa: BLE001 - the outcomes are written, and later ones must be, too
                self._deps.emit(ServiceFailed("quick end", error))
        self._on_done(done)
        if len(done) < len(batch):
            await self._write([one for one in batch if one.lease_token in self._unwritten])

    def _on_quick_way_failed(self, error: Exception) -> None:
        """Log, once in a while, that the statement fails repeatedly: `finish` is several times as expensive.

        The other way reports an outage, a lock, and a value that can't be stored.
        """
        now = time.monotonic()
        if is_held_up(error) or is_of_values(error):
            return
        if self._failed_before and now >= self._tell_again:
            self._tell_again = now + SAY_AGAIN
            self._deps.emit(ServiceFailed("quick end", error))
        self._failed_before = True

    def _tell_children(self, done: Sequence[Finished]) -> None:
        """Settle the children of completed jobs, in a thread."""
        database = self._deps.database
        database.write(lambda connection: tell_children(connection, database.clock.now(connection), done))

    async def _write(self, batch: Part, *, is_last: bool = False) -> None:
        """Decide about each result and write them together, or in parts if that fails.

        Args:
            is_last: the worker leaves. Results that can't be written now are not retried.

        Raises:
            StorageUnavailable, ConfigurationError: nothing can be written, and `is_last`.
        """
        parts, waits = [batch], 0
        while parts:
            part = parts.pop()
            try:
                done = await in_thread(self._threads, partial(self._finish, part))
            except Exception as error:
                if is_held_up(error):
                    waits += 1
                    if len(part) > 1 and waits < _MOST_WAITS:
                        parts += _halves(part)
                    else:
                        self._later(part, _HELD_WAIT, self._put_alone)
                elif isinstance(error, StorageUnavailable | ConfigurationError):
                    if is_last:
                        raise
                    parts.append(part)
                    await asyncio.sleep(self._outage.goes_on(error))
                else:
                    parts += _halves(part) if len(part) > 1 else self._instead(part[0], error, is_last=is_last)
            else:
                self._outage.is_over()
                self._on_done(done)

    def _finish(self, batch: Part) -> list[Finished]:
        """Write these results, in a thread."""
        return self._deps.database.write(partial(self._end, batch), row_seconds=LOCK_WAIT_OF_ROUND)

    def _end(self, batch: Part, connection: Connection) -> list[Finished]:
        """Write these results in a transaction."""
        rings = self._deps.keyring.rings(connection, {one.organization for one in batch})
        items = [_sealing(one, rings.get(one.organization)) for one in batch] if rings else batch
        now = self._deps.database.clock.now(connection)
        return finish(connection, now, items, self._random, are_ours=self._are_ours)

    async def beside_claim(self, claim: Callable[[], T]) -> T:
        """Run a claim in a thread. On SQLite its transaction also writes quick completions: see `write_with`."""
        if self._deps.database.kind.writers_are_serial:
            self._no_claim.clear()
        try:
            return await in_thread(self._threads, claim)
        finally:
            self._no_claim.set()

    def write_with(self, work: Callable[[Connection], T]) -> T:
        """Run the work of a claim in a transaction, on SQLite with a batch of quick completions before it; in a thread.

        A result that can't be written does not undo the claim. If the claim fails, the results are written alone.

        Raises:
            StorageUnavailable, ConfigurationError, Exception: as `Database.write`.
        """
        database = self._deps.database
        batch = self._take_quick(_WITH_CLAIM) if database.kind.writers_are_serial else ()
        if not batch:
            return database.write(work)
        ends = Savepoint(partial(self._end, batch))

        def both(connection: Connection) -> T:
            ends.run(connection)
            return work(connection)

        is_written = False
        try:
            done = database.write(both)
            is_written = ends.refusal is None
        finally:
            then = partial(self._on_done, ends.result) if is_written else partial(self._put_alone, *batch)
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(then)
        return done

    def _instead(self, item: Finish, error: Exception, *, is_last: bool) -> list[Part]:
        """Return the results to write instead of a result that can't be written by itself."""
        is_bad_value = is_of_values(error)
        is_replaced = isinstance(item.outcome, Failed) and item.outcome.error.error_type == _UNSTORABLE
        if not is_replaced and (is_bad_value or (item.lease_token in self._failed and not is_last)):
            reason = _BAD_VALUE if is_bad_value else _OUR_MISTAKE
            return [[item._replace(outcome=Failed(ErrorReport(_UNSTORABLE, reason, permanent=True)))]]
        # Not even the failure can be stored, or nothing is wrong with the result: a bug of Fairlane or the database.
        self._deps.emit(ServiceFailed("finisher", error))
        self._failed.add(item.lease_token)
        self._later([item], _BROKEN_WAIT, self._put)
        return []

    def _later(self, part: Part, seconds: float, put: Callable[[Finish], None]) -> None:
        for one in part:
            asyncio.get_running_loop().call_later(seconds, put, one)

    def _on_done(self, done: Sequence[Finished]) -> None:
        """Note the results that are written, and emit their events."""
        if locked := [one.finish for one in done if one.is_locked]:
            self._later(locked, _LOCKED_WAIT, self._put)
        if len(locked) == len(done):
            return
        hears_all = self._hears(JobEnded)
        counted: list[tuple[str, str, JobStatus, float]] = []
        for one in done:
            if one.is_locked:
                continue
            item, transition = one.finish, one.transition
            if self._unwritten.pop(item.lease_token, None) is None:
                continue  # written once more as the worker left, while a claim was cut off
            if self._failed:
                self._failed.discard(item.lease_token)
            if transition is None:
                continue  # its lease token is no longer valid, or an earlier commit of this outcome took effect
            outcome, first = item.outcome, transition.steps[0].target
            # A job that is released because its key is not here never began.
            self.released += isinstance(outcome, Released) and not outcome.seconds
            if not isinstance(outcome, Failed) or outcome.is_of_handler:
                counted.append((item.organization, item.job_type, first, item.seconds))
            ended = first if transition.target is JobStatus.QUEUED else transition.target
            self.ended[ended] += 1
            met = outcome.error if isinstance(outcome, Deferred) else transition.error
            if met is not None or hears_all:
                error = met.error_type if met is not None else None
                key = item.organization, item.job_id, item.job_type
                is_back = ended is JobStatus.QUEUED
                snoozed = outcome.seconds if isinstance(outcome, Snoozed) and is_back else None
                trace = self._told_traceback(item, met) if ended is JobStatus.DEAD_LETTER else None
                before = first if first in PASSING and first is not ended else None
                told = JobEnded(*key, ended, error, item.seconds, transition.failed, snoozed, trace, before)
                self._deps.emit(told)
        self.tally.add(counted)
        self.changed.set()
        self._on_written(any(one.may_make_ready for one in done))

    def _told_traceback(self, item: Finish, error: ErrorReport | None) -> str | None:
        """Return the traceback for subscribers; None if a key seals it in the database."""
        is_told = self._deps.settings.log_tracebacks and item.seal is None
        return error.traceback if is_told and error is not None else None


def _size(item: Finish) -> int:
    """Return the number of characters of the handler's result."""
    return len(item.outcome.result or "") if isinstance(item.outcome, Completed) else 0


def _halves(part: Part) -> list[Part]:
    """Return both halves, the first half last: it is taken first."""
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _sealing(item: Finish, ring: Ring | None) -> Finish:
    """Return the result sealed by the present keys of its organization, which may have changed since its start.

    If only this process lacks the key, the job is given back, as at its start.
    """
    if ring is None:
        return item
    if ring.problem is None or (ring.is_destroyed and item.has_run):
        return item._replace(seal=partial(ring.seal, item.job_id))
    if not item.has_run:
        return item
    # The reason of a snooze can't be sealed, but its time can be kept.
    seconds = item.outcome.seconds if isinstance(item.outcome, Snoozed) else 0.0
    return item._replace(outcome=Released(KEY_NOT_HERE, max(seconds, DEFERRED)))
