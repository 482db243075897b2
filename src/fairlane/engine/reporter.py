"""The reporter: it writes the progress, log lines, checkpoints and artifacts of a running attempt to the database.

Of several progress reports the latest wins: the first is written at once, then at most one per interval, the last
always. All other reports are written at once, in order. Every write names the lease token, so it may be repeated
after a commit without an answer. In an outage of the database all reports wait in their order. A handler that waits for
a checkpoint or an artifact waits too, until it is asked to stop. On SQLite this handler's own transaction may keep the
database locked, and nobody else can write until it ends. So a handler waits for SQLite's lock for a while only.

No organization holds up another. They take turns in the threads that write, and files have threads of their own. No
thread waits for a row that another session holds: the write is retried later, as in an outage.

A handler may log in a loop. So one transaction writes a hundred reports at most, and then others have the locks for as
long as it took, up to a tenth of a second. When a thousand reports wait, the next line waits for them; an async handler
has to await it, and nothing more is read from a process. If the handler does not wait, ten thousand lines are kept at
most, and a line says how many were omitted. This also bounds memory: a text counts as one more report for each 2,000
bytes.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from types import UnionType
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Connection

from fairlane.domain.errors import FairlaneError, PermanentError, StorageUnavailable, TransientError
from fairlane.domain.events import JobProgressed
from fairlane.domain.sealing import Field, Seal
from fairlane.domain.timing import LOCK_WAIT_OF_ROUND, NEXT_TRY
from fairlane.encryption.artifacts import GivenFile, StoredFile, path_of, store_file, stream_file
from fairlane.encryption.sealing import Ring
from fairlane.engine.deps import Deps
from fairlane.engine.reports import AttemptInputs, Checkpoint, File, LoggedLine, Progress, Report
from fairlane.engine.service import next_wait
from fairlane.store.driver_errors import is_held_up, is_locked
from fairlane.store.shared_threads import SharedThreads
from fairlane.store.statements import attempts, doomed_files
from fairlane.store.statements.attempts import AttemptKey

T = TypeVar("T")

# The least seconds for which a checkpoint or a file waits for SQLite's lock: after them, an application's own
# transactions have ended.
_LONGEST_LOCK: Final = 20.0
_BATCH: Final = 100  # reports of one transaction
_REST: Final = 0.1  # the most seconds between two full transactions
_ROOM: Final = 1_000  # waiting reports: from here on a line is done when it is written
_MOST_WAITING: Final = 10_000  # waiting reports: from here on lines are omitted
_LONG: Final = 2_000  # bytes: a text counts as one more report for each so many
_OVER: Final = "This attempt is over; nothing more is kept for it."
_MOST_FILES: Final = (
    f"This job has {attempts.MOST_ARTIFACTS:,} files, which is the most that a job may leave; "
    "put files that belong together into one, for example a zip archive."
)
_NO_THREAD: Final = (
    "The worker's threads for checkpoints and files were busy until the job's timeout was over. "
    "If this goes on, run more workers."
)


@dataclass(slots=True, eq=False)
class UnwrittenReport:
    """A report that waits to be written.

    Attributes:
        done: resolved once it is written.
        stored: its file, once that is uploaded: after a failed write it is not uploaded again.
        key: the version of the key under which the file is stored.
    """

    report: Report
    done: "Future[Any]"
    stored: StoredFile | None = None
    key: int | None = None

    @property
    def weight(self) -> int:
        """Return the number of reports that it counts as."""
        match self.report:
            case LoggedLine(_, text) | Checkpoint(text):
                return 1 + sys.getsizeof(text) // _LONG
        return 1


class LeaseLostError(FairlaneError):
    """The attempt is over, here or altogether: nothing more is written for it."""


class AttemptChannel:
    """The channel of an attempt, made for its first report. `send` may be called from any thread and never blocks.

    Args:
        threads: the threads that write rows.
        file_threads: the threads that store files, and write their rows.
        on_lost: called from a thread, with the lease token, when a write finds that it is no longer valid.
    """

    def __init__(
        self,
        deps: Deps,
        inputs: AttemptInputs,
        threads: SharedThreads,
        file_threads: SharedThreads,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[UUID], None],
    ) -> None:
        self.has_checkpoint = False  # the handler sent a checkpoint, whether or not it was written
        self._deps = deps
        self._inputs = inputs
        self._key = AttemptKey(inputs.organization, inputs.job_id, inputs.lease_token)
        self._threads = threads
        self._file_threads = file_threads
        self._loop = loop
        self._on_lost = on_lost
        self._writer = threading.Lock()  # locked during a write: reports are written in order
        self._lock = threading.Lock()  # for the attributes below
        self._waiting: list[UnwrittenReport] = []
        self._weight = 0  # of these
        self._writing: Sequence[UnwrittenReport] = ()
        self._left_out = 0  # lines omitted since the last line that was taken
        self._latest: Progress | None = None
        self._names = set[str]()  # of the job's files, once it has a file
        self._outage: StorageUnavailable | None = None  # the error of the last write
        self._held_since: float | None = None  # since then each write found the row or the database locked
        self._is_held_up = False  # for so long that the handler's own transaction may be the reason
        self._wait = 0.0  # seconds to the next try in an outage
        self._last_progress = self._not_before = float("-inf")
        self._scheduled: Future[bool] | None = None  # the next write, until it is done
        self._has_timer = self._is_shut = False

    def send(self, report: Report) -> "Future[Any]":
        """Take a report; the future is done when it is written. The future of a progress is done at once: a later
        progress may take its place. So is that of a line, as long as not too many reports wait.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._is_shut:
                future.set_exception(LeaseLostError(_OVER))
                return future
            if isinstance(report, Progress):
                self._latest = report
            elif isinstance(report, LoggedLine) and (self._left_out or self._weight >= _MOST_WAITING):
                self._left_out += 1
                future.set_result(None)
            else:
                if isinstance(report, LoggedLine) and (self._is_held_up or not self.is_full):
                    future.set_result(None)
                self.has_checkpoint |= isinstance(report, Checkpoint)
                self._append(UnwrittenReport(report, future))
            self._schedule()
        if isinstance(report, Progress):
            future.set_result(None)
            job = self._inputs
            self._deps.emit(JobProgressed(job.organization, job.job_id, job.job_type, report.percent, report.message))
        return future

    def read_artifact(self, parent_id: UUID, name: str) -> Iterator[bytes]:
        """Return the bytes of a parent's artifact in pieces. Blocks. Raises StorageUnavailable if it is not there."""
        deps, inputs = self._deps, self._inputs
        path, size = next(parent.artifacts[name] for parent in inputs.parents if parent.id == parent_id)
        try:
            return stream_file(deps.artifacts, deps.keyring, deps.database, inputs.organization, path, size, 0, size)
        except FileNotFoundError as error:
            raise StorageUnavailable(
                f"The file {name!r} of job {parent_id} is not in this worker's artifact storage. If this goes on, "
                "check its artifacts_url and that the volume is mounted."
            ) from error

    @property
    def is_full(self) -> bool:
        """Return True if so many reports wait that a line waits, too."""
        return self._weight >= _ROOM

    @property
    def outage(self) -> StorageUnavailable | None:
        """Return the error that keeps a handler waiting for a report; None if none waits, or it is being written."""
        with self._lock:
            left = [one.report for one in (*self._writing, *self._waiting) if not one.done.done()]
            if not left:
                return None
            waits_for_thread = any(
                isinstance(one, Checkpoint | File) for one in left
            )  # a large number of lines waits for earlier lines
            has_no_thread = waits_for_thread and self._scheduled is not None and not self._writing
            return self._outage or (StorageUnavailable(_NO_THREAD) if has_no_thread else None)

    def shut(self) -> bool:
        """Take no more reports; return True if all are written, or given up."""
        with self._lock:
            self._is_shut = True
            if self._scheduled is not None and self._scheduled.cancel():
                self._scheduled = None
            return not (self._waiting or self._latest or self._scheduled)

    async def close(self) -> None:
        """Take no more reports, and write the rest, however long the database is away."""
        self.shut()

        def write() -> asyncio.Future[bool]:
            return asyncio.wrap_future(self._scheduled or self._submit(last=True))

        while not await write():  # noqa: ASYNC110 - no event says that a database is back
            await asyncio.sleep(self._wait)

    def _append(self, report: UnwrittenReport) -> None:
        """Append it to the waiting reports; under the lock."""
        self._waiting.append(report)
        self._weight += report.weight

    def _schedule(self) -> None:
        """Let a thread write the reports that are due, or check again when they are due; under the lock."""
        if self._scheduled or self._is_shut or not (self._waiting or self._latest):
            return
        due = self._not_before if self._waiting else max(self._not_before, self._progress_due())
        wait = due - time.monotonic()
        if wait <= 0:
            self._scheduled = self._submit(last=False)
        elif not self._has_timer:
            self._has_timer = True
            self._loop.call_soon_threadsafe(self._loop.call_later, wait, self._on_time)

    def _submit(self, *, last: bool) -> "Future[bool]":
        """Let a thread write the next file, or a batch of the reports before it."""
        is_file = any(isinstance(one.report, File) for one in self._waiting[:1])
        threads = self._file_threads if is_file else self._threads
        return threads.submit([self._inputs.organization], partial(self.write_waiting, is_file=is_file, last=last))

    def _progress_due(self) -> float:
        return self._last_progress + self._deps.settings.progress_interval

    def _on_time(self) -> None:
        with self._lock:
            self._has_timer = False
            self._schedule()

    def write_waiting(self, *, is_file: bool, last: bool) -> bool:
        """Write a batch of due reports, in a thread; the `last` one with the last progress. False if more are left.

        Args:
            is_file: write the next file. Else write the reports before the next file.
        """
        with self._writer:
            error = self._write_due(is_file=is_file, last=last)
        return error is None and not (self._waiting or self._latest)

    def write_left(self) -> bool:
        """Write all reports but files, as the worker leaves, in a thread.

        False: not now, as another session holds the live row, or another thread writes, perhaps a large file.

        Raises:
            StorageUnavailable: the database is away.
        """
        if not self._writer.acquire(blocking=False):
            return False
        try:
            self.give_up(File)  # of a handler that was stopped: a handler that returned has waited for its files
            error = self._write_due(is_file=False, last=True)
            for _ in range(self._weight // _BATCH + 1):
                error = error or self._write_due(is_file=False, last=True)
        finally:
            self._writer.release()
        if error is not None and not is_held_up(error):
            raise error
        return error is None and not self._waiting

    def give_up(self, kind: type | UnionType = object, why: Exception | None = None) -> None:
        """Fail the waiting reports of this kind with the reason `why`; None: because the attempt is over."""
        with self._lock:
            given_up = [one for one in self._waiting if isinstance(one.report, kind)]
            self._waiting = [one for one in self._waiting if not isinstance(one.report, kind)]
            self._weight -= _weight(given_up)
        _tell(given_up, why or LeaseLostError(_OVER))

    def _write_due(self, *, is_file: bool, last: bool) -> StorageUnavailable | None:
        """Write, and return the error if it could not be written."""
        with self._lock:
            batch = self._waiting[:1] if is_file else self._before_file()
            weight = _weight(batch)
            self._writing, self._waiting = batch, self._waiting[len(batch) :]
            self._weight -= weight
            progress = None if is_file else self._take_progress(last=last)
        began = time.monotonic()
        error = self._write(batch, progress)
        with self._lock:
            self._writing, self._outage, self._scheduled = (), error, None
            if error is not None:
                self._waiting = [*batch, *self._waiting]
                self._weight += _weight(batch)
                self._latest = self._latest or progress
                self._wait = min(next_wait(self._wait), NEXT_TRY)
            else:
                self._say_what_is_left_out()
                self._wait = min(time.monotonic() - began, _REST) if weight >= _BATCH else 0.0
            self._not_before = time.monotonic() + self._wait
            self._schedule()
            left = list(self._waiting) if error is not None else []
        if error is not None and self._is_shut:
            # The reports are still written; but a handler that was left behind shall not wait for them.
            _tell(left, error)
        self._bound_lock(error, began)
        return error

    def _before_file(self) -> list[UnwrittenReport]:
        """Return the reports before the next file, as many as a transaction writes; under the lock."""
        batch, weight = list[UnwrittenReport](), 0
        for one in self._waiting:
            if weight >= _BATCH or isinstance(one.report, File):
                break
            batch.append(one)
            weight += one.weight
        return batch

    def _say_what_is_left_out(self) -> None:
        """Add a line that says how many lines were omitted; under the lock."""
        if not self._left_out:
            return
        why = (
            f"{self._left_out} lines were omitted here: they came faster than they were written. "
            "In an async handler, await ctx.log(…)."
        )
        written: Future[Any] = Future()
        written.set_result(None)
        self._append(UnwrittenReport(LoggedLine("warning", why), written))
        self._left_out = 0

    def _bound_lock(self, error: StorageUnavailable | None, began: float) -> None:
        """End a handler's long wait for a lock: its own transaction may have the lock, and ends only after the wait.

        The reports that it waits for fail once SQLite has been locked for too long. It waits no more for its lines.

        Args:
            error: the error of the write that `began` then.
        """
        if error is None or not (is_held_up(error) or is_locked(error)):
            self._held_since, self._is_held_up = None, False
            return
        self._held_since = self._held_since or began
        held, lock_seconds = time.monotonic() - self._held_since, self._deps.database.lock_seconds
        if held >= lock_seconds:
            with self._lock:
                self._is_held_up = True
                lines = [one for one in self._waiting if isinstance(one.report, LoggedLine)]
            _tell(lines)
        longest = max(_LONGEST_LOCK, 2 * lock_seconds)
        if not self._is_shut and is_locked(error) and held >= longest:
            why = (
                f"The database has been locked for {longest:g} s. If this handler has a transaction open, commit it "
                "before ctx.checkpoint or ctx.artifact; SQLite has one writer."
            )
            self.give_up(Checkpoint | File, TransientError(why))
            self._held_since = None

    def _take_progress(self, *, last: bool) -> Progress | None:
        if not last and self._progress_due() > time.monotonic():
            return None
        progress, self._latest = self._latest, None
        if progress is not None:
            self._last_progress = time.monotonic()
        return progress

    def _write(self, batch: list[UnwrittenReport], progress: Progress | None) -> StorageUnavailable | None:
        """Write a batch, and keep in it the reports to write again after the error that is returned."""
        if not batch and progress is None:
            return None
        error: Exception | None = None
        try:
            if not self._store_and_insert(batch, progress):
                self._on_lost(self._inputs.lease_token)
                error = LeaseLostError("This job was given to another worker; stop, nothing more is kept.")
        except StorageUnavailable as outage:
            return outage
        except Exception as mistake:  # noqa: BLE001 - it belongs to the handler that waits for the report
            error = mistake
        _tell(batch, error)
        return None

    def _store_and_insert(self, batch: list[UnwrittenReport], progress: Progress | None) -> bool:
        """Return True if the lease token was valid; otherwise nothing was written."""
        has_files = any(isinstance(one.report, File) for one in batch)
        while True:
            ring = self._ring() if has_files else None
            self._store_files(batch, ring)
            is_held = self._commit(partial(self._insert, batch=batch, under=ring, progress=progress))
            if is_held is not None:
                return is_held

    def _commit(self, work: Callable[[Connection], T]) -> T:
        return self._deps.database.write(work, row_seconds=LOCK_WAIT_OF_ROUND)

    def _store_files(self, batch: list[UnwrittenReport], ring: Ring | None) -> None:
        """Upload the files of a batch. A file that the storage refuses fails by itself, and leaves the batch."""
        key = ring.active if ring is not None else None
        for one in tuple(batch):
            report = one.report
            if not isinstance(report, File) or (one.stored is not None and one.key == key):
                continue
            refusal: Exception | None = None if self._may_leave(report.name) else PermanentError(_MOST_FILES)
            if refusal is None:
                file_id, path = self._announce()
                file = GivenFile(report.name, report.data, report.content_type)
                try:
                    one.stored, one.key = store_file(self._deps.artifacts, file_id, path, file, ring), key
                    self._names.add(report.name)
                    continue
                except Exception as error:  # noqa: BLE001 - it belongs to the handler that waits for the file
                    refusal = error
            batch.remove(one)
            _tell([one], refusal)

    def _may_leave(self, name: str) -> bool:
        """Return False if the job already has the most files allowed, and no file of this name."""
        if not self._names:
            self._names = self._deps.database.read(lambda c: attempts.names_of_artifacts(c, self._key))
        return name in self._names or len(self._names) < attempts.MOST_ARTIFACTS

    def _announce(self) -> tuple[UUID, str]:
        """Store that a file will be written, so that clean-up knows it. Return its id and its path."""
        database, job, file_id = self._deps.database, self._inputs, uuid4()
        path = path_of(job.organization, job.job_id, file_id)
        self._commit(lambda c: doomed_files.announce(c, database.clock.now(c), self._key, file_id, path))
        return file_id, path

    def _ring(self) -> Ring | None:
        """Return the organization's present keys, if it has any; outside of transactions."""
        organization = self._inputs.organization
        return self._deps.keyring.rings_of(self._deps.database, [organization]).get(organization)

    def _insert(
        self, connection: Connection, batch: list[UnwrittenReport], under: Ring | None, progress: Progress | None
    ) -> bool | None:
        """Return True if the lease token was valid; otherwise nothing was written.

        None, and nothing was written either: the files are stored under keys that the organization has no more.
        """
        now = self._deps.database.clock.now(connection)
        reports = [(one.report, one.stored) for one in batch]
        files = {file.id: (report.name, file.path) for report, file in reports if isinstance(report, File) and file}
        # Before the read of the files that they replace: a re-encryption locks the row, and moves the files.
        if files and not attempts.hold(connection, self._key):
            return False
        replaced = attempts.replaced_by(connection, self._key, files.values()) if files else []
        # Read at each write: a handler may run for hours, and its organization's keys may change after the claim.
        ring = self._deps.keyring.rings(connection, [self._inputs.organization]).get(self._inputs.organization)
        # The upload of a large file takes long, and a file is encrypted again only once a job has it.
        if files and (under and under.active) != (ring and ring.active):
            return None
        seal: Seal = partial(ring.seal, self._inputs.job_id) if ring is not None else lambda _, text: text
        if progress is not None:
            reports.append((progress, None))
        lines = [
            (report.level, seal(Field.LOG_LINE, report.message))
            for report, _ in reports
            if isinstance(report, LoggedLine)
        ]
        if lines and not attempts.add_lines(connection, now, self._key, lines):
            return False
        others = [(report, file) for report, file in reports if not isinstance(report, LoggedLine)]
        if not all(self._insert_one(connection, now, seal, report, file) for report, file in others):
            return False
        if files:
            doomed_files.keep(connection, self._inputs.organization, files)
            doomed_files.doom(connection, now, self._inputs.organization, replaced)
        return True

    def _insert_one(
        self,
        connection: Connection,
        now: datetime,
        seal: Seal,
        report: Progress | Checkpoint | File,
        file: StoredFile | None,
    ) -> bool:
        key = self._key
        match report:
            case Progress(percent, message):
                told = seal(Field.PROGRESS, message) if message is not None else None
                return attempts.set_progress(connection, now, key, percent=percent, message=told)
            case Checkpoint(state):
                return attempts.set_checkpoint(connection, now, key, seal(Field.CHECKPOINT, state))
            case File(name):
                assert file is not None
                values = {"name": name, **asdict(file)}
                del values["id"]
                return attempts.set_artifact(connection, now, key, values)


def _weight(reports: Iterable[UnwrittenReport]) -> int:
    return sum(one.weight for one in reports)


def _tell(batch: Iterable[UnwrittenReport], error: Exception | None = None) -> None:
    """End the wait of a handler: its reports are written, or an error says why not."""
    for one in batch:
        if one.done.done():
            continue
        if error is None:
            one.done.set_result(None)
        else:
            one.done.set_exception(error)
