"""The steps of bulk actions: the call that begins one does the first, workers all others."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Connection

from fairlane.domain.bulk import NEEDED, BulkVerb
from fairlane.domain.errors import ConfigurationError, PermissionDenied, StatementTooSlow, StorageUnavailable
from fairlane.domain.origin import acting_from
from fairlane.domain.timing import BULK_SEARCH, BULK_STEP, SILENCE
from fairlane.engine.system.bulk_rows import OfNewerRelease, wanted_of
from fairlane.engine.system.bulk_work import TOLD, BulkWork, Order, Worked
from fairlane.store.response_timeout import answered_within
from fairlane.store.row_security import EVERYONE, Administered
from fairlane.store.statements import audit, credentials
from fairlane.store.statements import bulk_actions as statements
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database, reading_within
from fairlane.tenancy.directory import Directory
from fairlane.tenancy.tenants import Tenants

_MOST_HELD: Final = 3  # steps that a job may stop, before it is skipped
_MOST_FAILURES: Final = 10  # steps in a row that end in errors other than an outage
_MOST_SLOW: Final = 3  # steps in a row whose search is too slow
_AGAIN: Final = timedelta(seconds=5)
_TOKEN_GONE = "the token with which it was begun was revoked, has expired, or its user was disabled"  # noqa: S105
_TOO_SLOW = "its search takes the database too long; begin it again with another filter"
_NOT_HERE = "a worker is not set up for this: see `fairlane check`"
_BROKEN = "Fairlane has a bug; see the log of its worker"


class BulkSteps:
    """Work at bulk actions, half a second at a time, and store their progress.

    Args:
        accounts: the database on which tokens are read: the application's connections, as a worker's may not read them.
    """

    def __init__(self, database: Database, work: BulkWork, directory: Directory, accounts: Database) -> None:
        self._database = database
        self._work = work
        self._tenants = Tenants(database, directory, has_platform=True)
        self._accounts = accounts

    def go_on(self, organization: str, action: UUID) -> int:
        """Do a step of a due action, unless another process works at it; return 1 if it is done.

        Raises:
            StorageUnavailable: another session holds a job, or the database is away; the step is retried later.
        """
        token, database = uuid4(), self._database
        row = database.write(
            lambda c: statements.take(c, organization, action, database.clock.now(c), token),
            of=Administered(organization),
        )
        if row is not None:
            self.step(row, token)
        return int(row is not None)

    def step(self, row: AnyRow, token: UUID) -> None:
        """Do a step of an action that was taken under this token. Raise as `go_on`."""
        with acting_from(row.origin, as_operator=row.as_operator, is_trusted=row.needs is None):
            try:
                problem = self._problem(row)
                if problem is not None:
                    self._end(row, token, problem)
                    return
                order, passes_held = self._order(row, token), row.failures >= _MOST_HELD
                with reading_within(BULK_SEARCH):
                    worked = self._work.run(order, row.cursor, BULK_STEP, passes_held=passes_held)
            except Exception as error:
                # If the database is away nothing can be stored; then another process takes it in half a minute.
                with suppress(StorageUnavailable):
                    self._give_back(row, token, error)
                raise
            self._keep(row, token, worked)

    def _problem(self, row: AnyRow) -> str | None:
        """Return why it must not go on: its user has lost the right. None if they still have it."""
        actor = self._tenants.actor(row.organization_id, row.user_id, NEEDED[BulkVerb(row.verb)])

        def read(connection: Connection) -> str | None:
            now = self._accounts.clock.now(connection)
            if row.token is not None and not credentials.live_tokens(connection, [row.token], now):
                return _TOKEN_GONE
            try:
                actor.refuse_unless_may(connection)
            except PermissionDenied as error:
                return str(error)
            return None

        with answered_within(SILENCE):  # the application's connections may wait for ever, a worker's thread may not
            return self._accounts.read(read, of=EVERYONE)

    def _order(self, row: AnyRow, token: UUID) -> Order:
        due = partial(self._due, row, token) if row.per_second is not None else None
        wanted = wanted_of(row.wanted)
        return Order(BulkVerb(row.verb), row.organization_id, wanted, row.user_id, row.created_at, due)

    def _due(self, row: AnyRow, token: UUID, connection: Connection) -> datetime:
        """Return when the next job of a retry with a pace is due.

        The moment is stored with that job, so that no other process takes it.
        """
        found = self._mine(connection, row, token)
        if found is None:
            raise StorageUnavailable(f"Bulk action {row.id} was held for too long; another process goes on with it.")
        now = self._database.clock.now(connection)
        due: datetime = max(now, found.next_due or now)
        later = {"next_due": due + timedelta(seconds=1 / row.per_second)}
        statements.change(connection, row.organization_id, row.id, later)
        return due

    def _keep(self, row: AnyRow, token: UUID, worked: Worked) -> None:
        """Store its progress, unless it was taken for too long and another process has it by now."""

        def keep(connection: Connection) -> None:
            found = self._mine(connection, row, token)
            if found is None:
                return
            now, is_done = self._database.clock.now(connection), worked.next_cursor is None
            values = {"cursor": worked.next_cursor, "taken": None, "failures": 0, **_sum(found, worked)}
            if found.ended_at is None:
                values |= {"look_at": None, "ended_at": now} if is_done else {"look_at": now}
            statements.change(connection, row.organization_id, row.id, values)
            if is_done or found.ended_at is not None:
                _audit_end(connection, now, row, values)

        self._database.write(keep, of=Administered(row.organization_id))

    def _give_back(self, row: AnyRow, token: UUID, error: Exception) -> None:
        """Let others try, after a growing wait; end an action that fails repeatedly by itself.

        An outage of the database ends no action. Workers of a newer release go on with actions unknown to this one.
        """
        failures = max(row.failures, 0) + (not isinstance(error, OfNewerRelease))
        if isinstance(error, StatementTooSlow):
            failures = min(row.failures, 0) - 1  # these alone, in place of all failures
            if failures <= -_MOST_SLOW:
                self._end(row, token, _TOO_SLOW)
                return
        elif failures >= _MOST_FAILURES and not isinstance(error, StorageUnavailable):
            self._end(row, token, _NOT_HERE if isinstance(error, ConfigurationError) else _BROKEN)
            return

        def give_back(connection: Connection) -> None:
            found = self._mine(connection, row, token)
            if found is not None and found.ended_at is None:
                look_at = self._database.clock.now(connection) + _AGAIN * max(1, min(abs(failures), _MOST_FAILURES))
                values = {"look_at": look_at, "taken": None, "failures": failures}
                statements.change(connection, row.organization_id, row.id, values)

        self._database.write(give_back, of=Administered(row.organization_id))

    def _end(self, row: AnyRow, token: UUID, problem: str) -> None:
        def end(connection: Connection) -> None:
            found = self._mine(connection, row, token)
            if found is not None and found.ended_at is None:
                now = self._database.clock.now(connection)
                values = {"ended_at": now, "look_at": None, "taken": None, "stopped_by": SYSTEM, "problem": problem}
                statements.change(connection, row.organization_id, row.id, values)
                _audit_end(connection, now, row, {"changed": found.changed, "refused": found.refused})

        self._database.write(end, of=Administered(row.organization_id))

    def _mine(self, connection: Connection, row: AnyRow, token: UUID) -> AnyRow | None:
        found = statements.lock(connection, row.organization_id, row.id)
        return found if found is not None and found.taken == token else None


def _sum(row: AnyRow, worked: Worked) -> dict[str, Any]:
    """Add the counts of this step to the earlier ones."""
    told = [*json.loads(row.refusals), *([str(one.job), one.detail] for one in worked.refusals)]
    return {
        "changed": row.changed + worked.changed,
        "passed_over": row.passed_over + worked.passed_over,
        "refused": row.refused + worked.refused,
        "refusals": json.dumps(told[:TOLD]),
    }


def _audit_end(connection: Connection, now: Any, row: AnyRow, counts: Mapping[str, Any]) -> None:
    after = {name: counts[name] for name in ("changed", "refused")}
    actor = row.user_id or SYSTEM
    audit.record(connection, now, row.organization_id, actor, "bulk_actions.end", row.id, after=after)
