"""How PostgreSQL does what `store.engine.DatabaseEngine` names: many write at a time, each row has its lock."""

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
from fairlane.store.liveness import (
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
# A session of the application's may write times in a form that no driver reads, and fail what row security filters.
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
# Whichever side vanished, or was frozen, must not hold the other one for the hours of TCP's default. Seconds, and how
# often; between processes of one machine by a Unix socket they say nothing.
_UNHEARD = 20
_KEEPALIVES: Final = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def connect(
    url: str,
    *,
    pool_size: int,
    lock_seconds: float,
    synchronous: Synchronous = FULL,  # a server's commits wait as its own settings say
    is_default: bool = False,  # no server is
    response_timeout: ResponseTimeout | None = None,
) -> Engine:
    """Make an engine whose sessions give up silent servers, and nobody waits for for long."""
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=30,
            connect_args={
                "connect_timeout": _CONNECT_SECONDS,
                "client_encoding": "UTF8",  # not by the options, which PGCLIENTENCODING and poolers leave behind
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
    if response_timeout is not None:
        bound(engine, response_timeout)
    leave_connections_to_parent(engine)
    close_late_ones(engine)
    return engine


def _options(of_url: str | Sequence[str], lock_seconds: float) -> str:
    """Return what our sessions set; what the URL sets goes before it, or would be lost."""
    theirs = [of_url] if isinstance(of_url, str) else of_url
    ours = (
        # Nobody's transaction holds up ours for ever, nor that of a process of ours that was stopped in the middle.
        f"-c lock_timeout={int(lock_seconds * 1000)}",
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION * 1000}",
        # Nor that of one that vanished or was frozen as it was sent an answer: it is in no pause, and to a server that
        # waits for it to take more, no other timeout applies.
        f"-c tcp_user_timeout={_UNHEARD * 1000}",
        *(f"-c tcp_{name}={value}" for name, value in _KEEPALIVES.items()),
        # Whatever the role's default: who has waited for a lock has to see what was committed meanwhile.
        "-c default_transaction_isolation=read\\ committed",
        # Whatever the database's zone: the driver can't read a moment that falls there before year 1 or after 9999.
        "-c TimeZone=UTC",
        # Nor one that is not written in ISO 8601.
        "-c DateStyle=ISO",
        # To claims a sort is made to look dear, so dear that PostgreSQL would compile each, for most of a second.
        "-c jit=off",
    )
    return " ".join((*theirs, *ours))


@cache
def statement(name: str, *, without: str | None = None) -> TextClause:
    """Return the statement of this name."""
    return sql.statement(f"postgres/{name}", without=without)


def moment(words: str) -> str:
    """Return the words that read a moment from a text."""
    return f"CAST({words} AS timestamptz)"


def few_of_each(columns: str, table: str, rest: str) -> str:
    """Join by LATERAL."""
    return f"CROSS JOIN LATERAL (SELECT {columns} FROM {table} {rest}) AS job"  # noqa: S608 - words of ours


def each_looked_up(rows: FromClause, its: Select[Any]) -> Select[Any]:
    """Select by LATERAL; with OFFSET the planner can't make one join of it."""
    each = its.offset(literal_column("0")).lateral()
    return select(each).select_from(rows.join(each, true()))


def by_ids(found: Select[Any], key: ColumnElement[UUID], ids: Collection[UUID]) -> Select[Any]:
    """Probe for each: LATERAL with LIMIT leaves the planner no other way, whatever the statistics say.

    Without statistics it would read all of the organization for a few ids.
    """
    given = func.string_to_array(" ".join([one.hex for one in sorted(ids)]), " ")
    one = func.unnest(cast(given, ARRAY(Uuid()))).table_valued(column("id", Uuid())).render_derived()
    its = found.where(key == one.c.id).limit(1).lateral("its")
    return select(its).select_from(one.join(its, true()))


def among(column: ColumnElement[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
    """Compare with an array, which is one value: a list is written out each time."""
    return column == any_(literal(list(ids), ARRAY(Uuid)))


def ask(
    connection: Connection, clock: Clock, questions: Sequence[Question], values: Mapping[str, Any]
) -> tuple[datetime, float, list[Rows]]:
    """Ask in one round trip.

    The answers are from one snapshot: what was committed while a question waited for a lock, another doesn't see.
    """
    now, seconds, *found = connection.execute(combined(tuple(questions)), values).one()
    if not isinstance(clock, DatabaseClock):
        now, seconds = clock.now(connection), clock.lease_seconds(connection)
    return now.astimezone(UTC), seconds, rows_of(questions, found)


def insert_jobs(connection: Connection, now: datetime, new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> None:
    """Insert the rows of all tables by one statement."""
    connection.execute(*new_jobs.whole_of(now, new, replaced))


def insert_plain_jobs(connection: Connection, clock: Clock, chunks: Iterator[Sequence[Draft] | None]) -> None:
    """Do nothing: `new_jobs.at_once` has a statement that stands alone."""


def take_keys(connection: Connection, keys: Sequence[dedup.KeyToTake]) -> set[tuple[str, str]]:
    """Send them as one text."""
    columns = {
        "organization_id": [one.organization for one in keys],
        "key": [one.key for one in keys],
        "job_id": [one.job_id.hex for one in keys],
        "expires_at": [Instant.as_text(one.expires_at) for one in keys],
    }
    return {tuple(row) for row in connection.execute(statement("take_keys"), {"keys": texts_of(columns)})}


def claim(connection: Connection, now: datetime, wanted: Wanted, *, worker_id: UUID, worker: str) -> list[Claimed]:
    """Claim by the statement that stands alone elsewhere.

    `lanes.begin_claim` has seen the lease, and what is paused or suspended. What a deleted organization has is claimed
    even so.
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
    """Find them by the locks that they hold."""
    return frozenset(connection.execute(statement("log_writers")).scalars())


def writers(connection: Connection, seconds: float) -> frozenset[Writer]:
    """Find them by the locks that they hold."""
    connection.exec_driver_sql("SET LOCAL ROLE NONE")  # the roles see no other sessions, not even of their own login
    return frozenset(Writer(*row) for row in connection.execute(statement("writers"), {"seconds": seconds}))


def wait_for_claims(connection: Connection) -> None:
    """Lock the table: a claim locks it, then takes its snapshot, and only then locks its worker's row."""
    connection.execute(text("LOCK TABLE fairlane_workers IN EXCLUSIVE MODE"))


def overwrite_what_is_replaced(connection: Connection) -> None:
    """Do nothing: old versions of rows stay until a vacuum. See `Database.scrub`."""


def file_of(url: str) -> None:
    """Return None: the server has its files."""


def is_in_memory(url: str) -> bool:
    """Return False."""
    return False


def place(connection: Connection) -> tuple[Any, ...] | None:
    """Return the numbers of the database and of its tables, and when the server was started.

    A copied server has the same numbers, but was not started in the same microsecond.
    """
    row = connection.execute(_PLACE, {"jobs": jobs.name}).one_or_none()
    return tuple(row) if row is not None else None


@contextmanager
def lock_timeout(connection: Connection, seconds: float, of: Collection[str] = ()) -> Iterator[None]:
    """Set what the session's settings say, and set it back."""
    answer = connection.execute(_SETTINGS).one()
    lent, previous = answer[: -len(_NAMES)], answer[-len(_NAMES) :]
    _, organizations, role, path, *_ = previous
    if of:
        organizations, role = named(of), role_for(len(of), *lent) or role
    # Last: else a temporary table that somebody left in a pooled session takes the rows of one of ours.
    path = f"{path}, pg_temp" if path else path
    _set(connection, f"{max(1, round(seconds * 1000))}ms", organizations, role, path, *_OURS.values())
    try:
        yield
    except BaseException:
        # Refused where the error aborted the transaction; then the rollback to the savepoint puts the values back. A
        # connection that broke has no values any more, and what broke it is the error to be seen.
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
    """Write the table anew: a plain VACUUM leaves bytes in the holes of pages."""
    connection.exec_driver_sql(f"VACUUM (FULL) {table}")


def plan_for_values(connection: Connection) -> None:
    """Set it: PostgreSQL may take to one plan for all values once a statement is prepared."""
    connection.execute(_FOR_VALUES)


# Many rows go as one JSON text: to insert them, and to take many jobs through a transition.
@cache
def insert(table: Table) -> postgresql.Insert:
    """Return SQLAlchemy's own. Inline: nobody asks for the number that a row is given."""
    return postgresql.insert(table).inline()


def insert_from_json(table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[postgresql.Insert, dict[str, str]]:
    """Read the rows as the table has them."""
    return _insert_from_json(table, tuple(rows[0])), {"rows": json.dumps(rows, default=str, ensure_ascii=False)}


@cache
def _insert_from_json(table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    source = func.json_populate_recordset(
        literal_column(f"NULL::{table.name}"), cast(bindparam("rows", type_=Text), JSON)
    )
    given = source.table_valued(*(table.c[name] for name in names))
    return postgresql.insert(table).from_select(names, select(*given.c))


def values_of(changes: Sequence[Change]) -> dict[str, Any]:
    """Return what the changes say as one JSON text, and their keys as texts."""
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


# Each row by a probe of its own: LATERAL with a lock leaves the planner no other way, and within the statement a row
# keeps its place. What is compared with a value of `given` tempts it into no index.
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
    """Find the rows first, and change them where they stand."""
    names = ", ".join(columns)
    statement = text(f"""{_PLACES.format(table=live.name)}
UPDATE {live.name} AS job SET (status, log_sequence, {names}) = (
  SELECT status, job.log_sequence + log_sequence, {names} FROM jsonb_populate_record(NULL::{live.name}, {_MINE}))
{_AT_PLACES} {_UNDER_LEASE}
RETURNING organization_id, id, log_sequence, attempt, job_type
""")  # noqa: S608 - names of ours
    return statement.columns(*RETURNED).execution_options(fairlane_across="finish")


@cache
def take(table: Table) -> TextualSelect:
    """Find the rows first, and delete them where they stand."""
    under_lease = _UNDER_LEASE if table is live else ""
    statement = text(f"""{_PLACES.format(table=table.name)}
DELETE FROM {table.name} AS job {_AT_PLACES} {under_lease}
RETURNING {", ".join(f"job.{column.name}" for column in table.c)}
""")  # noqa: S608 - names of ours
    return statement.columns(*table.c).execution_options(fairlane_across="finish")
