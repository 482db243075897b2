"""The protocol for operations that differ between the two databases, and the lookup of their modules.

The modules `postgres/engine.py` and `sqlite/engine.py` implement it: their functions are the operations. Statements
that differ only in their SQL have a file of the same name in both folders, with the same parameters and columns. All
else is written once, in SQLAlchemy Core. No other code asks which database it is.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Engine, FromClause, Select, Table, TextClause, TextualSelect, make_url
from sqlalchemy.exc import ArgumentError

from fairlane.config import FULL, Synchronous
from fairlane.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

    from fairlane.store.clock import Clock
    from fairlane.store.response_timeout import ResponseTimeout
    from fairlane.store.statements.claim import Claimed, Wanted
    from fairlane.store.statements.dedup import KeyToTake
    from fairlane.store.statements.drafts import Draft, Fresh
    from fairlane.store.statements.finish import Finish
    from fairlane.store.statements.keys import Writer
    from fairlane.store.statements.transition import Change, Key

Question: TypeAlias = Select[*tuple[Any, ...]] | TextualSelect
Rows: TypeAlias = list[tuple[Any, ...]]

WRITE: Final = "fairlane_write"  # execution option: this transaction writes
LOCK_SECONDS: Final = "fairlane_lock_seconds"  # execution option: seconds to wait for locks, if not the usual ones


class NoConnection(ConfigurationError):
    """No connection is made, for a reason that the operator has to mend. Callers get it as a `ConfigurationError`."""


class DatabaseEngine(Protocol):
    """The operations and facts that differ between databases."""

    def __hash__(self) -> int:
        """Return a hash: statements made from an engine's words are cached."""

    # Facts.
    writers_are_serial: bool  # one transaction writes at a time, so no row locks are needed
    # A server has its own clock, settings for each session, and LISTEN/NOTIFY. Its drivers open a transaction before
    # any statement, unless told not to. Every session enforces foreign keys.
    is_server: bool
    has_row_security: bool  # the database itself can separate the rows of organizations
    begin: str  # the statement that begins a transaction that writes
    one_snapshot: Mapping[str, str]  # execution options of transactions whose statements read one snapshot
    each_by_itself: Mapping[str, str]  # execution options of statements without a transaction

    # Connections.
    def connect(
        self,
        url: str,
        *,
        pool_size: int,
        lock_seconds: float,
        synchronous: Synchronous = FULL,
        is_default: bool = False,
        response_timeout: "ResponseTimeout | None" = None,
    ) -> Engine:
        """Make an engine of SQLAlchemy, with Fairlane's own connections.

        Args:
            synchronous: whether a commit waits for the disk, if no server's settings decide that.
            is_default: True if nobody configured this URL, which the error for a missing file mentions.
            response_timeout: how long to wait for a server's answers; None = no timeout.

        Raises:
            ConfigurationError: the URL is invalid, or its driver is not installed.
        """

    def is_in_memory(self, url: str) -> bool:
        """Return True if the database exists only in one connection, and ends with it."""

    def file_of(self, url: str) -> Path | None:
        """Return the database's file; None if it is not a single file."""

    def place(self, connection: Connection) -> tuple[Any, ...] | None:
        """Return what identifies the database; None without Fairlane's tables, () for a database in memory."""

    def lock_timeout(
        self, connection: Connection, seconds: float, of: Collection[str] = ()
    ) -> AbstractContextManager[None]:
        """Set the timeout for each lock within the block; restore the former timeout afterwards.

        Args:
            connection: with an open transaction; without one the timeout has no effect.
            seconds: at least a millisecond is used, as 0 would mean no timeout.
            of: organizations whose rows the session sees meanwhile, by the application's role.

        Raises:
            ConfigurationError: the session's login may not take on that role.
        """

    def interrupt_after(self, connection: Connection, seconds: float) -> AbstractContextManager[None]:
        """Interrupt the block's statements after so many seconds, if no setting of the session does."""

    def is_open(self, connection: Connection) -> bool:
        """Return True if the database itself, rather than SQLAlchemy, has an open transaction."""

    def autocommits(self, connection: Connection) -> bool:
        """Return True if a statement outside a transaction takes effect at once."""

    def scrub(self, connection: Connection, table: str) -> None:
        """Remove deleted data of a table from the database's files, by a statement outside transactions."""

    def plan_for_values(self, connection: Connection) -> None:
        """Plan each statement of this transaction for its values.

        A plan for all values reads everything if one value has most rows, and another value has none.
        """

    # Words.
    skip_locked: str  # lock the rows of a SELECT, and skip locked rows
    ready: str  # the condition for ready jobs, in the partial indexes' words
    not_ready: str

    def insert(self, table: Table) -> "postgresql.Insert":
        """Return an INSERT with support for ON CONFLICT, which both databases spell alike."""

    def insert_from_json(
        self, table: Table, rows: Sequence[Mapping[str, Any]]
    ) -> "tuple[postgresql.Insert, dict[str, str]]":
        """Return an INSERT … SELECT of rows with the same columns, in their order, and its one parameter."""

    def statement(self, name: str, *, without: str | None = None) -> TextClause:
        """Return the statement of this name, from its file, and `without` a part that is marked there."""

    def moment(self, words: str) -> str:
        """Return the SQL that reads a time from a text."""

    def few_of_each(self, columns: str, table: str, rest: str) -> str:
        """Return a join with a few rows, named `job`, for each row before it. It reads no more than these few.

        Args:
            columns: the wanted columns of the table.
            rest: the SQL after FROM and the table's name, which ends with a LIMIT.
        """

    def each_looked_up(self, rows: FromClause, its: Select[Any]) -> Select[Any]:
        """Select the rows that `its` finds for each of `rows`, without a scan of its table."""

    def by_ids(self, found: Select[Any], key: ColumnElement[UUID], ids: Collection[UUID]) -> Select[Any]:
        """Restrict an organization's rows to those whose `key` is one of these ids, in their order."""

    def among(self, column: ColumnElement[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
        """Compare the column with these ids."""

    # Operations.
    def ask(
        self, connection: Connection, clock: "Clock", questions: Sequence[Question], values: Mapping[str, Any]
    ) -> tuple[datetime, float, list[Rows]]:
        """Return the time, the lease seconds, and the rows of each question.

        Args:
            questions: constants: a statement may be made and cached for each combination.
            values: the parameters of all questions.
        """

    def update_live(self, columns: tuple[str, ...]) -> TextualSelect:
        """Return the statement that changes rows that stay live, if they still have their source status and lease.

        All rows set these columns. The statement returns changed rows with the columns `transition.RETURNED`.
        """

    def take(self, table: Table) -> TextualSelect:
        """Return the statement that deletes and returns rows of states, if they still have their status and lease."""

    def values_of(self, changes: "Sequence[Change]") -> dict[str, Any]:
        """Return the parameters of `update_live` and `take`."""

    def insert_jobs(
        self, connection: Connection, now: datetime, new: "Sequence[Fresh]", replaced: Mapping[UUID, UUID]
    ) -> None:
        """Insert jobs and their logs.

        Args:
            replaced: the earlier job that a new job replaces, for its log: children of the earlier job had that parent
                id.

        Raises:
            IntegrityError, DataError
        """

    def insert_plain_jobs(
        self, connection: Connection, clock: "Clock", chunks: "Iterator[Sequence[Draft] | None]"
    ) -> datetime | None:
        """Insert plain drafts in a write transaction, if all assumptions about them hold.

        Args:
            chunks: None = give up.

        Returns:
            The time of the insert; None if nothing was done, or if `new_jobs.at_once` does it.
        """

    def take_keys(self, connection: Connection, keys: "Sequence[KeyToTake]") -> set[tuple[str, str]]:
        """Take those of the distinct, sorted `keys` that have no row yet, and return the others."""

    def claim(
        self, connection: Connection, now: datetime, wanted: "Wanted", *, worker_id: UUID, worker: str
    ) -> "list[Claimed]":
        """Claim the wanted jobs, the most urgent of each organization first, up to the size `MOST_AT_ONCE`.

        The caller has called `lanes.begin_claim`, so no job is claimed by a worker that was given up.
        """

    def complete(self, connection: Connection, now: datetime, ends: "Sequence[Finish]") -> "list[tuple[Key, bool]]":
        """Write these quick completions of one actor.

        Returns:
            The completed jobs, each with True if it has a new child to tell. The other jobs have lost their lease, or
            their row is locked, or their cancel was requested, or they have children to tell: `finish` finds out.
        """

    def log_writers(self, connection: Connection) -> frozenset[str]:
        """Return the open transactions that may have drawn numbers for the log or for alerts."""

    def writers(self, connection: Connection, seconds: float) -> "frozenset[Writer]":
        """Return the transactions that write in this database, or may be about to.

        Args:
            connection: in a transaction, the rest of which runs with the login's own role.
            seconds: omit transactions that are known to be younger than this.
        """

    def wait_for_claims(self, connection: Connection) -> None:
        """Wait until every claim that is under way has ended."""

    def overwrite_what_is_replaced(self, connection: Connection) -> None:
        """Make this session erase the bytes that it overwrites, as far as the database can do so at once."""


def engine_of(connection: Connection) -> DatabaseEngine:
    """Return the engine for the connection's database."""
    return engine_named(connection.dialect.name)


@cache
def engine_named(name: str) -> DatabaseEngine:
    """Return the engine for a kind of database, by SQLAlchemy's name.

    Raises:
        ConfigurationError: Fairlane doesn't run on it.
    """
    # Imported here, because the engines import the statements, which import this module.
    if name == "sqlite":
        from fairlane.store.sqlite import engine as sqlite  # noqa: PLC0415

        return sqlite
    if name not in {"postgresql", "postgres"}:
        raise ConfigurationError(f"Fairlane runs on sqlite:// and postgresql:// databases, not on {name}://.")
    from fairlane.store.postgres import engine as postgres  # noqa: PLC0415

    return postgres


def engine_at(url: str) -> DatabaseEngine:
    """Return the engine for the database of a URL.

    Raises:
        ConfigurationError: the URL is not of a database that Fairlane runs on.
    """
    try:
        name = make_url(url).get_backend_name()
    except ArgumentError:
        raise ConfigurationError(
            "The database URL can't be read; write sqlite:///jobs.db or postgresql://user@host/database."
        ) from None
    return engine_named(name)
