"""PostgreSQL's operations for `store.engine.DatabaseEngine`: many transactions write at once, and lock rows."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    Table,
    Text,
    TextClause,
    TextualSelect,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    create_engine,
    func,
    literal,
    literal_column,
    make_url,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from fairlane.config import FULL, Synchronous
from fairlane.domain.errors import ConfigurationError
from fairlane.domain.timing import IDLE_IN_TRANSACTION
from fairlane.store import sql
from fairlane.store.clock import Clock, DatabaseClock
from fairlane.store.engine import Question, Rows, engine_named
from fairlane.store.line import combined, rows_of
from fairlane.store.pool_health import (
    ask_idle_connections,
    close_late_ones,
    give_up_stuck_connections,
    leave_connections_to_parent,
)
from fairlane.store.response_timeout import ResponseTimeout, bound
from fairlane.store.row_logins import LENT, role_for
from fairlane.store.row_security import SETTING, named
from fairlane.store.sql import texts_of
from fairlane.store.statements import dedup, new_jobs
from fairlane.store.statements.claim import Claimed, Wanted, alone
from fairlane.store.statements.drafts import Draft, Fresh
from fairlane.store.statements.finish import Finish, arrays
from fairlane.store.statements.keys import Writer
from fairlane.store.statements.transition import RETURNED, Change, Key
from fairlane.store.tables import Instant, jobs, live

writers_are_serial = False
is_server = True
has_row_security = True
begin = "BEGIN"
one_snapshot: Mapping[str, str] = {"isolation_level": "REPEATABLE READ"}
each_by_itself: Mapping[str, str] = {"isolation_level": "AUTOCOMMIT"}
skip_locked = "FOR NO KEY UPDATE SKIP LOCKED"
ready = "ready"
not_ready = "NOT ready"

_PLACE: Final = text("""
SELECT pg_database.oid, jobs.oid, extract(epoch FROM pg_postmaster_start_time())
FROM pg_database JOIN pg_class AS jobs ON jobs.oid = to_regclass(:jobs) WHERE datname = current_database()
""")
_FOR_VALUES: Final = text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
# A host's session may write times in a form that drivers can't read, or raise errors where row security filters.
_OURS: Final = {"DateStyle": "ISO", "row_security": "on"}
_NAMES: Final = ("lock_timeout", SETTING, "role", "search_path", *_OURS)
_SETTINGS: Final = text(
    ", ".join([f"SELECT {LENT}", *(f"coalesce(current_setting('{name}', true), '')" for name in _NAMES)])
)
_SET: Final = text(
    "SELECT " + ", ".join(f"set_config('{name}', :value_{place}, true)" for place, name in enumerate(_NAMES))
)
_IDLE: Final = 0  # libpq's PQTRANS_IDLE
_CONNECT_SECONDS = 5
# If one side vanishes or freezes, the other side must not wait for hours, TCP's default. Seconds, and the count of
# probes. They have no effect on a Unix socket.
_UNHEARD = 20
_KEEPALIVES: Final = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def connect(
    url: str,
    *,
    pool_size: int,
    lock_seconds: float,
    synchronous: Synchronous = FULL,  # the server's own settings decide when a commit returns
    is_default: bool = False,  # there is no default server
    response_timeout: ResponseTimeout | None = None,
) -> Engine:
    """Make an engine whose sessions give up silent servers, and never hold up others for long."""
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=30,
            connect_args={
                "connect_timeout": _CONNECT_SECONDS,
                "client_encoding": "UTF8",  # not by the options: PGCLIENTENCODING overrides them, and poolers drop them
                "fallback_application_name": "fairlane",  # if neither the URL nor PGAPPNAME has one
                "options": _options(parsed.query.get("options", ()), lock_seconds),
                "tcp_user_timeout": _UNHEARD * 1000,
                **_KEEPALIVES,
            },
            hide_parameters=True,
            use_native_hstore=False,  # otherwise each engine looks up a type that Fairlane does not use
        )
    except ModuleNotFoundError:
        raise ConfigurationError("PostgreSQL needs its driver: pip install 'fairlane[postgres]'.") from None
    ask_idle_connections(engine)
    give_up_stuck_connections(engine)
    if response_timeout is not None:
        bound(engine, response_timeout)
    leave_connections_to_parent(engine)
    close_late_ones(engine)
    return engine


def _options(of_url: str | Sequence[str], lock_seconds: float) -> str:
    """Return the options of Fairlane's sessions, after the URL's own options, which would be lost otherwise."""
    theirs = [of_url] if isinstance(of_url, str) else of_url
    ours = (
        # No transaction holds up Fairlane's for ever, even that of a Fairlane process that was stopped in the middle.
        f"-c lock_timeout={int(lock_seconds * 1000)}",
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION * 1000}",
        # Nor that of a client that vanished or froze while it received an answer. Its session is not idle, and no other
        # timeout applies while the server waits for it to read on.
        f"-c tcp_user_timeout={_UNHEARD * 1000}",
        *(f"-c tcp_{name}={value}" for name, value in _KEEPALIVES.items()),
        # Whatever the role's default: after waiting for a lock, a statement has to see what was committed meanwhile.
        "-c default_transaction_isolation=read\\ committed",
        # Whatever the database's time zone: the driver can't read a time that is before year 1 or after 9999 in that
        # zone.
        "-c TimeZone=UTC",
        # Nor can it read a time that is not in ISO 8601.
        "-c DateStyle=ISO",
        # A claim makes sorts look so expensive that PostgreSQL would compile each claim, for most of a second.
        "-c jit=off",
    )
    return " ".join((*theirs, *ours))


@cache
def statement(name: str, *, without: str | None = None) -> TextClause:
    """Return the statement of this name."""
    return sql.statement(f"postgres/{name}", without=without)


def moment(words: str) -> str:
    """Return the SQL that reads a time from a text."""
    return f"CAST({words} AS timestamptz)"


def few_of_each(columns: str, table: str, rest: str) -> str:
    """Join by LATERAL."""
    return f"CROSS JOIN LATERAL (SELECT {columns} FROM {table} {rest}) AS job"  # noqa: S608 - Fairlane's words


def each_looked_up(rows: FromClause, its: Select[Any]) -> Select[Any]:
    """Select by LATERAL. OFFSET keeps the planner from a join."""
    each = its.offset(literal_column("0")).lateral()
    return select(each).select_from(rows.join(each, true()))


def by_ids(found: Select[Any], key: ColumnElement[UUID], ids: Collection[UUID]) -> Select[Any]:
    """Probe the index for each id: LATERAL with LIMIT leaves the planner no other plan.

    Without statistics it would read all rows of the organization for a few ids.
    """
    given = func.string_to_array(" ".join([one.hex for one in sorted(ids)]), " ")
    one = func.unnest(cast(given, ARRAY(Uuid()))).table_valued(column("id", Uuid())).render_derived()
    its = found.where(key == one.c.id).limit(1).lateral("its")
    return select(its).select_from(one.join(its, true()))


def among(column: ColumnElement[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
    """Compare with an array, which is one parameter: a list would be written out each time."""
    return column == any_(literal(list(ids), ARRAY(Uuid)))


def ask(
    connection: Connection, clock: Clock, questions: Sequence[Question], values: Mapping[str, Any]
) -> tuple[datetime, float, list[Rows]]:
    """Ask in one round trip.

    The answers come from one snapshot. If one question waits for a lock, the others do not see what was committed
    meanwhile.
    """
    now, seconds, *found = connection.execute(combined(tuple(questions)), values).one()
    if not isinstance(clock, DatabaseClock):
        now, seconds = clock.now(connection), clock.lease_seconds(connection)
    return now.astimezone(UTC), seconds, rows_of(questions, found)


def insert_jobs(connection: Connection, now: datetime, new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> None:
    """Insert the rows of all tables by one statement."""
    connection.execute(*new_jobs.whole_of(now, new, replaced))


def insert_plain_jobs(connection: Connection, clock: Clock, chunks: Iterator[Sequence[Draft] | None]) -> None:
    """Do nothing: `new_jobs.at_once` has a statement that needs no transaction."""


def take_keys(connection: Connection, keys: Sequence[dedup.KeyToTake]) -> set[tuple[str, str]]:
    """Take the keys by one statement, with one text as parameter."""
    columns = {
        "organization_id": [one.organization for one in keys],
        "key": [one.key for one in keys],
        "job_id": [one.job_id.hex for one in keys],
        "expires_at": [Instant.as_text(one.expires_at) for one in keys],
    }
    return {tuple(row) for row in connection.execute(statement("take_keys"), {"keys": texts_of(columns)})}


def claim(connection: Connection, now: datetime, wanted: Wanted, *, worker_id: UUID, worker: str) -> list[Claimed]:
    """Claim by the statement that elsewhere runs without a transaction.

    `lanes.begin_claim` has read the lease, pauses and suspensions. Jobs of a deleted organization are claimed all the
    same.
    """
    its, values = alone(engine_named("postgresql"), wanted, worker_id=worker_id, worker=worker, are_ours=False)
    values = {**values, "stands_alone": False, "now": now, "lease_now": 0.0}
    return [Claimed._make(row) for row in connection.execute(its, values)]


def complete(connection: Connection, now: datetime, ends: Sequence[Finish]) -> list[tuple[Key, bool]]:
    """Write and delete by one statement."""
    its = statement("complete").execution_options(fairlane_across="finish")
    rows = connection.execute(its, {**arrays(ends), "now": now})
    return [((organization, job_id), has_child) for organization, job_id, _, has_child in rows]


def log_writers(connection: Connection) -> frozenset[str]:
    """Find the transactions by the locks that they hold."""
    return frozenset(connection.execute(statement("log_writers")).scalars())


def writers(connection: Connection, seconds: float) -> frozenset[Writer]:
    """Find the transactions by the locks that they hold."""
    connection.exec_driver_sql("SET LOCAL ROLE NONE")  # the roles see no other sessions, not even of their own login
    return frozenset(Writer(*row) for row in connection.execute(statement("writers"), {"seconds": seconds}))


def wait_for_claims(connection: Connection) -> None:
    """Lock the table: a claim locks it, then takes its snapshot, and only then locks its worker's row."""
    connection.execute(text("LOCK TABLE fairlane_workers IN EXCLUSIVE MODE"))


