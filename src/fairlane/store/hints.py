"""Hints that a job may be claimable, so that an idle worker reads the lanes at once.

A hint has no content and may get lost: workers rely on polling.

* PostgreSQL: all commits with a NOTIFY wait for the same lock, so NOTIFY is never part of a submission. A separate
  thread sends it after the commit, at most fifty times a second. A worker reads at most a hundred a second.
* SQLite: every commit of another connection changes `PRAGMA data_version`, also a commit of the worker itself. If
  another process commits within a hundredth of a second of the worker's commit, the worker recognizes only new jobs. It
  finds other changes when it next reads all lanes, at most a tenth of a second later.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import sqlalchemy.exc
from sqlalchemy import text

from fairlane.domain.errors import FairlaneError
from fairlane.domain.timing import HINTS_HEARD, HINTS_SENT, NEXT_TRY
from fairlane.store.row_security import is_pooled
from fairlane.store.transaction import Database

_CHANNEL: Final = "fairlane_ready"
# PostgreSQL writes a commit record for it. Without synchronous_commit, the thread does not wait for the disk.
_NOTIFY: Final = f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{_CHANNEL}', '')"
_CLOSE: Final = 1.0  # seconds to wait in `close` for a hint that is being sent


class Hints:
    """A sender of hints for an application. `send` costs the caller nothing. On SQLite it sends nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_needed = database.kind.is_server
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = 0  # the process of the thread; a forked child starts its own thread

    def send(self) -> None:
        """Send a hint that a job was made ready. Call this after the commit."""
        if not self._is_needed:
            return
        if self._process != os.getpid():
            with suppress(RuntimeError):  # no thread can be started now; the next hint retries
                self._start()
        if not self._asked.is_set():  # otherwise the thread will send a hint after this commit
            self._asked.set()

    def close(self) -> None:
        """Send no more hints, and return the connection."""
        self._stopped.set()
        self._asked.set()
        if self._thread is not None and self._process == os.getpid():
            self._thread.join(_CLOSE)

    def _start(self) -> None:
        with self._lock:
            if self._process != os.getpid():
                self._asked, self._stopped = threading.Event(), threading.Event()
                thread = threading.Thread(target=self._run, name="fairlane-hints", daemon=True)
                thread.start()
                self._thread, self._process = thread, os.getpid()

    def _run(self) -> None:
        asked, stopped = self._asked, self._stopped
        while asked.wait() and not stopped.is_set():
            asked.clear()
            try:
                self._database.write_one(_NOTIFY)
                pause = HINTS_SENT
            except (FairlaneError, sqlalchemy.exc.SQLAlchemyError):
                pause = NEXT_TRY
            stopped.wait(pause)


_NEWEST: Final = "SELECT max(rowid) FROM fairlane_jobs"  # one probe


class Listener:
    """Call `on_hint` whenever a job may have become claimable.

    PostgreSQL's notifications are read on the event loop, where claims are made; a thread only makes the connection.
    All other calls come from that thread. Behind a pooler, which keeps no session, there are no notifications.

    Args:
        database: the worker's, which counts the worker's own commits.
        on_hint: called with True if another session made a change; with False if not, or if the worker committed at the
            same time.
        loop: the loop on which claims are made.
    """

    def __init__(self, database: Database, on_hint: Callable[[bool], object], loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._on_hint = on_hint
        self._loop = loop
        self._stopped = threading.Event()
        self._over = threading.Event()  # set when the connection broke or the listener stops
        self._thread = threading.Thread(target=self._run, name="fairlane-listener", daemon=True)
        self._heard: int | None = None  # the socket that the loop reads

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more calls, and wait until the connection is closed. Call it on the loop, or while the loop runs."""
        self._stopped.set()
        if self._is_on_loop():
            self._give_up()
        else:
            with suppress(RuntimeError):  # a closed loop reads nothing
                self._loop.call_soon_threadsafe(self._give_up)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        database = self._database
        own = database.sibling(pool_size=1, role=database.role, response_timeout=database.response_timeout)
        listen = self._listen if own.kind.is_server else self._watch
        try:
            while own is not self._database and not self._stopped.is_set():
                try:
                    listen(own)
                except Exception:  # noqa: BLE001 - drivers have their own errors, and workers poll meanwhile
                    # Also if LISTEN is not available, for example behind a pooler.
                    self._stopped.wait(NEXT_TRY)
        finally:
            if own is not self._database:
                own.close()

    def _listen(self, own: Database) -> None:
        self._over.clear()
        if self._stopped.is_set():
            return
        with own.translated(), own.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not is_pooled(connection.info):
                connection.execute(text(f"LISTEN {_CHANNEL}"))
                self._loop.call_soon_threadsafe(self._hear, connection.connection.driver_connection)
                self._on_hint(True)  # for changes before it listened
                self._over.wait()
                return
        self._on_hint(True)
        self._over.wait()

    def _hear(self, driver: Any) -> None:
        """Read the connection whenever something arrives, on the loop."""
        if not (self._stopped.is_set() or driver.closed):
            self._heard = driver.fileno()
            self._loop.add_reader(self._heard, self._read, driver)

    def _read(self, driver: Any) -> None:
        was_told = False
        try:
            driver.pgconn.consume_input()
            while driver.pgconn.notifies():
                was_told = True
        except Exception:  # noqa: BLE001 - drivers have their own errors; the thread connects again
            self._give_up()
            return
        if was_told:
            self._deafen()
            self._loop.call_later(HINTS_HEARD, self._hear, driver)  # every login may send hints, at any rate

            self._on_hint(True)

    def _give_up(self) -> None:
        self._deafen()
        self._over.set()

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _deafen(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            self._loop.remove_reader(heard)

    def _watch(self, own: Database) -> None:
        with own.translated(), own.engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            seen = newest = commits = None
            while not self._stopped.wait(HINTS_HEARD):
                version = driver.execute("PRAGMA data_version").fetchone()
                if version == seen:
                    continue
                before = newest, commits
                seen, newest, commits = version, driver.execute(_NEWEST).fetchone(), self._database.commits
                self._on_hint(newest != before[0] or commits == before[1])
