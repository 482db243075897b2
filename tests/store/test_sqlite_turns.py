"""Many threads write to one SQLite file, one at a time: each waiting writer gets a turn."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from fairlane.domain.errors import StorageUnavailable
from fairlane.store.engine import WRITE
from fairlane.store.transaction import Database

LOOKS = 50
_ASK = text("SELECT 1")


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url, lock_seconds=30.0)
    yield database
    database.close()


@pytest.fixture
def other(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """Somebody else who writes."""
    file = make_url(sqlite_url).database
    assert file is not None
    with closing(sqlite3.connect(Path(file), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_a_writer_that_waits_looks_again_at_short_intervals_however_long_it_has_waited(
    database: Database, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own pauses grow to a tenth of a second: beside busy writers one that waited came ever later."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == LOOKS:
            other.execute("COMMIT")

    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", pause)
        assert database.write(lambda connection: connection.scalar(_ASK)) == 1
    assert len(pauses) == LOOKS
    assert max(pauses) <= 0.001


def test_it_gives_up_after_the_time_that_was_set(database: Database, other: sqlite3.Connection) -> None:
    hasty = database.sibling(pool_size=1, lock_seconds=0.05)
    with pytest.raises(StorageUnavailable, match="locked"):
        hasty.write(lambda connection: connection.scalar(_ASK))
    other.execute("COMMIT")
    assert hasty.write(lambda connection: connection.scalar(_ASK)) == 1
    hasty.close()


def test_the_patience_of_all_else_stays(database: Database) -> None:
    """Of who reads, and of who recovers a file that was left open."""
    database.write(lambda connection: connection.scalar(_ASK))
    assert database.read(lambda connection: connection.scalar(text("PRAGMA busy_timeout"))) == 30_000


def test_only_a_lock_is_waited_for(database: Database) -> None:
    """Every other refusal to begin is raised at once, and no transaction that is already begun is joined."""
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("BEGIN")
        with pytest.raises(OperationalError, match="within a transaction"):
            connection.execution_options(**{WRITE: True}).execute(_ASK)


def test_the_log_is_moved_to_the_file_for_thousands_of_pages_together(database: Database) -> None:
    """The commit that moves it waits for the disk three times."""
    assert database.read(lambda connection: connection.scalar(text("PRAGMA wal_autocheckpoint"))) == 4000