def overwrite_what_is_replaced(connection: Connection) -> None:
    """Do nothing: old versions of rows stay until a vacuum. See `Database.scrub`."""


def file_of(url: str) -> None:
    """Return None: the files are the server's."""


def is_in_memory(url: str) -> bool:
    """Return False."""
    return False


def place(connection: Connection) -> tuple[Any, ...] | None:
    """Return the numbers of the database and its tables, and the start time of the server.

    A copied server has the same numbers, but another start time.
    """
    row = connection.execute(_PLACE, {"jobs": jobs.name}).one_or_none()
    return tuple(row) if row is not None else None


@contextmanager
def lock_timeout(connection: Connection, seconds: float, of: Collection[str] = ()) -> Iterator[None]:
    """Set the session's settings for the block, and restore the values before."""
    answer = connection.execute(_SETTINGS).one()
    lent, previous = answer[: -len(_NAMES)], answer[-len(_NAMES) :]
    _, organizations, role, path, *_ = previous
    if of:
        organizations, role = named(of), role_for(of, *lent) or role
    # pg_temp last: otherwise a temporary table left in a pooled session could hide one of Fairlane's tables.
    path = f"{path}, pg_temp" if path else path
    _set(connection, f"{max(1, round(seconds * 1000))}ms", organizations, role, path, *_OURS.values())
    try:
        yield
    except BaseException:
        # This fails if an error aborted the transaction: then the rollback to the savepoint restores the values. A
        # broken connection has no values any more, and the caller should see the error that broke it.
        with suppress(DBAPIError, PendingRollbackError):
            _set(connection, *previous)
        raise
    _set(connection, *previous)


