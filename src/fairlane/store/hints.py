"""Hints that something may be claimed, so that an idle worker looks at once. They say nothing else and may get lost:
polling is what workers rely on.

PostgreSQL: NOTIFY takes a lock that all commits with one share, so it is never part of a submission. It is sent after
the commit, from a thread of its own, at most fifty times a second; a worker hears a hundred a second at most. SQLite:
every commit of another connection changes `PRAGMA data_version`, a worker's own as well. Of what others commit beside
those, within a hundredth of a second, only new jobs can be told; all else is seen when the worker next looks at all
lanes, a tenth of a second later at most.
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
# PostgreSQL writes a commit record for it; nobody has to wait until that is on the disk.
_NOTIFY: Final = f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{_CHANNEL}', '')"
_CLOSE: Final = 1.0  # seconds that a close waits for a hint that is being sent


class Hints:
    """Sends hints for one application; `send` costs the caller nothing. On SQLite there is nothing to send."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_needed = database.kind.is_server
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = 0  # whose thread sends; a forked child starts its own

    def send(self) -> None:
        """Say that something was made ready; call it after the commit."""
        if not self._is_needed:
            return
        if self._process != os.getpid():
            with suppress(RuntimeError):  # no thread can be started now; the next hint tries again
                self._start()
        if not self._asked.is_set():  # else the thread has yet to look, which it does after this commit
            self._asked.set()

    def close(self) -> None:
        """Send nothing more, and give back the connection."""
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
    """Calls `on_hint` whenever something may have become claimable.

    What PostgreSQL says is heard on the event loop, where claims are made; a thread only makes the connection. All else
    is called from that thread. Behind a pooler, which keeps no session, nothing is heard.

    Args:
        database: the worker's: what it commits itself is known to it.
        on_hint: is told whether somebody else did it; False: nobody, or it happened beside a commit of the worker's.
        loop: on which claims are made, or what else follows.
    """

    def __init__(self, database: Database, on_hint: Callable[[bool], object], loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._on_hint = on_hint
        self._loop = loop
        self._stopped = threading.Event()
        self._over = threading.Event()  # the connection broke, or it has stopped
        self._thread = threading.Thread(target=self._run, name="fairlane-listener", daemon=True)
        self._heard: int | None = None  # the socket that the loop reads

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Call nobody any more, and close the connection; waits for that. On the loop, or while it turns."""
        self._stopped.set()
        if self._is_on_loop():
            self._give_up()
        else:
            with suppress(RuntimeError):  # a loop that is closed reads nothing
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
                except Exception:  # noqa: BLE001 - drivers have errors of their own, and there is polling meanwhile
                    # Also where LISTEN is not to be had, as behind a pooler.
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
                self._on_hint(True)  # for what came before it listened
                self._over.wait()
                return
        self._on_hint(True)
        self._over.wait()

    def _hear(self, driver: Any) -> None:
        """Have the connection read whenever something came; on the loop."""
        if not (self._stopped.is_set() or driver.closed):
            self._heard = driver.fileno()
            self._loop.add_reader(self._heard, self._read, driver)

    def _read(self, driver: Any) -> None:
        was_told = False
        try:
            driver.pgconn.consume_input()
            while driver.pgconn.notifies():
                was_told = True
        except Exception:  # noqa: BLE001 - drivers have errors of their own; the thread connects again
            self._give_up()
            return
        if was_told:
            self._deafen()
            self._loop.call_later(HINTS_HEARD, self._hear, driver)  # every login may send hints, as fast as it can
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
