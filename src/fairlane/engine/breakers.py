"""Circuit breakers: how attempts end is counted in memory, written down once a second, and then judged.

Nothing of it is in the way of an attempt: no end writes to a counter that others write to.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.breaker import Outcomes, Pair, counted_from, opened
from fairlane.domain.events import BreakerClosed, BreakerOpened, Emit, Event
from fairlane.domain.statuses import PASSING
from fairlane.engine.results import Tally
from fairlane.store.statements import breakers, outcomes
from fairlane.store.transaction import Database

# From one look for the trials of others, who may have been lost with them, to the next, while nothing ends here.
_IDLE_ROUNDS: Final = 10


class Breakers:
    """A service: writes the tally down, opens breakers by it, and judges the trials that have ended."""

    def __init__(self, database: Database, worker_id: UUID, tally: Tally, emit: Emit) -> None:
        self._database = database
        self._worker_id = worker_id
        self._tally = tally
        self._emit = emit
        self._idle_rounds = 0

    def run_once(self) -> int | None:
        """Do one round. Return how many breakers it opened and how many trials it judged, None if it did not look."""
        counts = self._tally.take()
        self._idle_rounds = 0 if counts else self._idle_rounds + 1
        if not counts and self._idle_rounds % _IDLE_ROUNDS:
            return None
        try:
            changes = self._database.write(lambda connection: self._write(connection, counts))
        except BaseException:
            self._tally.add_all(counts)
            raise
        for event in changes:
            if event is not None:
                self._emit(event)
        return len(changes)

    def _write(self, connection: Connection, counts: Mapping[Pair, Outcomes]) -> list[Event | None]:
        now = self._database.clock.now(connection)
        changes: list[Event | None] = []
        if counts:
            outcomes.add(connection, now, self._worker_id, counts)
            changes += self._open(connection, now, counts)
        return changes + _judge(connection, now)

    def _open(self, connection: Connection, now: datetime, counts: Mapping[Pair, Outcomes]) -> list[Event]:
        """Open the breakers of those pairs of which too much failed, the last time just now.

        What completes opens none: it may be the first of many that a mended handler makes up for.
        """
        recent = _recent(connection, now, sorted(pair for pair, count in counts.items() if count.failures))
        events: list[Event] = []
        for pair, total in recent.items():
            breaker = opened(pair, now)
            if total.open_a_breaker and breakers.open_one(connection, breaker):
                events.append(BreakerOpened(*pair, breaker.until, total.failures, total.attempts))
        return events


def _recent(connection: Connection, now: datetime, pairs: Sequence[Pair]) -> dict[Pair, Outcomes]:
    """Return what counts now of each of those pairs whose breaker is closed."""
    known = breakers.latest(connection, pairs)
    beginnings: dict[datetime, list[Pair]] = defaultdict(list)
    for pair in pairs:
        before = known.get(pair)
        if before is None or before.closed_at is not None:
            beginnings[counted_from(now, before)].append(pair)
    recent: dict[Pair, Outcomes] = {}
    for minute, some in beginnings.items():
        recent |= outcomes.since(connection, minute, some)
    return recent


def _judge(connection: Connection, now: datetime) -> list[Event | None]:
    """Do what follows from the trials that have ended; what is to be told of each, None if another is to be tried.

    Another worker may be at the same: then one of them does it.
    """
    changes: list[Event | None] = []
    for before, ended in breakers.ended_trials(connection):
        after = before.after_trial(ended, now)
        if not breakers.change(connection, before, after):
            continue
        if after.closed_at is not None:
            changes.append(BreakerClosed(*after.pair, None))
        else:
            failed = ended in PASSING
            changes.append(BreakerOpened(*after.pair, after.until, failures=1, attempts=1) if failed else None)
    return changes
