"""The way from a running attempt to the database: progress, log lines, checkpoints, artifacts.

Progress is latest-wins: the first is written at once, then at most one per interval, the last always. All the rest is
written in order, at once. Every write carries the attempt's lease.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from fairlane.domain.errors import FairlaneError, StorageUnavailable
from fairlane.domain.events import Emit, JobProgressed
from fairlane.registry.artifacts import ArtifactStorage, StoredFile, store_file
from fairlane.runtime.reports import Checkpoint, File, Line, Progress, Report
from fairlane.store.statements import attempts
from fairlane.store.statements.attempts import Lease
from fairlane.store.statements.claim import Claimed
from fairlane.store.transaction import Database

_LAST_TRIES = 3


class LeaseLostError(FairlaneError):
    """The job was given to another worker; nothing of this attempt is written any more."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What all channels of a worker share. `interval`: seconds between two progress writes of one job."""

    database: Database
    storage: ArtifactStorage
    threads: Executor
    emit: Emit
    interval: float


class AttemptChannel:
    """The channel of one attempt. `send` may be called from any thread and never blocks.

    Args:
        on_lost: called once, from a thread, when a write finds the lease lost.
    """

    def __init__(self, desk: Desk, claimed: Claimed, on_lost: Callable[[], None]) -> None:
        self._desk = desk
        self._claimed = claimed
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._waiting: list[tuple[Report, Future[Any]]] = []
        self._latest: Progress | None = None
        self._last_progress = float("-inf")
        self._writing = False
        self._closed = False
        self._timer: threading.Timer | None = None
        self._idle = threading.Event()
        self._idle.set()

    def send(self, report: Report) -> "Future[Any]":
        """Take a report; the future is done when it is written. That of a progress is done at once: a later one may
        take its place.
        """
        future: Future[Any] = Future()
        if isinstance(report, Progress):
            future.set_result(None)
            self._desk.emit(self._progressed(report))
        with self._lock:
            if isinstance(report, Progress):
                self._latest = report
            else:
                self._waiting.append((report, future))
            self._schedule()
        return future

    def close(self) -> None:
        """Write what is left. Blocks; called once, when the handler has ended."""
        with self._lock:
            self._closed = True
            self._cancel_timer()
        for _ in range(_LAST_TRIES):
            self._idle.wait()
            if self._write_all(last=True):
                return
            time.sleep(self._desk.interval)

    def _progressed(self, report: Progress) -> JobProgressed:
        job = self._claimed
        return JobProgressed(job.organization, job.id, job.job_type, report.percent, report.message)

    def _schedule(self) -> None:
        """Under the lock: write now, or when the progress is due."""
        if self._writing or self._closed:
            return
        due = self._last_progress + self._desk.interval - time.monotonic()
        if self._waiting or (self._latest is not None and due <= 0):
            self._writing = True
            self._idle.clear()
            self._desk.threads.submit(self._write_all)
        elif self._latest is not None and self._timer is None:
            self._timer = threading.Timer(due, self._on_timer)
            self._timer.daemon = True
            self._timer.start()

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
            self._schedule()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write_all(self, *, last: bool = False) -> bool:
        """Write what is waiting; False if the database is away. What a handler waits for fails then, the rest stays."""
        with self._lock:
            batch, self._waiting = self._waiting, []
            progress = self._take_progress(last=last)
        try:
            return self._write(batch, progress)
        finally:
            with self._lock:
                self._writing = False
                self._idle.set()
                self._schedule()

    def _take_progress(self, *, last: bool) -> Progress | None:
        if self._latest is None or (not last and self._last_progress + self._desk.interval > time.monotonic()):
            return None
        progress, self._latest = self._latest, None
        self._last_progress = time.monotonic()
        return progress

    def _write(self, batch: list[tuple[Report, "Future[Any]"]], progress: Progress | None) -> bool:
        if not batch and progress is None:
            return True
        try:
            stored = [(report, self._store(report)) for report, _ in batch]
            held = self._desk.database.write(lambda connection: self._insert(connection, stored, progress))
        except StorageUnavailable as error:
            self._put_back(batch, progress, error)
            return False
        except Exception as error:  # noqa: BLE001 - it belongs to the handler that waits for the report
            _fail(batch, error)
            return True
        if not held:
            self._on_lost()
            _fail(batch, LeaseLostError("This job was given to another worker; stop, nothing more is written."))
            return True
        for _, future in batch:
            future.set_result(None)
        return True

    def _put_back(
        self, batch: list[tuple[Report, "Future[Any]"]], progress: Progress | None, error: StorageUnavailable
    ) -> None:
        _fail([item for item in batch if isinstance(item[0], Checkpoint | File)], error)
        with self._lock:
            self._waiting = [item for item in batch if isinstance(item[0], Line)] + self._waiting
            self._latest = self._latest or progress

    def _store(self, report: Report) -> StoredFile | None:
        if not isinstance(report, File):
            return None
        job = self._claimed
        return store_file(
            self._desk.storage,
            job.organization,
            job.id,
            report.name,
            report.data,
            lease_token=job.lease_token,
            content_type=report.content_type,
        )

    def _insert(
        self, connection: Connection, stored: list[tuple[Report, StoredFile | None]], progress: Progress | None
    ) -> bool:
        now = self._desk.database.clock.now(connection)
        reports = [*stored, (progress, None)] if progress is not None else stored
        written = [self._insert_one(connection, now, report, file) for report, file in reports]
        return all(written)

    def _insert_one(self, connection: Connection, now: datetime, report: Report, file: StoredFile | None) -> bool:
        lease = Lease(self._claimed.organization, self._claimed.id, self._claimed.lease_token)
        match report:
            case Progress(percent, message):
                return attempts.set_progress(connection, now, lease, percent=percent, message=message)
            case Line(level, message):
                return attempts.add_line(connection, now, lease, level=level, message=message)
            case Checkpoint(state):
                return attempts.set_checkpoint(connection, now, lease, state)
            case File(name):
                assert file is not None
                return attempts.set_artifact(connection, now, lease, {"name": name, **asdict(file)})


def _fail(batch: list[tuple[Report, "Future[Any]"]], error: Exception) -> None:
    for _, future in batch:
        future.set_exception(error)
