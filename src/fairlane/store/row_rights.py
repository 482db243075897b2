"""The rights of each role on each table, as data, by which rights are granted, compared and documented.

A session that submits and reads needs no DELETE, and UPDATE of only a few columns. So no SQL in such a session can
change an organization's limits, members or credentials, or a job type. Nor can it lock out others: an exclusive `LOCK
TABLE` takes UPDATE, DELETE or TRUNCATE on the whole table. It can't insert the rows that a worker writes under a job's
key when the job ends. It ends waiting jobs by a function that it may execute (`row_ending`).

No role may insert the number of a row that the database numbers: later rows of all organizations would conflict with
it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, Table

from fairlane.domain.statuses import LIVE, PRIORITY_RANK, JobStatus, ParentPolicy
from fairlane.store import tables as t
from fairlane.store.row_security import DatabaseRole

Rights = Sequence[str]

# Permits row locks, but no changes: UPDATE of a column, under a policy that refuses every change.
HOLD: Final = "HOLD"


def _update(*columns: str) -> tuple[str, ...]:
    return tuple(f"UPDATE ({column})" for column in columns)


def _insert(*columns: str) -> tuple[str, ...]:
    return tuple(f"INSERT ({column})" for column in columns)


_ALL: Final[Rights] = ("SELECT", "INSERT", "UPDATE", "DELETE")
_READ: Final[Rights] = ("SELECT",)
_ADD: Final[Rights] = ("SELECT", "INSERT")
# Roles that make changes may read whether a user is an operator, but no password hash.
_OPERATORS: Final[Rights] = ("SELECT (id)", "SELECT (is_operator)", "SELECT (rights)", "SELECT (disabled_at)")
_SECRETS: Final[Mapping[Table, Rights]] = {t.users: _OPERATORS, t.sessions: (), t.socket_tickets: (), t.feed_keys: ()}

# Permits registering a new type. Only an operator sets `enabled`, which is true at first.
_REGISTER: Final[Rights] = ("SELECT", *_insert("name", "schema", "options", "registered_at"), HOLD)

SUBMITTERS: Final = (DatabaseRole.APP, DatabaseRole.TENANT)
# Submission, with the changes of a replaced job, and the release of its children. A job's facts never change, nor do
# ended jobs.
_SUBMITTING: Final[Mapping[Table, Rights]] = {
    **_SECRETS,
    t.jobs: (*_ADD, HOLD),
    t.live: (*_ADD, *_update("status", "ready", "unmet_parents", "log_sequence")),
    t.ended: (*_READ, HOLD),
    t.job_parents: (*_ADD, *_update("parent_id", "state")),
    t.labels: _ADD,
    t.dedup_keys: (*_ADD, *_update("job_id", "expires_at")),
    t.execution_log: _ADD,
    t.quotas: (*_ADD, *_update("used_at")),
    t.submissions: _ADD,
    t.idempotency_keys: (*_ADD, *_update("request_hash", "job_ids", "is_answered", "created_at")),
    t.alerts: _ADD,
    t.audit: _ADD,
    t.job_types: _REGISTER,
}
# Changes of an organization and its rows. Only the operator changes pauses, workers, limits and breakers.
_ADMINS: Final[Mapping[Table, Rights]] = {
    **_SECRETS,
    t.audit: _ADD,
    t.job_types: _REGISTER,
    t.pauses: _READ,
    t.workers: _READ,
    t.locked_organizations: _READ,
    t.limits: _READ,
    t.breakers: _READ,
    t.outcomes: _READ,
    t.starts: _READ,
}
_OPERATORS_OF_ALL: Final[Mapping[Table, Rights]] = {t.audit: _ADD}
# Workers continue bulk actions in the name of the user who started them.
_WORKERS: Final[Mapping[Table, Rights]] = {**_SECRETS, t.tokens: (), t.audit: _ADD}

# For each role: its rights on tables that are not named, and on named tables.
RIGHTS: Final[Mapping[DatabaseRole, tuple[Rights, Mapping[Table, Rights]]]] = {
    **dict.fromkeys(SUBMITTERS, (_READ, _SUBMITTING)),
    DatabaseRole.ADMIN: (_ALL, _ADMINS),
    DatabaseRole.OPERATOR: (_ALL, _OPERATORS_OF_ALL),
    DatabaseRole.WORKER: (_ALL, _WORKERS),
}

# Conditions on the values that submitters write. Workers and operators read rows of all submitters together: a value
# that Python can't read, or that overflows at the next increment, would stop them for all. A policy binds only
# submitters. A CHECK would bind workers, too: a value at its bound would stop them, and each claim would pay for the
# check. Times are from the year 2 to before 9999, which Python can express in every time zone. In seconds, because a
# time's text depends on the zone.
MOMENTS: Final = ("to_timestamp(0 - 62104060800.0)", "to_timestamp(253370764800.0)")
_COUNTS: Final = ("0", "1000000000")  # half of the columns' range
_COUNTED: Final = (
    *(t.live.c.attempt, t.live.c.retry_count, t.live.c.rescue_count, t.live.c.deferrals),
    *(t.live.c.unmet_parents, t.live.c.log_sequence),
)
_KNOWN: Final[Mapping[Column[Any], Iterable[int | str]]] = {
    t.live.c.priority: PRIORITY_RANK.values(),
    t.live.c.status: sorted(LIVE),
    t.jobs.c.on_parent_failure: ParentPolicy,
    t.execution_log.c.from_status: JobStatus,
    t.execution_log.c.to_status: JobStatus,
}
# Texts that readers of the audit parse as JSON objects. A submitter may forge entries, but not make the audit
# unreadable.
_OBJECTS: Final = (t.audit.c.before, t.audit.c.after)
_TIMEOUT: Final = "timeout_seconds > 0 AND timeout_seconds < 'Infinity'"  # NaN is greater
# Other rows of this table are limits on running jobs: a lock on such a row holds up all jobs under that limit.
_OF_SUBMISSIONS: Final = "(subject = 'live' OR starts_with(subject, 'rate/'))"
# Running jobs belong to workers. A submitter cancels waiting jobs, and changes no job that a worker holds.
_OF_NO_WORKER: Final = f"status <> '{JobStatus.RUNNING}' AND worker_id IS NULL AND lease_token IS NULL"


def rights_of(role: DatabaseRole, table: Table) -> Rights:
    """Return the role's rights on the table."""
    usual, named = RIGHTS[role]
    rights = named.get(table, usual)
    if table.autoincrement_column is None or table.autoincrement_column.identity is None:
        return rights
    given = _insert(*(column.name for column in table.c if column.identity is None))
    return [one for right in rights for one in (given if right == "INSERT" else (right,))]


