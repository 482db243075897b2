"""The scheduler: makes jobs of the ticks that are due, one for each tick, however many schedulers run (R18)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import FairlaneError, InvalidParameters, StorageUnavailable
from fairlane.domain.events import Emit, ServiceFailed, TickRefused
from fairlane.domain.schedules import Missed, due
from fairlane.store.statements import schedules as statements
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

# The sentence itself may tell what the parameters are.
_MISFITS = "the parameters of the schedule no longer fit its job type; put it again with such as do"
_BROKEN = "a mistake of Fairlane's; the log of its worker says which"


class Ticks(Protocol):
    """Submits what a schedule says."""

    def ask(self, schedule: AnyRow) -> Any:
        """Ask a host's directory what `submit` will need of it: before the transaction, as it may take long."""

    def submit(self, connection: Connection, schedule: AnyRow, tick: datetime, answers: Any) -> UUID:
        """Submit the tick's job in this transaction; its id. Raises SubmissionError, ConfigurationError."""


class Scheduler:
    """A service; every worker runs it, schedules are skipped that another is at.

    A tick's job is submitted in the transaction that moves the schedule on to its next tick, so there is one job for
    each tick, and that is by the schedule's own row: a clock that is set back makes none a second time.

    Args:
        on_ready: called, from the service's thread, when something may have become claimable.
    """

    def __init__(
        self, database: Database, ticks: Ticks, interval: float, emit: Emit, on_ready: Callable[[], object]
    ) -> None:
        self.name = "scheduler"
        self.interval = interval
        self._database = database
        self._ticks = ticks
        self._emit = emit
        self._on_ready = on_ready

    def run_once(self) -> int:
        """One tick of each schedule that is due, so many schedules at most; how many were seen to."""
        database = self._database
        soonest = database.look(statements.next_look)
        if soonest is None:
            return 0
        now = database.look(database.clock.now)
        if soonest > now:
            return 0
        done = sum(map(self._see_to, database.look(lambda connection: statements.due(connection, now))))
        if done:
            self._on_ready()
        return done

    def _see_to(self, schedule: AnyRow) -> int:
        try:
            answers = self._ticks.ask(schedule)
        except StorageUnavailable as error:  # the host's directory gave none; other schedules may not need it
            return self._refuse(schedule, error)
        try:
            return self._database.write(lambda connection: self._tick(connection, schedule, answers))
        except StorageUnavailable:
            raise
        except FairlaneError as error:
            return self._refuse(schedule, error)
        except Exception as error:  # noqa: BLE001 - one schedule that is broken must not hold up the others
            self._emit(ServiceFailed(self.name, error))
            return self._refuse(schedule, error)

    def _tick(self, connection: Connection, seen: AnyRow, answers: Any) -> int:
        now = self._database.clock.now(connection)
        mine = statements.lock_due(connection, seen.organization_id, seen.id, now)
        if mine is None:
            return 0
        found = due(statements.timetable_of(mine), mine.next_tick, now, Missed(mine.missed))
        changes: dict[str, Any] = {"next_tick": found.next, "look_at": found.next, "problem": None}
        if found.tick is not None:
            job = self._ticks.submit(connection, mine, found.tick, answers)
            changes |= {"last_tick": found.tick, "last_job_id": job}
        statements.change(connection, mine.organization_id, mine.id, changes)
        return 1

    def _refuse(self, schedule: AnyRow, error: Exception) -> int:
        """Keep why, and go on; raises where the database is away, as then nothing was refused."""
        kind = type(error).__name__
        problem = f"{kind}: {_told(error)}"
        database = self._database
        database.write(lambda c: statements.note_problem(c, schedule, database.clock.now(c), problem))
        if schedule.problem != problem:  # told once, not each minute
            self._emit(TickRefused(schedule.organization_id, schedule.name, kind))
        return 0


def _told(error: Exception) -> str:
    # Only our own sentences are known to hold nothing of the parameters.
    if isinstance(error, InvalidParameters) or not isinstance(error, FairlaneError):
        return _MISFITS if isinstance(error, InvalidParameters) else _BROKEN
    return str(error)
