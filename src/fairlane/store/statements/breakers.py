"""Circuit breakers (R16): open breakers, due trials, and the outcomes of trials.

Nobody reports the outcome of a trial: it is read from the job's execution log. So no outcome is lost with its worker.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, case, delete, exists, func, select, tuple_, update

from fairlane.domain.breaker import Breaker, Pair, Trial
from fairlane.domain.statuses import JobStatus
from fairlane.store.engine import engine_of
from fairlane.store.sql import is_row
from fairlane.store.tables import NAME_LIMIT, attempt_errors, breakers, execution_log, live

_KEY = (breakers.c.organization_id, breakers.c.job_type)
_PAIRS: Final = 500  # pairs in one statement
# With the job type appended, these are the fingerprints of attempts that a worker fails before the handler runs. Errors
# of a handler have a digest there.
_BEFORE_IT_BEGAN: Final = ("InvalidParameters ", "InvalidParameters sealed ", "TooManyFiles ")
_IS_OPEN = breakers.c.closed_at.is_(None)
OPEN: Final = select(breakers).where(_IS_OPEN)


def open_breakers(connection: Connection) -> list[Breaker]:
    """Return all open breakers of all organizations: a handful of rows."""
    rows = connection.execute(OPEN.execution_options(fairlane_across="operator reads"))
    # Sorted here: SQLite would read closed ones, too, for the order of the key.
    return sorted((breaker_of(row) for row in rows), key=lambda one: one.pair)


def open_of(connection: Connection, organization: str) -> list[Breaker]:
    """Return an organization's open breakers, by job type."""
    rows = connection.execute(OPEN.where(breakers.c.organization_id == organization).order_by(breakers.c.job_type))
    return [breaker_of(row) for row in rows]


def latest(connection: Connection, pairs: Sequence[Pair]) -> dict[Pair, Breaker]:
    """Return the last breaker, open or closed, of each of these pairs that had one lately."""
    found: dict[Pair, Breaker] = {}
    for start in range(0, len(pairs), _PAIRS):
        statement = select(breakers).where(tuple_(*_KEY).in_(pairs[start : start + _PAIRS]))
        found |= {one.pair: one for one in map(breaker_of, connection.execute(statement))}
    return found


def find_open(connection: Connection, pair: Pair) -> Breaker | None:
    """Return the pair's breaker, if it is open."""
    row = connection.execute(_open_one(pair)).one_or_none()
    return breaker_of(row) if row is not None else None


def lock_open(connection: Connection, pair: Pair) -> Breaker | None:
    """Lock and return the pair's open breaker, so that no trial begins or is judged meanwhile."""
    row = connection.execute(_open_one(pair).with_for_update()).one_or_none()
    return breaker_of(row) if row is not None else None


def lock_due(connection: Connection, now: datetime, pairs: Collection[Pair]) -> frozenset[Pair]:
    """Lock the breakers of these pairs that are due for a trial; skip those that another claim has locked."""
    found: set[Pair] = set()
    ordered = sorted(pairs)
    for start in range(0, len(ordered), _PAIRS):
        # A breaker may have changed since the lanes were read: the values under the lock decide.
        locked = connection.execute(
            select(*_KEY)
            .where(tuple_(*_KEY).in_(ordered[start : start + _PAIRS]), _IS_OPEN, breakers.c.trial_lease_token.is_(None))
            .where(breakers.c.until <= now)
            .with_for_update(skip_locked=True)
        )
        found.update(Pair(*row) for row in locked)
    return frozenset(found)


def begin_trials(connection: Connection, trials: Mapping[Pair, Trial]) -> None:
    """Store the attempt that is the trial of each breaker. The caller holds their locks."""
    for pair, trial in trials.items():
        connection.execute(update(breakers).where(is_row(breakers, *pair)).values(_trial_columns(trial)))


