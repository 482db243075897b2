"""The heartbeat: it extends the worker's lease from its own thread, so that no handler can delay it.

It also decides when this worker may rescue the jobs of other workers. After an outage of the database all leases have
run out, also the leases of healthy workers. An immediate rescue would take jobs from workers that still run. So a
worker rescues only after its own heartbeat has succeeded for a full lease without a failure. In this time every healthy
worker has had time for a beat.

If somebody sets the database's clock forward, or a failover changes the machine, all leases run out, too. So each beat
compares the database's clock with this process's clock. A step forward counts as an outage.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection

from fairlane.domain.events import Emit
from fairlane.domain.timing import HEARTBEATS_A_LEASE, NEXT_TRY
from fairlane.engine.service import Outage
from fairlane.store.response_timeout import answered_within
from fairlane.store.statements import workers
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database


class _Reading(NamedTuple):
    """Two clocks at one moment, in seconds: the clock of leases, and this process's clock."""

    lease_seconds: float
    own: float


class _Beat(NamedTuple):
    """A beat that succeeded. The lease begins at some moment between `sent` and `back`.

    The end of the lease is computed from `sent`. The start of the lease, and the time that other workers had for a
    beat, are computed from `back`.
    """

    sent: float  # by this process's clock, in seconds: before the beat read the clock of leases
    back: _Reading  # after the beat


class Heartbeat:
    """Extend the lease of a worker.

    Args:
        lease: seconds after which a silent worker has lost its jobs.
        left_behind: returns the number of handlers that ignored their stop.
        locked: returns the organizations whose keys are not here.
        on_drain: called when an operator asks the worker to drain.
        monotonic: this process's clock, in seconds. It measures this worker's successes, and finds jumps of the
            database's clock. Leases never use it.
    """

    def __init__(
        self,
        database: Database,
        card: WorkerCard,
        lease: float,
        emit: Emit,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        left_behind: Callable[[], int],
        locked: Callable[[], frozenset[str]],
        on_drain: Callable[[], object],
    ) -> None:
        self.interval = lease / HEARTBEATS_A_LEASE
        self._database = database
        self._card = card
        self._lease = lease
        self._monotonic = monotonic
        self._outage = Outage("heartbeat", emit, NEXT_TRY)  # without a lease the worker claims nothing
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fairlane-heartbeat", daemon=True)
        self._stopping = False
        self._left_behind = left_behind
        self._locked = locked
        self._on_drain = on_drain
        self._steady_since: float | None = None
        self._kept_since = 0.0  # since then each beat came before the lease of the beat before had run out
        self._last: _Beat | None = None  # the last beat that succeeded
        # The `locked` organizations in the database; None = unknown, after an error.
        self._told_locked: frozenset[str] | None = frozenset()

    def start(self) -> None:
        """Register the worker and begin to beat.

        Raises:
            StorageUnavailable, ConfigurationError: the worker could not be registered.
        """
        self.run_once()
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """Stop beating. `workers.remove` ends the lease, or it runs out.

        Args:
            wait: whether to wait for a beat that is under way.
        """
        self._stop.set()
        if wait and self._thread.is_alive():
            self._thread.join()

    def say_stopping(self) -> None:
        """Write into the worker's row, from the next beat on, that the worker claims no more jobs."""
        self._stopping = True

    def run_once(self) -> None:
        """Beat once; register again if another worker has deleted this worker's row.

        Raises:
            StorageUnavailable, ConfigurationError: then this worker may not rescue for a full lease.
        """
        try:
            # A connection without an answer is closed before the lease ends: the next beat opens a new connection.
            with answered_within(self.interval):
                beat, must_drain, self._told_locked = self._database.write(self._beat)
        except Exception:
            self._steady_since = self._told_locked = None
            raise
        last, now = self._last, beat.back
        is_gap = last is None or now.own - last.back.own > 2 * self.interval
        if self._steady_since is None or is_gap or _gained(last, now) > self.interval:
            self._steady_since = now.own
        if last is None or now.own - last.sent > self._lease:
            self._kept_since = now.own
        self._last = beat  # last, so that a thread that sees this beat sees the other values, too
        if must_drain and not self._stopping:
            self._on_drain()

    @property
    def is_cut_off(self) -> bool:
        """Return True if the last beat failed; from any thread."""
        return self._outage.is_on

    def may_rescue(self) -> bool:
        """Return True if this heartbeat has succeeded for a full lease, up to now."""
        now = self._monotonic()
        last = self._last
        since = self._steady_since  # after the beat: see `run_once`
        is_steady = since is not None and now - since >= self._lease
        return is_steady and last is not None and now - last.back.own <= 2 * self.interval

    def has_kept_lease(self, since: float) -> bool:
        """Return True if the lease has not run out between `since`, by this process's clock, and now."""
        now = self._monotonic()
        last = self._last
        return last is not None and now - last.sent <= self._lease and self._kept_since <= since

    def sees_a_step(self, lease_seconds: float) -> bool:
        """Return True if the clock of leases, which shows `lease_seconds` now, was set forward since the last beat.

        A step shorter than the interval between two beats does not count: every lease is longer by at least that time.
        """
        return _gained(self._last, _Reading(lease_seconds, self._monotonic())) > self.interval

    def _beat(self, connection: Connection) -> tuple[_Beat, bool, frozenset[str]]:
        sent = self._monotonic()
        clock = self._database.clock
        card, lease = self._card, self._lease
        if not workers.beat(
            connection,
            clock,
            card.id,
            lease,
            stopping=self._stopping,
            left_behind=self._left_behind(),
        ):
            workers.register(connection, clock, card, lease)
            self._told_locked = frozenset()
        if (locked := self._locked()) != self._told_locked:
            workers.tell_locked(connection, card.id, locked)
        must_drain = workers.is_asked_to_drain(connection, card.id)
        back = _Reading(clock.lease_seconds(connection), self._monotonic())
        return _Beat(sent, back), must_drain, locked

    def _run(self) -> None:
        wait = self.interval
        while not self._stop.wait(wait):
            wait = self.interval
            try:
                self.run_once()
                self._outage.is_over()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next beat may succeed
                wait = min(self._outage.goes_on(error), self.interval)


def _gained(last: _Beat | None, now: _Reading) -> float:
    """Return how many seconds more than this process's clock the clock of leases has advanced since the last beat."""
    if last is None:
        return 0.0
    return (now.lease_seconds - last.back.lease_seconds) - (now.own - last.back.own)
