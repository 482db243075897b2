"""The feed: it follows the database, once for each process, whatever the number of clients.

Each node reads the feed itself, so nothing has to carry events from one node to another.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.log_cursor import LogCursor, LogRead, Position, Range
from fairlane.domain.sealing import Field
from fairlane.domain.statuses import JobStatus
from fairlane.encryption.keyring import Keyring
from fairlane.realtime.cursors import Cursors, Vague
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import feed as statements
from fairlane.store.statements.feed import Audience
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

_MOST_NUMBERS: Final = 10_000  # of the log that a look reads
MOST_ENTRIES: Final = 500  # of an organization that a look dispatches one by one
_MOST_RUNNING: Final = 5_000  # jobs whose progress a look reads
_TOO_FAR: Final = 100_000  # numbers behind the newest, from where the feed jumps to the end
_MOST_GAPS: Final = 10_000
_SETTLE: Final = 0.25  # seconds between two looks at the open transactions
_ALERTS: Final = 1.0  # seconds between two looks at alerts
_MOST_ALERTS: Final = 1_000  # that a look reads
_IN_FLIGHT: Final = 100  # numbers of alerts below the newest that may still be committed when a feed starts

Key = tuple[str, UUID]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job, with its message decrypted."""

    organization: str
    job_id: UUID
    attempt: int
    data: dict[str, Any]

    @property
    def key(self) -> Key:
        """Return the job's key."""
        return self.organization, self.job_id


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one look at the database. `has_more`: look again at once. `is_lost`: all rooms get a reset."""

    before: Position
    taken: LogRead
    position: Position
    entries: Sequence[AnyRow]
    progress: Sequence[Progress]
    alerts: Sequence[AnyRow]
    has_more: bool
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """The state from which a look goes on. A look makes a new one, and a look that fails keeps the old one."""

    log_cursor: LogCursor
    early_writers: frozenset[str] = frozenset()  # transactions that were open when the feed started
    seen: Mapping[Key, tuple[int, int]] = field(default_factory=dict)  # progress that was dispatched
    alerts: LogCursor = field(default_factory=lambda: LogCursor(0))
    asked: float = 0.0  # when all alerts were read


class Feed:
    """The reader of the feed. It runs in a thread, one look at a time."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._known = _Known(LogCursor(0))
        self._is_lost = False  # an early writer has ended, and the rooms got no reset yet
        self._settled = 0.0
        self._cursors: Cursors | None = None
        self._vague: Cursors | None = None

    @property
    def cursors(self) -> Cursors:
        """Return the cursors that all nodes share.

        Until the feed is warm they are vague, because rows from before its start may still come.
        """
        cursors = self._cursors if self.is_warm else self._vague
        assert cursors is not None, "it was started"
        return cursors

    @property
    def position(self) -> Position:
        """Return the current position."""
        return self._known.log_cursor.position

    @property
    def is_warm(self) -> bool:
        """Return True once no transaction from before the start is open.

        The feed can't see what such transactions write below its start.
        """
        return not self._known.early_writers

    def start(self) -> None:
        """Start at the end of the log."""
        key = self._database.write(statements.cursor_key, of=EVERYONE) if self._cursors is None else None
        if key is not None:
            self._cursors, self._vague = Cursors(key), Vague(key)
        log_cursor = LogCursor(self._database.look(statements.newest, of=EVERYONE))
        early_writers = self._database.look(self._database.kind.log_writers, of=EVERYONE)
        self._known = _Known(log_cursor, early_writers, alerts=self._database.look(_alerts, of=EVERYONE))
        self._is_lost = False

    def warm_up(self) -> None:
        """Look whether the transactions have ended that were open at the start."""
        self._forget_ended_writers(self._database.look(self._database.kind.log_writers, of=EVERYONE))

    def _forget_ended_writers(self, writers: frozenset[str]) -> bool:
        """Forget the early writers that have ended; return True if one has."""
        before = self._known.early_writers
        self._known = replace(self._known, early_writers=before & writers)
        return self._known.early_writers != before

    def look(self, audience: Audience) -> Look:
        """Return the rows since the last look, for an audience."""
        self._settle()
        look, known = self._database.read(lambda connection: self._read(connection, audience), of=EVERYONE)
        is_lost, self._known, self._is_lost = look.is_lost or self._is_lost, known, False
        return replace(look, is_lost=is_lost)

    def _settle(self) -> None:
        """Close the gaps that no open transaction can fill, and see whether an early writer has ended."""
        now, known = time.monotonic(), self._known
        if not (known.log_cursor.gaps or known.alerts.gaps or known.early_writers) or now - self._settled < _SETTLE:
            return
        self._settled = now
        writers = self._database.look(self._database.kind.log_writers, of=EVERYONE)
        known.log_cursor.settle(writers)
        known.alerts.settle(writers)
        self._is_lost |= self._forget_ended_writers(writers)

    def _read(self, connection: Connection, audience: Audience) -> tuple[Look, _Known]:
        log_cursor, before = self._known.log_cursor.copy(), self._known.log_cursor.position
        late = statements.come_late(connection, log_cursor.gaps, _MOST_NUMBERS)
        is_all = len(late) < _MOST_NUMBERS
        # After all late rows: some may be of the same job and older.
        fresh = statements.fresh(connection, log_cursor.high, _MOST_NUMBERS) if is_all else []
        has_more = not is_all or sum(last - first + 1 for first, last in fresh) >= _MOST_NUMBERS
        if self._is_too_far(connection, fresh[-1][1] if fresh else log_cursor.high, has_more=has_more):
            return self._jump(connection, audience)
        taken = log_cursor.take(late, fresh, is_all=is_all)
        entries: Sequence[AnyRow] = ()
        if audience and (late or fresh):
            entries = statements.entries(connection, audience, taken.before, log_cursor.high, late, MOST_ENTRIES)
        progress, seen = self._progress(connection, audience, entries)
        alerts, known = self._new_alerts(connection)
        look = Look(before, taken, log_cursor.position, entries, progress, alerts, has_more)
        return look, replace(known, log_cursor=log_cursor, seen=seen)

    def _is_too_far(self, connection: Connection, high: int, *, has_more: bool) -> bool:
        if len(self._known.log_cursor.gaps) > _MOST_GAPS:
            return True
        return has_more and statements.newest(connection) - high > _TOO_FAR

    def _jump(self, connection: Connection, audience: Audience) -> tuple[Look, _Known]:
        log_cursor = LogCursor(statements.newest(connection))
        early_writers = self._database.kind.log_writers(connection)
        here, taken = log_cursor.position, log_cursor.take((), ())
        progress, seen = self._progress(connection, audience, ())
        look = Look(here, taken, here, (), progress, (), has_more=False, is_lost=True)
        return look, replace(self._known, log_cursor=log_cursor, early_writers=early_writers, seen=seen)

    def _progress(
        self, connection: Connection, audience: Audience, entries: Iterable[AnyRow]
    ) -> tuple[list[Progress], Mapping[Key, tuple[int, int]]]:
        """Return the changed progress, and all progress, with the last progress of attempts that just ended."""
        ended = {
            ((row.organization_id, row.job_id), row.attempt) for row in entries if row.from_status == JobStatus.RUNNING
        }
        rows = {
            (row.organization_id, row.job_id): row
            for row in (
                *statements.running_progress(connection, audience, _MOST_RUNNING),
                *statements.watched_progress(connection, audience),
            )
        }
        for row in statements.progress_of(connection, {key for key, _ in ended}):
            key = (row.organization_id, row.job_id)
            if (key, row.attempt) in ended:
                rows[key] = row
        before, seen = self._known.seen, {key: (row.attempt, row.sequence) for key, row in rows.items()}
        shown = self._keyring.shown(connection)
        changed = [
            Progress(
                *key,
                row.attempt,
                {
                    "organization": row.organization_id,
                    "job_id": row.job_id,
                    "attempt": row.attempt,
                    "percent": row.percent,
                    "message": shown.text(*key, Field.PROGRESS, row.message),
                    "at": row.at,
                },
            )
            for key, row in rows.items()
            if before.get(key) != seen[key]
        ]
        return changed, seen

    def _new_alerts(self, connection: Connection) -> tuple[Sequence[AnyRow], _Known]:
        now, known = time.monotonic(), self._known
        if now - known.asked < _ALERTS:
            return (), known
        log_cursor = known.alerts.copy()
        rows = statements.alerts_after(connection, log_cursor.position, _MOST_ALERTS)
        late = [row.id for row in rows if row.id <= log_cursor.high]
        is_all = len(rows) < _MOST_ALERTS
        log_cursor.take(late, _ranges(rows[len(late) :]), is_all=is_all)
        if len(log_cursor.gaps) > _MOST_GAPS:
            log_cursor = LogCursor(log_cursor.high)
        return rows, replace(known, alerts=log_cursor, asked=now if is_all else known.asked)


def _alerts(connection: Connection) -> LogCursor:
    """Return the position after all existing alerts; numbers missing just below the newest may still come."""
    log_cursor = LogCursor(max(0, statements.newest_alert(connection) - _IN_FLIGHT))
    log_cursor.take((), _ranges(statements.alerts_after(connection, log_cursor.position, _IN_FLIGHT)))
    return log_cursor


def _ranges(rows: Iterable[AnyRow]) -> list[Range]:
    return [(row.id, row.id) for row in rows]