def ended_trials(connection: Connection) -> list[tuple[Breaker, JobStatus | None]]:
    """Return open breakers whose trial has ended, each with the status after the attempt.

    None = the attempt proves nothing, because its job was deleted, or its handler never began.
    """
    same_job = is_row(live, breakers.c.organization_id, breakers.c.trial_job_id)
    runs = exists().where(same_job, live.c.lease_token == breakers.c.trial_lease_token)
    never_began = exists().where(
        is_row(attempt_errors, breakers.c.organization_id, breakers.c.trial_job_id),
        attempt_errors.c.attempt == breakers.c.trial_attempt,
        attempt_errors.c.fingerprint.in_(
            [func.substr(kind + breakers.c.job_type, 1, NAME_LIMIT) for kind in _BEFORE_IT_BEGAN]
        ),
    )
    ended = (
        select(execution_log.c.to_status)
        .where(
            execution_log.c.organization_id == breakers.c.organization_id,
            execution_log.c.job_id == breakers.c.trial_job_id,
            execution_log.c.attempt == breakers.c.trial_attempt,
            execution_log.c.from_status == JobStatus.RUNNING,
        )
        .limit(1)
        .scalar_subquery()
    )
    told = case((never_began, None), else_=ended)
    statement = select(breakers, told.label("ended")).where(_IS_OPEN, breakers.c.trial_lease_token.is_not(None), ~runs)
    rows = connection.execute(statement.execution_options(fairlane_across="claim"))
    return [(breaker_of(row), JobStatus(row.ended) if row.ended is not None else None) for row in rows]


def open_one(connection: Connection, breaker: Breaker) -> bool:
    """Open the pair's breaker; False if it is open already."""
    values = _columns(breaker)
    statement = (
        engine_of(connection)
        .insert(breakers)
        .values(organization_id=breaker.organization, job_type=breaker.job_type, **values)
        .on_conflict_do_update(index_elements=list(_KEY), set_=values, where=breakers.c.closed_at.is_not(None))
        .returning(breakers.c.job_type)
    )
    return connection.execute(statement).one_or_none() is not None


def change(connection: Connection, before: Breaker, after: Breaker) -> bool:
    """Store the new state of an open breaker; False if it has changed since `before`."""
    lease = breakers.c.trial_lease_token
    is_as_before = lease.is_(None) if before.trial is None else lease == before.trial.lease_token
    statement = update(breakers).where(is_row(breakers, *before.pair), _IS_OPEN, is_as_before)
    return connection.execute(statement.values(_columns(after))).rowcount == 1


def forget(connection: Connection, before: datetime) -> None:
    """Delete breakers that have not changed since `before`: closed ones, and open ones without a job to try."""
    statement = delete(breakers).where(breakers.c.until < before, breakers.c.trial_lease_token.is_(None))
    connection.execute(statement.execution_options(fairlane_across="clean-up"))


def _open_one(pair: Pair) -> Select[*tuple[Any, ...]]:
    return select(breakers).where(is_row(breakers, *pair), _IS_OPEN)


def _columns(breaker: Breaker) -> dict[str, Any]:
    own = {"opened_at": breaker.opened_at, "until": breaker.until, "closed_at": breaker.closed_at}
    return own | _trial_columns(breaker.trial)


def _trial_columns(trial: Trial | None) -> dict[str, Any]:
    job_id, attempt, lease = (trial.job_id, trial.attempt, trial.lease_token) if trial is not None else (None,) * 3
    return {"trial_job_id": job_id, "trial_attempt": attempt, "trial_lease_token": lease}


def breaker_of(row: Sequence[Any]) -> Breaker:
    """Return a breaker from a row that begins with its columns in their order."""
    organization, job_type, opened_at, until, job_id, attempt, lease, closed_at = row[: len(breakers.c)]
    trial = Trial(job_id, attempt, lease) if lease is not None else None
    return Breaker(organization, job_type, opened_at, until, trial, closed_at)
