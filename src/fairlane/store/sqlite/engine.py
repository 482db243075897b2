"""SQLite's operations for `store.engine.DatabaseEngine`: one transaction writes at a time, in a local file."""

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    Table,
    TextClause,
    TextualSelect,
    create_engine,
    event,
    literal_column,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import QueuePool

from fairlane.config import FULL, Synchronous
from fairlane.domain.errors import ConfigurationError
from fairlane.store import sql
from fairlane.store.clock import Clock
from fairlane.store.engine import LOCK_SECONDS, WRITE, NoConnection, Question, Rows
from fairlane.store.forks import was_open_at_fork
from fairlane.store.pool_health import close_before_fork, close_late_ones, leave_connections_to_parent
from fairlane.store.response_timeout import ResponseTimeout
from fairlane.store.sql import as_given
from fairlane.store.sqlite import attempts, new_jobs
from fairlane.store.statements.dedup import KeyToTake
from fairlane.store.statements.keys import Writer
from fairlane.store.statements.transition import RETURNED, Change
from fairlane.store.tables import Instant, jobs, live

writers_are_serial = True
is_server = False
has_row_security = False
# A deferred transaction that begins to write later may fail at once with BUSY_SNAPSHOT, whatever the timeout.
begin = "BEGIN IMMEDIATE"
one_snapshot: Mapping[str, str] = {}  # every transaction has one snapshot
each_by_itself: Mapping[str, str] = {}
insert_jobs, insert_plain_jobs = new_jobs.insert, new_jobs.at_once
claim, complete = attempts.claim, attempts.complete
skip_locked = ""
# SQLite uses a partial index only for the exact words of its predicate.
ready = "ready = 1"
not_ready = "ready = 0"

_FILE: Final = text("""
SELECT coalesce(file, '') FROM pragma_database_list
WHERE name = 'main' AND EXISTS (SELECT 1 FROM main.sqlite_master WHERE name = :jobs)
""")
_STEPS = 10_000  # of SQLite's machine between two looks at the clock: about a tenth of a millisecond
_WAL_PAUSE = 0.005  # seconds; the switch itself takes milliseconds
_PRIMARY_CODE: Final = 0xFF  # of SQLite's error codes; the other bits give details
# Pages of the write-ahead log, after which a commit copies them to the file and waits for the disk twice more. With
# SQLite's default of 1,000 every second commit of a worker did so.
_LOG_PAGES: Final = 4000
_COPIED: Final = (
    "This process was forked while {file} was open. SQLite's locks do not pass to a fork, so what this process writes "
    'could be lost. Start the process with `subprocess`, or with "spawn" of `multiprocessing`, or fork before the file '
    "is first used."
)
_TURN = 0.001  # seconds between two attempts to begin writing


def is_in_memory(url: str) -> bool:
    """Return True if the database is in memory."""
    return make_url(url).database in (None, "", ":memory:")


def file_of(url: str) -> Path | None:
    """Return the database's file; None for a database in memory, and for a `file:` URI, which has its own mode."""
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
    response_timeout: ResponseTimeout | None = None,  # not used: there is no server
) -> Engine:
    """Make an engine whose transactions begin as reads or as writes. Writers take turns."""
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
        parsed.set(drivername="sqlite+pysqlite"),  # an application may pass the URL of its async engine
        # A database in memory has only one connection; its users take turns.
        poolclass=QueuePool,
        pool_size=1 if in_memory else pool_size,
        max_overflow=0 if in_memory else pool_size,
        connect_args={"check_same_thread": False, "timeout": lock_seconds},
        hide_parameters=True,
    )
    event.listen(engine, "do_connect", _refuse_copied_name)
    if path is not None:
        event.listen(engine, "do_connect", _refusal_of_missing(path, is_default=is_default))
        close_before_fork(engine)  # a database of a `file:` URI may end with its last connection
    event.listen(engine, "connect", partial(_prepare, synchronous))
    event.listen(engine, "begin", partial(_begin, lock_seconds))
    if not in_memory:
        leave_connections_to_parent(engine)
        close_late_ones(engine)
    return engine


def _refuse_copied(file: str) -> None:
    """Raise NoConnection if the file was open when this process was forked."""
    if was_open_at_fork(file):
        raise NoConnection(_COPIED.format(file=file))


def _refuse_copied_name(_dialect: object, _record: object, args: Sequence[str], options: Mapping[str, Any]) -> None:
    (name,) = args
    _refuse_copied(unquote(urlsplit(name).path) if options.get("uri") else name)


