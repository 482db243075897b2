"""The only place that knows SQLite from PostgreSQL, beside `driver_errors`."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Final

from sqlalchemy import (
    BindParameter,
    Connection,
    Engine,
    String,
    Table,
    create_engine,
    event,
    literal,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from fairlane.config import FULL, Synchronous
from fairlane.domain.errors import ConfigurationError
from fairlane.store.liveness import (
    ask_idle_connections,
    close_late_ones,
    give_up_stuck_connections,
    leave_connections_to_parent,
)
from fairlane.store.response_timeout import ResponseTimeout, bound

WRITE: Final = "fairlane_write"  # execution option: this transaction writes
_FOR_VALUES: Final = text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
PATIENCE: Final = "fairlane_patience"  # execution option: how many seconds it waits for locks, if not as others
_CONNECT_SECONDS = 5
_WAL_PAUSE = 0.005  # seconds; the switch itself takes milliseconds
# A deferred transaction that upgrades to a write fails at once with BUSY_SNAPSHOT, whatever the timeout.
_BEGIN: Final = "BEGIN IMMEDIATE"
_PRIMARY_CODE: Final = 0xFF  # of SQLite's error codes; the rest tells more of it
# Of the write-ahead log, until a commit writes them to the file and waits for the disk twice more. SQLite's own 1,000
# had every second commit of a worker do so.
_LOG_PAGES: Final = 4000
_TURN = 0.001  # seconds between two tries to be the one who writes
_LONGEST_PAUSE = 15  # seconds between two statements of a transaction; ours take milliseconds
# Whichever side vanished, or was frozen, must not hold the other one for the hours of TCP's default. Seconds, and how
# often; between processes of one machine by a Unix socket they say nothing.
_UNHEARD = 20
_KEEPALIVES: Final = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class NoConnection(ConfigurationError):
    """No connection is made, for a reason that whoever runs Fairlane has to mend. Passed on as `ConfigurationError`."""


def is_sqlite(connection: Connection) -> bool:
    """Return True if the connection's database is SQLite."""
    return connection.dialect.name == "sqlite"


def fixed(value: str) -> BindParameter[str]:
    """Write a constant of ours into the SQL text instead of binding it.

    A partial index serves a query only where the planner sees its predicate. In a prepared statement whose plan fits
    any parameters (PostgreSQL's generic plan) it doesn't see `status = 'pending'` in `status = $1`.

    Args:
        value: never anything that came from outside.
    """
    return literal(str(value), String(), literal_execute=True)


def insert(connection: Connection, table: Table) -> postgresql.Insert:
    """Return an INSERT that knows ON CONFLICT; both dialects spell it alike."""
    return _insert(table, for_sqlite=is_sqlite(connection))


@cache
def _insert(table: Table, *, for_sqlite: bool) -> postgresql.Insert:
    if for_sqlite:
        # The two Insert classes share the part that we use: on_conflict_do_nothing, on_conflict_do_update, excluded.
        return sqlite.insert(table)  # type: ignore[return-value]
    return postgresql.insert(table)


def given(*columns: str) -> str:
    """Return a FROM item `given` with these columns of text: the rows that `as_given` makes a parameter of.

    However many rows there are, the statement stays the same.
    """
    names = ", ".join(f"value ->> {place} AS {name}" for place, name in enumerate(columns))
    return f"(SELECT {names} FROM json_each(:given)) AS given"  # noqa: S608 - names of ours


def as_given(rows: Iterable[Sequence[object]]) -> str:
    """Return the parameter `given`: JSON of an object, from which both databases read the rows by `json_each`."""
    return json.dumps(dict(enumerate(rows)))


def plan_for_values(connection: Connection) -> None:
    """Have each statement of this transaction planned for its values.

    PostgreSQL may take to one plan for all of them once a statement is prepared. Where one value has most of the rows
    and another has none, that plan reads everything for either of them.
    """
    if not is_sqlite(connection):
        connection.execute(_FOR_VALUES)


def make_engine(
    url: str,
    *,
    pool_size: int,
    lock_seconds: float,
    synchronous: Synchronous = FULL,
    response_timeout: ResponseTimeout | None = None,
    is_default: bool = False,
) -> Engine:
    """Make an engine of our own for `sqlite:///…` or `postgresql://…`.

    Args:
        synchronous: whether a commit on SQLite waits for the disk.
        response_timeout: how long to wait for PostgreSQL's answers; None = as long as it takes.
        is_default: nobody named this URL, which is said where its file is not there.

    Raises:
        ConfigurationError: the URL is no such URL, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            "The database URL can't be read; write sqlite:///jobs.db or postgresql://user@host/database."
        ) from None
    match parsed.get_backend_name():
        case "sqlite" if parsed.host:
            file = "/".join(filter(None, (parsed.host, parsed.database)))
            raise ConfigurationError(f"The URL of a SQLite file has three slashes; write sqlite:///{file}.")
        case "sqlite" if (parsed.database or "").startswith("file:") and "uri" not in parsed.query:
            raise ConfigurationError(
                "The URL names a SQLite file whose name begins with file:. Name a plain file, as in sqlite:///jobs.db, "
                "or add uri=true to the URL's parameters if it is a URI. A database in memory, which is one Fairlane's "
                "alone, is sqlite://."
            )
        case "sqlite":
            engine = _sqlite_engine(url, pool_size, lock_seconds, synchronous, is_default=is_default)
        case "postgresql" | "postgres":
            engine = _postgres_engine(url, pool_size, lock_seconds)
            if response_timeout is not None:
                bound(engine, response_timeout)
        case other:
            raise ConfigurationError(f"Fairlane runs on sqlite:// and postgresql:// databases, not on {other}://.")
    if not is_in_memory(url):
        leave_connections_to_parent(engine)
        close_late_ones(engine)
    return engine


def is_in_memory(url: str) -> bool:
    """Return True if the database is SQLite's in memory."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")


