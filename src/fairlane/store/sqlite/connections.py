"""Connections to SQLite, of Fairlane's own."""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import QueuePool

from fairlane.config import FULL, Synchronous
from fairlane.domain.errors import ConfigurationError
from fairlane.store.engine import PATIENCE, WRITE, NoConnection
from fairlane.store.forks import was_open_at_fork
from fairlane.store.liveness import close_before_fork, close_late_ones, leave_connections_to_parent
from fairlane.store.response_timeout import ResponseTimeout

_WAL_PAUSE = 0.005  # seconds; the switch itself takes milliseconds
# A deferred transaction that upgrades to a write fails at once with BUSY_SNAPSHOT, whatever the timeout.
BEGIN: Final = "BEGIN IMMEDIATE"
_PRIMARY_CODE: Final = 0xFF  # of SQLite's error codes; the rest tells more of it
# Of the write-ahead log, until a commit writes them to the file and waits for the disk twice more. SQLite's own 1,000
# had every second commit of a worker do so.
_LOG_PAGES: Final = 4000
_COPIED: Final = (
    "This process was forked while {file} was open. SQLite's locks do not pass to a fork, so what this process writes "
    'could be lost. Start the process with `subprocess`, or with "spawn" of `multiprocessing`, or fork before the file '
    "is first used."
)
_TURN = 0.001  # seconds between two tries to be the one who writes


def is_in_memory(url: str) -> bool:
    """Return True if the database is in memory."""
    return make_url(url).database in (None, "", ":memory:")


def file_of(url: str) -> Path | None:
    """Return the database's file; None for one in memory, and for a `file:` URI, which has a mode of its own."""
    name = make_url(url).database
    if name is None or is_in_memory(url) or name.startswith("file:"):
        return None
    return Path(name).absolute()


def connect(
    url: str,
    *,
    pool_size: int,
    lock_seconds: float,
    synchronous: Synchronous = FULL,
    is_default: bool = False,
    response_timeout: ResponseTimeout | None = None,  # nothing is sent anywhere
) -> Engine:
    """Make an engine whose transactions begin by what they are for, and wait in turn for who writes."""
    parsed = make_url(url)
    if parsed.host:
        file = "/".join(filter(None, (parsed.host, parsed.database)))
        raise ConfigurationError(f"The URL of a SQLite file has three slashes; write sqlite:///{file}.")
    if (parsed.database or "").startswith("file:") and "uri" not in parsed.query:
        raise ConfigurationError(
            "The URL names a SQLite file whose name begins with file:. Name a plain file, as in sqlite:///jobs.db, "
            "or add uri=true to the URL's parameters if it is a URI. A database in memory, which is one Fairlane's "
            "alone, is sqlite://."
        )
    in_memory, path = is_in_memory(url), file_of(url)
    engine = create_engine(
        parsed.set(drivername="sqlite+pysqlite"),  # an application may give the URL of its async engine
        # An in-memory database lives in one connection; its users take turns.
        poolclass=QueuePool,
        pool_size=1 if in_memory else pool_size,
        max_overflow=0 if in_memory else pool_size,
        connect_args={"check_same_thread": False, "timeout": lock_seconds},
        hide_parameters=True,
    )
    event.listen(engine, "do_connect", _refuse_copied_name)
    if path is not None:
        event.listen(engine, "do_connect", _refusal_of_missing(path, is_default=is_default))
        close_before_fork(engine)  # a `file:` URI may name a database that ends with its last connection
    event.listen(engine, "connect", partial(_prepare, synchronous))
    event.listen(engine, "begin", partial(_begin, lock_seconds))
    if not in_memory:
        leave_connections_to_parent(engine)
        close_late_ones(engine)
    return engine


def refuse_copied(file: str) -> None:
    """Raise NoConnection if the file was open when this process was forked."""
    if was_open_at_fork(file):
        raise NoConnection(_COPIED.format(file=file))


def _refuse_copied_name(_dialect: object, _record: object, args: Sequence[str], options: Mapping[str, Any]) -> None:
    (name,) = args
    refuse_copied(unquote(urlsplit(name).path) if options.get("uri") else name)


def _refusal_of_missing(file: Path, *, is_default: bool) -> Callable[..., None]:
    what_to_do = (
        "; it is the default, as neither --url nor FAIRLANE_URL is set. Set FAIRLANE_URL if your database is another; "
        "else run `fairlane migrate` to create it."
        if is_default
        else "; run `fairlane migrate` to create it (with this --app or --url), or correct its URL."
    )

    def refuse_missing(*_: object) -> None:
        # SQLite would make an empty one, wherever a URL has a slip in it or a command is typed in the wrong folder.
        if not file.exists():
            raise NoConnection(f"There is no database {file}{what_to_do}")

    return refuse_missing


def _prepare(synchronous: Synchronous, connection: sqlite3.Connection, _record: object) -> None:
    # The standard library's own BEGIN is deferred; ours is written out in _begin.
    connection.isolation_level = None
    _use_wal(connection)
    for pragma in (f"synchronous = {synchronous}", "foreign_keys = ON", f"wal_autocheckpoint = {_LOG_PAGES}"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: sqlite3.Connection) -> None:
    # The switch, which a file needs once in its life, is refused at once while another connection writes, whatever
    # the timeout: SQLite sees a deadlock in it.
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()  # milliseconds
    deadline = time.monotonic() + patience / 1000
    while connection.execute("PRAGMA journal_mode").fetchone() == ("delete",):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_PAUSE)


def _begin(lock_seconds: float, connection: Connection) -> None:
    if not connection.get_execution_options().get(WRITE, False):
        connection.exec_driver_sql("BEGIN")
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    patience = connection.get_execution_options().get(PATIENCE, lock_seconds)
    # Whoever SQLite lets wait looks again after longer and longer pauses, up to a tenth of a second: where others write
    # without a break, each look comes at a bad moment, and the wait may take a second.
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        if not _has_begun(driver, time.monotonic() + patience):
            connection.exec_driver_sql(BEGIN)  # once more, so that SQLAlchemy sees why not
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(lock_seconds * 1000)}")


def _has_begun(driver: sqlite3.Connection, deadline: float) -> bool:
    while True:
        try:
            driver.execute(BEGIN)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                return False
        else:
            return True
        time.sleep(_TURN)
