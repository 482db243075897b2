"""Watch the waits for locks in a PostgreSQL database, and their duration."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NamedTuple

import psycopg

from tests.patience import PATIENCE

_EVERY: Final = 0.02  # seconds between two looks: by so much a wait may be longer than it was seen to be
# An index that is built concurrently waits for transactions (virtualxid), and nobody for it.
_WAITS: Final = """
    SELECT pid, mode, waitstart, extract(epoch FROM clock_timestamp() - waitstart)::float8
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND waitstart IS NOT NULL AND locktype <> 'virtualxid' AND datname = current_database()
"""


class Wait(NamedTuple):
    """A wait of a session."""

    pid: int
    mode: str
    since: datetime


class LockWatch:
    """The waits for locks that it has seen, each with the seconds that it has lasted."""

    def __init__(self) -> None:
        self._waits: dict[Wait, float] = {}
        self._news = threading.Condition()
        self._over = threading.Event()

    @property
    def longest(self) -> float:
        """Seconds."""
        with self._news:
            return max(self._waits.values(), default=0.0)

    def sees(self, mode: str, times: int) -> None:
        """Wait until sessions have waited for a lock of this mode so many times."""

        def enough() -> bool:
            return sum(wait.mode == mode for wait in self._waits) >= times

        self._until(enough)

    def look(self, url: str) -> None:
        """Look until it is over."""
        with psycopg.connect(url, autocommit=True) as connection:
            while not self._over.wait(_EVERY):
                found = connection.execute(_WAITS).fetchall()
                with self._news:
                    self._waits |= {Wait(pid, mode, since): seconds for pid, mode, since, seconds in found}
                    self._news.notify_all()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def _until(self, condition: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(condition, PATIENCE), f"it saw only {self._waits}"


@contextmanager
def watched(url: str) -> Iterator[LockWatch]:
    """Watch a database while the block runs; one of SQLite has nothing to be seen."""
    watch = LockWatch()
    if not url.startswith("postgresql"):
        yield watch
        return
    # What it raises fails the test: pytest makes a warning of it, and warnings are errors here.
    thread = threading.Thread(target=watch.look, args=[url])
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join(PATIENCE)
