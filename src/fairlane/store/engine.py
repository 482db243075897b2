"""What the two databases do each in a way of its own, and which module does it.

`postgres/engine.py` and `sqlite/engine.py` are the two implementations: modules, whose functions are these operations.
Statements that differ in their words alone have a file of the same name in both folders, with the same parameters and
the same columns. All else is written once, in SQLAlchemy Core. Nobody else asks which database it is.
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
PATIENCE: Final = "fairlane_patience"  # execution option: how many seconds it waits for locks, if not as others


class NoConnection(ConfigurationError):
    """No connection is made, for a reason that whoever runs Fairlane has to mend. Passed on as `ConfigurationError`."""


class DatabaseEngine(Protocol):
    """The operations that differ, and the facts that others go by."""

    def __hash__(self) -> int:
        """Return a hash: what is made of an engine's words is kept for the next time."""

    # Facts.
    writers_are_serial: bool  # one transaction writes at a time, so that none has to lock a row
    # A server has a clock of its own, settings of each session, and calls to who listens. Its drivers open a
    # transaction before any statement, unless they are told not to. Each session enforces its foreign keys.
    is_server: bool
    has_row_security: bool  # the database itself can keep the rows of organizations apart
    begin: str  # the statement that begins a transaction that writes
    one_snapshot: Mapping[str, str]  # execution options of transactions whose statements read one snapshot
    each_by_itself: Mapping[str, str]  # execution options of statements that stand alone

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
        """Make an engine of SQLAlchemy's, with connections of our own.

        Args:
            synchronous: whether a commit waits for the disk, where no server's settings say so.
            is_default: nobody named this URL, which is said where its file is not there.
            response_timeout: how long to wait for a server's answers; None = as long as it takes.

        Raises:
            ConfigurationError: the URL is no such URL, or its driver is not installed.
        """

    def is_in_memory(self, url: str) -> bool:
        """Return True if the database lives in one connection, and ends with it."""

    def file_of(self, url: str) -> Path | None:
        """Return the file that the database is; None where there is no single one."""

    def place(self, connection: Connection) -> tuple[Any, ...] | None:
        """Return what tells the database from others; None without Fairlane's tables, () if it is in memory."""

    def lock_timeout(
        self, connection: Connection, seconds: float, of: Collection[str] = ()
    ) -> AbstractContextManager[None]:
        """Bound each wait for a lock; the previous bound is back afterwards.

        Args:
            connection: with a transaction open; outside one the bound would have no effect.
            seconds: at least a millisecond is taken, since 0 would mean for ever.
            of: organizations whose rows the session shall see meanwhile, by the role of the application.

        Raises:
            ConfigurationError: the session's login may not have that role.
        """

    def interrupt_after(self, connection: Connection, seconds: float) -> AbstractContextManager[None]:
        """Interrupt what runs within the block after so long, where no setting of the session does."""

    def is_open(self, connection: Connection) -> bool:
        """Return True if the database, as opposed to SQLAlchemy, has a transaction open."""

    def autocommits(self, connection: Connection) -> bool:
        """Return True if a statement outside a transaction takes effect at once."""

    def scrub(self, connection: Connection, table: str) -> None:
        """Have the files forget what was deleted from a table, in a statement outside of transactions."""

    def plan_for_values(self, connection: Connection) -> None:
        """Have each statement of this transaction planned for its values.

        A plan that is kept for all values reads everything where one has most of the rows and another has none.
        """

    # Words.
    skip_locked: str  # that lock the rows of a SELECT, and pass over those that somebody else has locked
    ready: str  # for jobs that are ready, as the partial indexes have them
    not_ready: str

    def insert(self, table: Table) -> "postgresql.Insert":
        """Return an INSERT that knows ON CONFLICT; both spell it alike."""

    def insert_from_json(
        self, table: Table, rows: Sequence[Mapping[str, Any]]
    ) -> "tuple[postgresql.Insert, dict[str, str]]":
        """Return an INSERT … SELECT of rows with the same columns, in their order, and its one parameter."""

    def statement(self, name: str, *, without: str | None = None) -> TextClause:
        """Return the statement of this name, from its file, and `without` a part that is marked there."""

    def moment(self, words: str) -> str:
        """Return the words that read a moment from a text."""

    def few_of_each(self, columns: str, table: str, rest: str) -> str:
        """Return a join with a few rows, named `job`, for each row before it; each reads no more than these few.

        Args:
            columns: of the table, that are asked for.
            rest: what follows FROM and the table's name; it ends with a LIMIT.
        """

    def each_looked_up(self, rows: FromClause, its: Select[Any]) -> Select[Any]:
        """Select what `its` finds for each of `rows`, to which its conditions refer; never all of its table."""

    def by_ids(self, found: Select[Any], key: ColumnElement[UUID], ids: Collection[UUID]) -> Select[Any]:
        """Narrow an organization's rows to those whose `key` is one of these ids, in their order."""

    def among(self, column: ColumnElement[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
        """Compare the column with these ids."""

    # Operations.
    def ask(
        self, connection: Connection, clock: "Clock", questions: Sequence[Question], values: Mapping[str, Any]
    ) -> tuple[datetime, float, list[Rows]]:
        """Return the time, the seconds that leases are compared with, and the rows of each question.

        Args:
            questions: constants: for each combination of them a statement may be made and kept.
            values: the parameters of all of them.
        """

    def update_live(self, columns: tuple[str, ...]) -> TextualSelect:
        """Change rows that stay live, each if it has its source status still, and its lease; all set these columns.

        It returns those that were changed, with the columns `transition.RETURNED`.
        """

    def take(self, table: Table) -> TextualSelect:
        """Delete rows of a table of states, each if it has its source status still, and its lease; return them."""

    def values_of(self, changes: "Sequence[Change]") -> dict[str, Any]:
        """Return the parameters of `update_live` and `take`."""

    def insert_jobs(
        self, connection: Connection, now: datetime, new: "Sequence[Fresh]", replaced: Mapping[UUID, UUID]
    ) -> None:
        """Insert jobs and their logs.

        Args:
            replaced: which job a new one replaces, for its log: children of the earlier one knew it by that id.

        Raises:
            IntegrityError, DataError
        """

    def insert_plain_jobs(
        self, connection: Connection, clock: "Clock", chunks: "Iterator[Sequence[Draft] | None]"
    ) -> datetime | None:
        """Insert plain drafts in a transaction that writes, if all that was taken for granted of them holds.

        Args:
            chunks: None = give up.

        Returns:
            When; None: nothing was done, also where `new_jobs.at_once` does it.
        """

    def take_keys(self, connection: Connection, keys: "Sequence[KeyToTake]") -> set[tuple[str, str]]:
        """Take those of the distinct `keys`, sorted, that have no row yet, and return the others."""

    def claim(
        self, connection: Connection, now: datetime, wanted: "Wanted", *, worker_id: UUID, worker: str
    ) -> "list[Claimed]":
        """Claim what is wanted, each organization's most urgent first; no more jobs after `MOST_AT_ONCE`.

        The caller has begun (`lanes.begin_claim`), so that no job is claimed by a worker that was given up.
        """

    def complete(self, connection: Connection, now: datetime, ends: "Sequence[Finish]") -> "list[tuple[Key, bool]]":
        """Write these quick completions of one actor.

        Returns:
            Those that were completed, and which have a child that was submitted a moment ago and is to be told. The
            others have lost their lease, or somebody holds a row of theirs, or their cancel was asked for, or they have
            children to tell: `finish` finds out which.
        """

    def log_writers(self, connection: Connection) -> frozenset[str]:
        """Return the transactions that may have drawn numbers of the log or of alerts, and have not ended."""

    def writers(self, connection: Connection, seconds: float) -> "frozenset[Writer]":
        """Return the transactions that write in this database, or may be about to; none known to have begun later.

        Args:
            connection: in a transaction, the rest of which has the login's own eyes.
            seconds: how long ago a transaction must have begun to be told; 0 = whenever.
        """

    def wait_for_claims(self, connection: Connection) -> None:
        """Wait until every claim that was under way has ended."""

    def overwrite_what_is_replaced(self, connection: Connection) -> None:
        """Have this session leave no bytes of what it overwrites, as far as the database can do so at once."""


def engine_of(connection: Connection) -> DatabaseEngine:
    """Return how the connection's database does what differs."""
    return engine_named(connection.dialect.name)


@cache
def engine_named(name: str) -> DatabaseEngine:
    """Return how a database does what differs; by the name that SQLAlchemy has for its kind.

    Raises:
        ConfigurationError: Fairlane doesn't run on it.
    """
    # Each is imported where it is used, as it knows the statements, which ask for it.
    if name == "sqlite":
        from fairlane.store.sqlite import engine as sqlite  # noqa: PLC0415

        return sqlite
    if name not in {"postgresql", "postgres"}:
        raise ConfigurationError(f"Fairlane runs on sqlite:// and postgresql:// databases, not on {name}://.")
    from fairlane.store.postgres import engine as postgres  # noqa: PLC0415

    return postgres


def engine_at(url: str) -> DatabaseEngine:
    """Return how the database of a URL does what differs.

    Raises:
        ConfigurationError: the URL is none of a database that Fairlane runs on.
    """
    try:
        name = make_url(url).get_backend_name()
    except ArgumentError:
        raise ConfigurationError(
            "The database URL can't be read; write sqlite:///jobs.db or postgresql://user@host/database."
        ) from None
    return engine_named(name)
