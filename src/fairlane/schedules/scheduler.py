"""The scheduler. It submits one job for each due tick, however many schedulers run (R18)."""

from collections.abc import Callable, Iterator, Sequence
from time import thread_time
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import (
    ConfigurationError,
    FairlaneError,
    InvalidParameters,
    StorageUnavailable,
    SubmissionError,
)
from fairlane.domain.events import Emit, ServiceFailed, TickRefused
from fairlane.domain.schedules import Missed, due, misfit
from fairlane.domain.timing import LOCK_WAIT_OF_TICKS
from fairlane.engine.drafting import Ready
from fairlane.schedules.ticks import Ticks
from fairlane.store.driver_errors import is_held_up
from fairlane.store.statements import schedules as statements
from fairlane.store.statements.admission import Live
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

_MOST: Final = 50  # ticks in a round: a worker can stop only between rounds
_WORK: Final = 0.5  # processor seconds for the ticks of a round: a tick of 250 kB of parameters may take 0.2 s
_BUSY = "the database, or the application's directory, kept it waiting for too long"
_NOT_HERE = "a worker could not use the organization's encryption key, or is not set up for this: see `fairlane check`"
_BROKEN = "a mistake of Fairlane's; the log of its worker says which"


class Scheduler:
    """A service that every worker runs. It skips schedules on which another worker is busy.

    The transaction that submits a tick's job also moves the schedule's row to the next tick. So each tick gets one job,
    and no tick gets a second job if the clock is set back.

    Args:
        on_ready: called from the service's thread when a job may have become claimable.
        processor: returns the processor seconds of this thread so far.
    """

    def __init__(
        self,
        ticks: Ticks,
        database: Database,
        emit: Emit,
        on_ready: Callable[[], object],
        processor: Callable[[], float] = thread_time,
    ) -> None:
        self._database = database
        self._ticks = ticks
        self._emit = emit
        self._on_ready = on_ready
        self._processor = processor
        self._complained: set[tuple[str, str]] = set()  # in this round: an organization, and a kind of error
        self._held_up: set[str] = set()  # in this round: organizations for whose locked row this worker has waited
        self._passed_over: set[UUID] = set()  # in this round: schedules on which another worker is, or was, busy
        self._last_turn = ""  # an organization

    def run_once(self) -> int:
        """Handle one tick of each due schedule; return how many ticks were handled.

        Organizations take turns, each with one schedule. Before each turn the scheduler looks again for due schedules.
        So an organization waits for one tick of each other organization, however many schedules those have. A schedule
        whose row is locked is skipped until a later round. If the scheduler had to wait for a lock, it skips the whole
        organization. A round ends after half a second of work, or after 50 ticks; the next round goes on from there.
        """
        database = self._database
        soonest = database.look(statements.next_look)
        if soonest is None or soonest > database.look(database.clock.now):
            return 0
        self._complained.clear()
        self._held_up.clear()
        self._passed_over.clear()
        done, work = 0, 0.0
        for one in self._turns():
            self._last_turn, began = one.organization_id, self._processor()
            if self._see_to(one):
                done += 1
            else:
                self._passed_over.add(one.id)
            work += self._processor() - began
            if done + len(self._passed_over) >= _MOST or work >= _WORK:
                break
        if done:
            self._on_ready()
        return done

    def _turns(self) -> Iterator[AnyRow]:
        while turn := self._due():
            yield from turn

    def _due(self) -> Sequence[AnyRow]:
        now = self._database.look(self._database.clock.now)
        without = self._held_up, self._passed_over
        return self._database.look(lambda connection: statements.due(connection, now, self._last_turn, *without))

    def _see_to(self, schedule: AnyRow) -> int:
        was_prepared = False
        try:
            ready = self._ticks.prepare(self._database, schedule, by_handler=False)
            was_prepared = True
            done, news = self._database.write(
                lambda connection: self._tick(connection, schedule, ready), lock_seconds=LOCK_WAIT_OF_TICKS
            )
        except FairlaneError as error:
            # If the database is unavailable, writing the error fails, too. A directory that is unavailable is asked no
            # more often than usual: each call may take long, and other schedules wait behind it.
            if is_held_up(error):
                self._held_up.add(schedule.organization_id)
            return self._refuse(schedule, error, was_busy=was_prepared and isinstance(error, StorageUnavailable))
        except Exception as error:  # noqa: BLE001 - one schedule that is broken must not hold up the others
            self._emit(ServiceFailed("scheduler", error))
            return self._refuse(schedule, error)
        self._ticks.tell(news)
        return done

    def _tick(self, connection: Connection, seen: AnyRow, ready: Ready) -> tuple[int, Sequence[Live]]:
        now = self._database.clock.now(connection)
        mine = statements.lock_due(connection, seen.organization_id, seen.id, now)
        if mine is None or not statements.is_same(mine, seen):
            return 0, ()
        found = due(statements.timetable_of(mine), mine.next_tick, now, Missed(mine.missed))
        # A schedule that catches up has its turn after all schedules that are due by now.
        look_at = max(found.next, now) if found.next is not None else None
        changes: dict[str, Any] = {"next_tick": found.next, "look_at": look_at}
        news: Sequence[Live] = ()
        if found.tick is not None:
            job, news = self._ticks.submit(connection, mine, found.tick, ready)
            changes |= {"last_tick": found.tick, "last_job_id": job, "problem": None}
        statements.change(connection, mine.organization_id, mine.id, changes)
        return 1, news

    def _refuse(self, schedule: AnyRow, error: Exception, *, was_busy: bool = False) -> int:
        """Store why the tick was refused, and go on; raise if the database is unavailable: nothing was refused."""
        kind = type(error).__name__
        problem = misfit(error) if isinstance(error, InvalidParameters) else f"{kind}: {_told(error)}"
        database = self._database
        try:
            is_noted = database.write(
                lambda c: statements.note_problem(c, schedule, database.clock.now(c), problem, was_busy=was_busy),
                lock_seconds=LOCK_WAIT_OF_TICKS,
            )
        except StorageUnavailable as refusal:
            if not is_held_up(refusal):
                raise
            return 0  # the row is locked
        is_news = schedule.problem is None or not schedule.problem.startswith(kind)
        complaint = (schedule.organization_id, kind)
        if is_noted and is_news and complaint not in self._complained:
            self._complained.add(complaint)
            self._emit(TickRefused(schedule.organization_id, schedule.name, kind))
        return int(is_noted)


def _told(error: Exception) -> str:
    """Return an error text for members, without parameters or details of the installation."""
    if isinstance(error, SubmissionError):
        return str(error)
    if isinstance(error, StorageUnavailable):
        return _BUSY
    return _NOT_HERE if isinstance(error, ConfigurationError) else _BROKEN
