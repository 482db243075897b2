"""How SQLite does what `store.engine.DatabaseEngine` names: one transaction writes at a time, in a file at hand."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, FromClause, Select, TextClause, text

from fairlane.store import sql
from fairlane.store.clock import Clock
from fairlane.store.engine import Question, Rows
from fairlane.store.sql import as_given
from fairlane.store.sqlite import attempts, connections, json_rows, new_jobs
from fairlane.store.statements.dedup import KeyToTake
from fairlane.store.statements.keys import Writer
from fairlane.store.tables import Instant, jobs

writers_are_serial = True
is_server = False
has_row_security = False
begin: str = connections.BEGIN
one_snapshot: Mapping[str, str] = {}  # any transaction's
each_by_itself: Mapping[str, str] = {}
connect, file_of, is_in_memory = connections.connect, connections.file_of, connections.is_in_memory
insert_jobs, insert_plain_jobs = new_jobs.insert, new_jobs.at_once
claim, complete = attempts.claim, attempts.complete
insert, insert_from_json = json_rows.insert, json_rows.insert_from_json
update_live, take, values_of = json_rows.update_live, json_rows.take, json_rows.values_of
skip_locked = ""
# SQLite takes a partial index for the very words of its predicate.
ready = "ready = 1"
not_ready = "ready = 0"

_FILE: Final = text("""
SELECT coalesce(file, '') FROM pragma_database_list
WHERE name = 'main' AND EXISTS (SELECT 1 FROM main.sqlite_master WHERE name = :jobs)
""")
_STEPS = 10_000  # of SQLite's machine between two looks at the clock: a tenth of a millisecond or so


@cache
def statement(name: str, *, without: str | None = None) -> TextClause:
    """Return the statement of this name."""
    return sql.statement(f"sqlite/{name}", without=without)


def moment(words: str) -> str:
    """Return the words: moments are texts here."""
    return words


def few_of_each(columns: str, table: str, rest: str) -> str:
    """Join by the rows' numbers: SQLite has no LATERAL."""
    return f"JOIN {table} AS job ON job.rowid IN (SELECT rowid FROM {table} {rest})"  # noqa: S608 - words of ours


def each_looked_up(rows: FromClause, its: Select[Any]) -> Select[Any]:
    """Select by a plain join, which SQLite always makes by an index."""
    return its


def by_ids(found: Select[Any], key: ColumnElement[UUID], ids: Collection[UUID]) -> Select[Any]:
    """Compare with a list, for each of which SQLite probes the index."""
    return found.where(key.in_(sorted(ids))).order_by(key)


def among(column: ColumnElement[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
    """Compare with a list."""
    return column.in_(list(ids))


def ask(
    connection: Connection, clock: Clock, questions: Sequence[Question], values: Mapping[str, Any]
) -> tuple[datetime, float, list[Rows]]:
    """Ask in turn: there is no way to go."""
    rows = [[tuple(row) for row in connection.execute(_across(one), values)] for one in questions]
    return clock.now(connection), clock.lease_seconds(connection), rows


@cache
def _across(question: Question) -> Question:
    return question.execution_options(fairlane_across="claim")


def take_keys(connection: Connection, keys: Sequence[KeyToTake]) -> set[tuple[str, str]]:
    """Send them as JSON."""
    rows = as_given((one.organization, one.key, one.job_id.hex, Instant.as_text(one.expires_at)) for one in keys)
    taken = {tuple(row) for row in connection.execute(statement("take_keys"), {"given": rows})}
    return {(one.organization, one.key) for one in keys} - taken


def log_writers(connection: Connection) -> frozenset[str]:
    """Return none: numbers are drawn in the order of commits."""
    return frozenset()


def writers(connection: Connection, seconds: float) -> frozenset[Writer]:
    """Return none: whoever comes to write has all that was written before."""
    return frozenset()


def wait_for_claims(connection: Connection) -> None:
    """Do nothing: who writes has waited already."""


def overwrite_what_is_replaced(connection: Connection) -> None:
    """Have pages lose the bytes of what was longer."""
    connection.exec_driver_sql("PRAGMA secure_delete = ON")


def place(connection: Connection) -> tuple[Any, ...] | None:
    """Return where the file is: its device and its number.

    Raises:
        NoConnection: the file was open when this process was forked.
    """
    # Not in an attached database: SQLite commits each file by itself, so the job could be there without the caller's
    # rows.
    file = connection.scalar(_FILE, {"jobs": jobs.name})
    if not file:
        return None if file is None else ()
    connections.refuse_copied(file)
    with suppress(OSError):  # deleted while it is open
        found = Path(file).stat()
        return found.st_dev, found.st_ino
    return None


def lock_timeout(connection: Connection, seconds: float, of: Collection[str] = ()) -> AbstractContextManager[None]:
    """Do nothing: the connection's busy timeout is the bound."""
    return nullcontext()


@contextmanager
def interrupt_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Look at the clock from time to time while SQLite works."""
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
    """Ask the driver: from Python 3.12 by `autocommit`; -1, the legacy mode, leaves it to isolation_level."""
    driver: Any = connection.connection.dbapi_connection
    autocommit = getattr(driver, "autocommit", -1)
    return bool(autocommit) if autocommit != -1 else driver.isolation_level is None


def scrub(connection: Connection, table: str) -> None:
    """Empty the write-ahead log; not in the transaction that SQLAlchemy would begin: SQLite refuses that."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def plan_for_values(connection: Connection) -> None:
    """Do nothing: SQLite has plans that look at no values."""