def writable_by(role: DatabaseRole, table: Table) -> str | None:
    """Return the SQL condition for rows that the role writes; None = no condition."""
    moments = [column.name for column in table.c if isinstance(column.type, t.Instant)]
    counts = [column.name for column in _COUNTED if column.table is table]
    objects = [f"json_typeof({one.name}::json) = 'object'" for one in _OBJECTS if one.table is table]
    conditions = [*_within(moments, *MOMENTS), *_within(counts, *_COUNTS), *_known(table), *objects]
    if table is t.jobs:
        conditions.append(_TIMEOUT)
    if table is t.live:
        conditions.append(_OF_NO_WORKER)
    if table is t.quotas:
        conditions.append(_OF_SUBMISSIONS)
    if not conditions or role not in SUBMITTERS:
        return None
    return f"({' AND '.join(conditions)}) IS NOT FALSE"


def _within(columns: Sequence[str], lowest: str, end: str) -> Iterator[str]:
    """Compare all columns at once: PostgreSQL looks up each comparison for each statement. Nulls are ignored."""
    if columns:
        yield f"LEAST({', '.join(columns)}) >= {lowest}"
        yield f"GREATEST({', '.join(columns)}) < {end}"


def _known(table: Table) -> Iterator[str]:
    for column, values in _KNOWN.items():
        if column.table is table:
            listed = ", ".join(f"{value}" if isinstance(value, int) else f"'{value}'" for value in values)
            yield f"{column.name} = ANY (ARRAY[{listed}])"


def holders_of(table: Table) -> list[DatabaseRole]:
    """Return the roles that may lock rows of the table, but change none."""
    return [role for role in DatabaseRole if HOLD in rights_of(role, table)]