def _set(connection: Connection, *values: str) -> None:
    connection.execute(_SET, {f"value_{place}": value for place, value in enumerate(values)})


def interrupt_after(connection: Connection, seconds: float) -> AbstractContextManager[None]:
    """Do nothing: the transaction's `statement_timeout` does. See `row_security.open_to`."""
    return nullcontext()


def is_open(connection: Connection) -> bool:
    """Ask the driver."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.driver == "asyncpg":
        return bool(driver.is_in_transaction())
    return bool(driver.info.transaction_status != _IDLE)


def autocommits(connection: Connection) -> bool:
    """Ask SQLAlchemy, which knows the drivers."""
    driver: Any = connection.connection.dbapi_connection
    return connection.dialect.detect_autocommit_setting(driver)


def scrub(connection: Connection, table: str) -> None:
    """Rewrite the table: a plain VACUUM leaves old bytes in the free space of pages."""
    connection.exec_driver_sql(f"VACUUM (FULL) {table}")


def plan_for_values(connection: Connection) -> None:
    """Set PostgreSQL to plan for values: it may use one plan for all values of a prepared statement."""
    connection.execute(_FOR_VALUES)


# Many rows travel as one JSON text, for inserts and for transitions of many jobs.
@cache
def insert(table: Table) -> postgresql.Insert:
    """Return SQLAlchemy's own insert. Inline: no caller needs the number that a row gets."""
    return postgresql.insert(table).inline()