def _refusal_of_missing(file: Path, *, is_default: bool) -> Callable[..., None]:
    what_to_do = (
        "; it is the default, as neither --url nor FAIRLANE_URL is set. Set FAIRLANE_URL if your database is another; "
        "else run `fairlane migrate` to create it."
        if is_default
        else "; run `fairlane migrate` to create it (with this --app or --url), or correct its URL."
    )

    def refuse_missing(*_: object) -> None:
        # SQLite would create an empty database for a mistyped URL, or for a command in the wrong folder.
        if not file.exists():
            raise NoConnection(f"There is no database {file}{what_to_do}")

    return refuse_missing


def _prepare(synchronous: Synchronous, connection: sqlite3.Connection, _record: object) -> None:
    # The standard library begins transactions deferred; `_begin` does it explicitly.
    connection.isolation_level = None
    _use_wal(connection)
    for pragma in (f"synchronous = {synchronous}", "foreign_keys = ON", f"wal_autocheckpoint = {_LOG_PAGES}"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: sqlite3.Connection) -> None:
    # A file needs this switch once in its life. While another connection writes, SQLite refuses it at once, whatever
    # the timeout: it assumes a deadlock.
    (timeout,) = connection.execute("PRAGMA busy_timeout").fetchone()  # milliseconds
    deadline = time.monotonic() + timeout / 1000
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
    timeout = connection.get_execution_options().get(LOCK_SECONDS, lock_seconds)
    # SQLite's own busy timeout retries after longer and longer pauses, up to a tenth of a second. If others write
    # without a break, each retry may come at a bad moment, and the wait may take a second.
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        if not _has_begun(driver, time.monotonic() + timeout):
            connection.exec_driver_sql(begin)  # once more, so that SQLAlchemy gets the error
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(lock_seconds * 1000)}")


def _has_begun(driver: sqlite3.Connection, deadline: float) -> bool:
    while True:
        try:
            driver.execute(begin)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                return False
        else:
            return True
        time.sleep(_TURN)


@cache
def statement(name: str, *, without: str | None = None) -> TextClause:
    """Return the statement of this name."""
    return sql.statement(f"sqlite/{name}", without=without)


def moment(words: str) -> str:
    """Return the words unchanged: times are texts in SQLite."""
    return words


def few_of_each(columns: str, table: str, rest: str) -> str:
    """Join by rowid: SQLite has no LATERAL."""
    return f"JOIN {table} AS job ON job.rowid IN (SELECT rowid FROM {table} {rest})"  # noqa: S608 - Fairlane's words


def each_looked_up(rows: FromClause, its: Select[Any]) -> Select[Any]:
    """Select by a plain join, for which SQLite always uses an index."""
    return its


def by_ids(found: Select[Any], key: ColumnElement[UUID], ids: Collection[UUID]) -> Select[Any]:
    """Compare with a list: SQLite probes the index for each id."""
    return found.where(key.in_(sorted(ids))).order_by(key)


