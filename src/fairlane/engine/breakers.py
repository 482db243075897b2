"""Circuit breakers: outcomes of attempts are counted in memory, stored once a second, and then judged.

This does not slow an attempt: no outcome writes to a counter that others write to.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.breaker import Outcomes, Pair, counted_from, opened
from fairlane.domain.events import BreakerClosed, BreakerOpened, Emit, Event
from fairlane.domain.statuses import PASSING, JobStatus
from fairlane.store.statements import breakers, outcomes
from fairlane.store.transaction import Database

# Between two looks at the trials of other workers, which may be lost, while nothing ends here.
_IDLE_ROUNDS: Final = 10


class Tally:
    """Count the outcomes of attempts on this worker, from one `take` to the next."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[float]] = {}  # completions, failures and seconds
        self._lock = threading.Lock()

    def add(self, ends: Iterable[tuple[str, str, JobStatus, float]]) -> None:
        """Count outcomes, each with its organization, job type and seconds, if they prove something about the handler.

        Cancels, releases, snoozes, lost workers and refusals at the start prove nothing. From any thread.
        """
        with self._lock:
            for organization, job_type, ended, seconds in ends:
                if ended is JobStatus.COMPLETED:
                    self._add((organization, job_type), 1, 0, seconds)
                elif ended in PASSING:
                    self._add((organization, job_type), 0, 1, seconds)

    def add_all(self, counts: Mapping[Pair, Outcomes]) -> None:
        """Count these."""
        with self._lock:
            for pair, count in counts.items():
                self._add(pair, *count)

    def _add(self, pair: tuple[str, str], completions: int, failures: int, seconds: float) -> None:
        """Count these, under the lock."""
        count = self._counts.get(pair) or self._counts.setdefault(pair, [0, 0, 0.0])
        count[0] += completions
        count[1] += failures
        count[2] += seconds

    def take(self) -> dict[Pair, Outcomes]:
        """Return all counts, and count from zero again."""
        with self._lock:
            taken, self._counts = self._counts, {}
        return {Pair(*pair): Outcomes(int(one), int(other), seconds) for pair, (one, other, seconds) in taken.items()}


class Breakers:
    """A service that stores the tally, opens breakers by it, and judges the trials that have ended."""

    def __init__(self, database: Database, worker_id: UUID, tally: Tally, emit: Emit) -> None:
        self._database = database
        self._worker_id = worker_id
        self._tally = tally
        self._emit = emit
        self._idle_rounds = 0

    def run_once(self) -> int | None:
        """Do one round. Return the number of breakers opened and trials judged, None if it did not look."""
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
        """Open the breakers of the pairs with too many failures, the last of them just now.

        A completion opens no breaker: it may be the first of many after the handler was repaired.
        """
        recent = _recent(connection, now, sorted(pair for pair, count in counts.items() if count.failures))
        events: list[Event] = []
        for pair, total in recent.items():
            breaker = opened(pair, now)
            if total.open_a_breaker and breakers.open_one(connection, breaker):
                events.append(BreakerOpened(*pair, breaker.until, total.failures, total.attempts))
        return events


def _recent(connection: Connection, now: datetime, pairs: Sequence[Pair]) -> dict[Pair, Outcomes]:
    """Return the outcomes that count now, of each pair whose breaker is closed."""
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
    """Close or reopen the breakers of trials that have ended. Return an event for each, None if another job is tried.

    If another worker does the same, one of the two succeeds.
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