def file_of(url: str) -> Path | None:
    """Return the file of a SQLite database.

    None for one in memory, for a `file:` URI, which has a mode of its own, and for PostgreSQL.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database is None or is_in_memory(url):
        return None
    return Path(parsed.database).absolute() if not parsed.database.startswith("file:") else None


def create_file(file: Path) -> None:
    """Make an empty SQLite database and its folder, if it is not there.

    Raises:
        ConfigurationError: the file system does not let us.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.touch()
    except OSError as error:
        raise ConfigurationError(
            f"The database {file} can't be created ({error.strerror}); give this user the right, or another URL."
        ) from error


def _sqlite_engine(
    url: str, pool_size: int, lock_seconds: float, synchronous: Synchronous, *, is_default: bool
) -> Engine:
    in_memory, file = is_in_memory(url), file_of(url)
    engine = create_engine(
        url,
        # An in-memory database lives in one connection; its users take turns.
        poolclass=QueuePool,
        pool_size=1 if in_memory else pool_size,
        max_overflow=0 if in_memory else pool_size,
        connect_args={"check_same_thread": False, "timeout": lock_seconds},
        hide_parameters=True,
    )
    if file is not None:
        event.listen(engine, "do_connect", _refusal_of_missing(file, is_default=is_default))
    event.listen(engine, "connect", partial(_prepare_sqlite, synchronous))
    event.listen(engine, "begin", partial(_begin_sqlite, lock_seconds))
    return engine


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


def _prepare_sqlite(synchronous: Synchronous, connection: sqlite3.Connection, _record: object) -> None:
    # The standard library's own BEGIN is deferred; ours is written out in _begin_sqlite.
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


def _begin_sqlite(lock_seconds: float, connection: Connection) -> None:
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
            connection.exec_driver_sql(_BEGIN)  # once more, so that SQLAlchemy sees why not
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(lock_seconds * 1000)}")


def _has_begun(driver: sqlite3.Connection, deadline: float) -> bool:
    while True:
        try:
            driver.execute(_BEGIN)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                return False
        else:
            return True
        time.sleep(_TURN)


def _postgres_engine(url: str, pool_size: int, lock_seconds: float) -> Engine:
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=30,
            connect_args={
                "connect_timeout": _CONNECT_SECONDS,
                "fallback_application_name": "fairlane",  # where neither the URL nor PGAPPNAME has one
                "options": _options(parsed.query.get("options", ()), lock_seconds),
                "tcp_user_timeout": _UNHEARD * 1000,
                **_KEEPALIVES,
            },
            hide_parameters=True,
            use_native_hstore=False,  # else each engine asks for a type that we don't have
        )
    except ModuleNotFoundError:
        raise ConfigurationError("PostgreSQL needs its driver: pip install 'fairlane[postgres]'.") from None
    ask_idle_connections(engine)
    give_up_stuck_connections(engine)
    return engine


def _options(of_url: str | Sequence[str], lock_seconds: float) -> str:
    """Return what our sessions set; what the URL sets goes before it, or would be lost."""
    theirs = [of_url] if isinstance(of_url, str) else of_url
    ours = (
        # Nobody's transaction holds up ours for ever, nor that of a process of ours that was stopped in the middle.
        f"-c lock_timeout={int(lock_seconds * 1000)}",
        f"-c idle_in_transaction_session_timeout={_LONGEST_PAUSE * 1000}",
        # Nor that of one that vanished or was frozen as it was sent an answer: it is in no pause, and to a server that
        # waits for it to take more, no other timeout applies.
        f"-c tcp_user_timeout={_UNHEARD * 1000}",
        *(f"-c tcp_{name}={value}" for name, value in _KEEPALIVES.items()),
        # Whatever the role's default: who has waited for a lock has to see what was committed meanwhile.
        "-c default_transaction_isolation=read\\ committed",
        # Whatever the database's zone: the driver can't read a moment that falls there before year 1 or after 9999.
        "-c TimeZone=UTC",
        # To claims a sort is made to look dear, so dear that PostgreSQL would compile each, for most of a second.
        "-c jit=off",
    )
    return " ".join((*theirs, *ours))
