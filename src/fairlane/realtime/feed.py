"""Follows the database and tells the rooms: one for each process, whatever the number of its clients.

Each node reads the feed itself, so no other part has to bring events from one to the other.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.sealing import Field
from fairlane.domain.statuses import JobStatus
from fairlane.domain.tail import Position, Range, Tail, Taken
from fairlane.realtime.cursors import Cursors
from fairlane.registry.keyring import Keyring
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import feed as statements
from fairlane.store.statements.feed import Audience
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

_MOST_NUMBERS: Final = 10_000  # of the log that a look goes through
MOST_ENTRIES: Final = 500  # that a look tells an organization's rooms one by one
_MOST_RUNNING: Final = 5_000  # jobs whose progress a look reads
_TOO_FAR: Final = 100_000  # numbers behind the newest, where nobody catches up
_MOST_GAPS: Final = 10_000
_SETTLE: Final = 0.25  # seconds between two looks at who is writing
_ALERTS: Final = 1.0  # seconds between two looks at alerts
_MOST_ALERTS: Final = 100  # newest ones, of which some are new

Key = tuple[str, UUID]


@dataclass(frozen=True, slots=True)
class Progress:
    """A job's, with its message opened."""

    organization: str
    job_id: UUID
    attempt: int
    data: dict[str, Any]

    @property
    def key(self) -> Key:
        """Of the job."""
        return self.organization, self.job_id


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the database found. `has_more`: the next one need not wait. `is_lost`: all rooms begin anew."""

    before: Position
    taken: Taken
    position: Position
    entries: Sequence[AnyRow]
    progress: Sequence[Progress]
    alerts: Sequence[AnyRow]
    has_more: bool
    is_lost: bool = False


class Feed:
    """Looks at the database, in a thread; one look at a time."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._tail = Tail(0)
        self._strangers: frozenset[str] = frozenset()  # who was writing already when it began
        self._seen: dict[Key, tuple[int, int]] = {}  # progress that was told
        self._alerts: frozenset[int] = frozenset()  # the newest that are known
        self._settled = self._asked = 0.0
        self._cursors: Cursors | None = None

    @property
    def cursors(self) -> Cursors:
        """Those of all nodes."""
        assert self._cursors is not None, "it was started"
        return self._cursors

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self._tail.position

    @property
    def is_warm(self) -> bool:
        """Whether no transaction from before its start is open: what those write below where it began it can't see."""
        return not self._strangers

    def start(self) -> None:
        """Begin at the end of the log."""
        key = self._database.write(statements.cursor_key, of=EVERYONE) if self._cursors is None else None
        self._cursors = Cursors(key) if key is not None else self._cursors
        self._tail = Tail(self._database.look(statements.newest, of=EVERYONE))
        self._strangers = self._database.look(statements.writers, of=EVERYONE)
        alerts = self._database.look(lambda c: statements.newest_alerts(c, _MOST_ALERTS), of=EVERYONE)
        self._seen, self._alerts = {}, frozenset(row.id for row in alerts)

    def warm_up(self) -> None:
        """Ask whether those have ended who were writing when it began."""
        self._strangers &= self._database.look(statements.writers, of=EVERYONE)

    def look(self, audience: Audience) -> Look:
        """What came since the last look, for an audience."""
        has_ended = self._settle()
        look = self._database.read(lambda connection: self._read(connection, audience), of=EVERYONE)
        if has_ended:
            return replace(look, is_lost=True)
        return look

    def _settle(self) -> bool:
        """Close gaps that nobody can fill any more; whether somebody ended whose numbers nobody knows."""
        now = time.monotonic()
        if not (self._tail.gaps or self._strangers) or now - self._settled < _SETTLE:
            return False
        self._settled = now
        writers = self._database.look(statements.writers, of=EVERYONE)
        self._tail.settle(writers)
        before, self._strangers = self._strangers, self._strangers & writers
        return self._strangers != before

    def _read(self, connection: Connection, audience: Audience) -> Look:
        tail, before = self._tail, self._tail.position
        late = statements.come_late(connection, tail.gaps, _MOST_NUMBERS)
        fresh = statements.fresh(connection, tail.high, _MOST_NUMBERS)
        has_more = sum(last - first + 1 for first, last in fresh) >= _MOST_NUMBERS
        if self._is_too_far(connection, fresh, has_more=has_more):
            return self._jump(connection, audience)
        taken = tail.take(late, fresh)
        entries: Sequence[AnyRow] = ()
        if audience and (late or fresh):
            entries = statements.entries(connection, audience, taken.before, tail.high, late, MOST_ENTRIES)
        progress, alerts = self._progress(connection, audience, entries), self._new_alerts(connection)
        return Look(before, taken, tail.position, entries, progress, alerts, has_more)

    def _is_too_far(self, connection: Connection, fresh: Sequence[Range], *, has_more: bool) -> bool:
        if len(self._tail.gaps) > _MOST_GAPS:
            return True
        return has_more and statements.newest(connection) - fresh[-1][1] > _TOO_FAR

    def _jump(self, connection: Connection, audience: Audience) -> Look:
        self._tail = Tail(statements.newest(connection))
        self._strangers = statements.writers(connection)
        here, taken = self._tail.position, self._tail.take((), ())
        progress = self._progress(connection, audience, ())
        return Look(here, taken, here, (), progress, (), has_more=False, is_lost=True)

    def _progress(self, connection: Connection, audience: Audience, entries: Iterable[AnyRow]) -> list[Progress]:
        """What changed. Of jobs that just ended, too: their last one counts."""
        ended = {(row.organization_id, row.job_id) for row in entries if row.from_status == JobStatus.RUNNING}
        rows = {
            (row.organization_id, row.job_id): row
            for row in (
                *statements.running_progress(connection, audience, _MOST_RUNNING),
                *statements.progress_of(connection, audience.jobs | ended),
            )
        }
        before, self._seen = self._seen, {key: (row.attempt, row.sequence) for key, row in rows.items()}
        shown = self._keyring.shown(connection)
        return [
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
            if before.get(key) != self._seen[key]
        ]

    def _new_alerts(self, connection: Connection) -> Sequence[AnyRow]:
        now = time.monotonic()
        if now - self._asked < _ALERTS:
            return ()
        self._asked = now
        rows = statements.newest_alerts(connection, _MOST_ALERTS)
        # By what is known and not by the highest number: of two at once the lower may come later.
        known, self._alerts = self._alerts, frozenset(row.id for row in rows)
        return [row for row in rows if row.id not in known]