def insert_from_json(table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[postgresql.Insert, dict[str, str]]:
    """Insert rows from JSON, with the table's columns by name."""
    return _insert_from_json(table, tuple(rows[0])), {"rows": json.dumps(rows, default=str, ensure_ascii=False)}


@cache
def _insert_from_json(table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    source = func.json_populate_recordset(
        literal_column(f"NULL::{table.name}"), cast(bindparam("rows", type_=Text), JSON)
    )
    given = source.table_valued(*(table.c[name] for name in names))
    return postgresql.insert(table).from_select(names, select(*given.c))


def values_of(changes: Sequence[Change]) -> dict[str, Any]:
    """Return the values of the changes as one JSON text, and their keys as texts."""
    rows = {
        f"{one.organization}/{one.job_id}": {
            **one.transition.changes,
            "status": one.transition.target,
            "log_sequence": len(one.transition.steps),
            "source": one.transition.source,
            "lease": one.lease_token,
        }
        for one in changes
    }
    return {
        "given": json.dumps(rows, default=str, ensure_ascii=False),
        "organizations": [one.organization for one in changes],
        "ids": " ".join([one.job_id.hex for one in changes]),
    }


# LATERAL with a lock makes the planner probe the index for each row, and a row keeps its place (ctid) within the
# statement. Conditions on values of `given` do not tempt the planner to use another index.
_PLACES: Final = """
WITH given AS (SELECT CAST(:given AS jsonb) AS rows), place AS MATERIALIZED (
  SELECT its.place FROM unnest(CAST(:organizations AS text[]), CAST(string_to_array(:ids, ' ') AS uuid[]))
    AS one(organization_id, id)
  CROSS JOIN LATERAL (SELECT ctid AS place FROM {table}
    WHERE organization_id = one.organization_id AND id = one.id FOR UPDATE) AS its
)
"""
_MINE: Final = "(SELECT rows FROM given) -> (job.organization_id || '/' || job.id)"
_AT_PLACES: Final = f"WHERE job.ctid = ANY(ARRAY(SELECT place FROM place)) AND job.status = {_MINE} ->> 'source'"  # noqa: S608 - ours
_UNDER_LEASE: Final = f"AND job.lease_token IS NOT DISTINCT FROM CAST({_MINE} ->> 'lease' AS uuid)"


@cache
def update_live(columns: tuple[str, ...]) -> TextualSelect:
    """Find the rows first, and change them by their places."""
    names = ", ".join(columns)
    statement = text(f"""{_PLACES.format(table=live.name)}
UPDATE {live.name} AS job SET (status, log_sequence, {names}) = (
  SELECT status, job.log_sequence + log_sequence, {names} FROM jsonb_populate_record(NULL::{live.name}, {_MINE}))
{_AT_PLACES} {_UNDER_LEASE}
RETURNING organization_id, id, log_sequence, attempt, job_type
""")  # noqa: S608 - Fairlane's names
    return statement.columns(*RETURNED).execution_options(fairlane_across="finish")


@cache
def take(table: Table) -> TextualSelect:
    """Find the rows first, and delete them by their places."""
    under_lease = _UNDER_LEASE if table is live else ""
    statement = text(f"""{_PLACES.format(table=table.name)}
DELETE FROM {table.name} AS job {_AT_PLACES} {under_lease}
RETURNING {", ".join(f"job.{column.name}" for column in table.c)}
""")  # noqa: S608 - Fairlane's names
    return statement.columns(*table.c).execution_options(fairlane_across="finish")