def among(column: ColumnElement[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
    """Compare with a list."""
    return column.in_(list(ids))


def ask(
    connection: Connection, clock: Clock, questions: Sequence[Question], values: Mapping[str, Any]
) -> tuple[datetime, float, list[Rows]]:
    """Ask one after the other: there are no round trips."""
    rows = [[tuple(row) for row in connection.execute(_across(one), values)] for one in questions]
    return clock.now(connection), clock.lease_seconds(connection), rows


@cache
def _across(question: Question) -> Question:
    return question.execution_options(fairlane_across="claim")


def take_keys(connection: Connection, keys: Sequence[KeyToTake]) -> set[tuple[str, str]]:
    """Take the keys by one statement, with JSON as parameter."""
    rows = as_given((one.organization, one.key, one.job_id.hex, Instant.as_text(one.expires_at)) for one in keys)
    taken = {tuple(row) for row in connection.execute(statement("take_keys"), {"given": rows})}
    return {(one.organization, one.key) for one in keys} - taken


def log_writers(connection: Connection) -> frozenset[str]:
    """Return an empty set: numbers are drawn in the order of commits."""
    return frozenset()


def writers(connection: Connection, seconds: float) -> frozenset[Writer]:
    """Return an empty set: a writer sees everything that was written before."""
    return frozenset()


def wait_for_claims(connection: Connection) -> None:
    """Do nothing: a writer has waited already."""


def overwrite_what_is_replaced(connection: Connection) -> None:
    """Overwrite the bytes of replaced values in pages."""
    connection.exec_driver_sql("PRAGMA secure_delete = ON")


def place(connection: Connection) -> tuple[Any, ...] | None:
    """Return the place of the file: its device and inode number.

    Raises:
        NoConnection: the file was open when this process was forked.
    """
    # Only the main database counts: SQLite commits each attached file separately, so a job could be committed without
    # the caller's rows.
    file = connection.scalar(_FILE, {"jobs": jobs.name})
    if not file:
        return None if file is None else ()
    _refuse_copied(file)
    with suppress(OSError):  # the file was deleted while it is open
        found = Path(file).stat()
        return found.st_dev, found.st_ino
    return None


def lock_timeout(connection: Connection, seconds: float, of: Collection[str] = ()) -> AbstractContextManager[None]:
    """Do nothing: the connection's busy timeout is the bound."""
    return nullcontext()


@contextmanager
def interrupt_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Check the clock regularly while SQLite works."""
    driver = connection.connection.driver_connection
    assert driver is not None
    deadline = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


def is_open(connection: Connection) -> bool:
    """Ask the driver."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


def autocommits(connection: Connection) -> bool:
    """Ask the driver: by `autocommit` from Python 3.12 on; in the legacy mode (-1) by `isolation_level`."""
    driver: Any = connection.connection.dbapi_connection
    autocommit = getattr(driver, "autocommit", -1)
    return bool(autocommit) if autocommit != -1 else driver.isolation_level is None


def scrub(connection: Connection, table: str) -> None:
    """Empty the write-ahead log. SQLite refuses this within a transaction, so SQLAlchemy must not begin one."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def plan_for_values(connection: Connection) -> None:
    """Do nothing: SQLite's plans do not depend on values."""


# Many rows travel as one JSON text, for inserts and for transitions of many jobs. Python's SQLite module releases the
# interpreter's lock at each row that it receives, and has to get it back from a busy loop, while nobody else may write.
# And a statement costs Python more than a row costs SQLite.
@cache
def insert(table: Table) -> postgresql.Insert:
    """Return SQLAlchemy's own insert, which has all features of PostgreSQL's that are used here."""
    return sqlite.insert(table).inline()  # type: ignore[return-value]


def insert_from_json(table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[postgresql.Insert, dict[str, str]]:
    """Insert rows from JSON, with values by their positions."""
    names = tuple(rows[0])
    return _insert_from_json(table, names), {"rows": _json([[row[name] for name in names] for row in rows])}


@cache
def _insert_from_json(table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    values: list[ColumnElement[Any]] = [literal_column(f"value ->> {place}") for place in range(len(names))]
    # WHERE tells SQLite that ON does not begin a join.
    given = select(*values).select_from(text("json_each(:rows)")).where(text("true"))
    return insert(table).from_select(names, given)


def values_of(changes: Sequence[Change]) -> dict[str, str]:
    """Return the values of all changes as one JSON text."""
    rows = []
    for one in changes:
        transition = one.transition
        proof = one.organization, one.job_id, transition.source, one.lease_token
        rows.append((*proof, transition.target, len(transition.steps), *transition.changes.values()))
    return {"given": _json(rows)}


def _json(rows: Sequence[Sequence[object]]) -> str:
    return json.dumps(rows, default=_as_text, ensure_ascii=False)


def _as_text(value: UUID | datetime) -> str:
    """Return the text under which SQLite stores the value."""
    return value.hex if isinstance(value, UUID) else Instant.as_text(value)


# The plus keeps SQLite from the index by status.
_PLACES: Final = """
  SELECT job.rowid AS place, given.value FROM json_each(:given) AS given CROSS JOIN {table} AS job
    ON job.organization_id = given.value ->> 0 AND job.id = given.value ->> 1
  WHERE +job.status = given.value ->> 2 {under_lease}"""
_UNDER_LEASE: Final = "AND job.lease_token IS given.value ->> 3"


@cache
def update_live(columns: tuple[str, ...]) -> TextualSelect:
    """Find the rows first, and change them by their rowids."""
    values = "".join(f", {name} = mine.value ->> {place}" for place, name in enumerate(columns, 6))
    mine = _PLACES.format(table=live.name, under_lease=_UNDER_LEASE)
    statement = text(f"""
UPDATE {live.name} SET status = mine.value ->> 4, log_sequence = log_sequence + (mine.value ->> 5){values}
FROM ({mine}) AS mine WHERE {live.name}.rowid = mine.place
RETURNING {", ".join(column.name for column in RETURNED)}
""")  # noqa: S608 - Fairlane's names

    return statement.columns(*RETURNED).execution_options(fairlane_across="finish")


@cache
def take(table: Table) -> TextualSelect:
    """Find the rows first, and delete them by their rowids."""
    mine = _PLACES.format(table=table.name, under_lease=_UNDER_LEASE if table is live else "")
    statement = text(f"""
DELETE FROM {table.name} WHERE rowid IN (SELECT place FROM ({mine}))
RETURNING {", ".join(column.name for column in table.c)}
""")  # noqa: S608 - Fairlane's names

    return statement.columns(*table.c).execution_options(fairlane_across="finish")
