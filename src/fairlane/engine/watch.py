"""Watch: find cancel requests for running jobs, jobs whose lease was lost, and jobs that nobody here knows of."""

from collections.abc import Set
from typing import Final
from uuid import UUID

from fairlane.engine.claiming import Claims
from fairlane.engine.reports import Interruption
from fairlane.engine.slots import Slots
from fairlane.store.statements import workers
from fairlane.store.transaction import Database

_IDLE_ROUNDS: Final = 40  # from one look for jobs that the worker does not know of to the next, while it runs nothing


class Watch:
    """A service: one query per round for all jobs that run here, hardly any while nothing runs.

    The heartbeat keeps whatever is claimed under the worker's name, so a job that the worker does not know of, however
    that came about, would be kept and never run: the claims are told to give it back.
    """

    def __init__(self, database: Database, claims: Claims, slots: Slots) -> None:
        self._database = database
        self._claims = claims
        self._slots = slots
        self._tell = slots.loop.call_soon_threadsafe
        self._idle_rounds = 0
        self._strays: frozenset[UUID] = frozenset()  # leases that were unknown in the last look

    def run_once(self) -> int | None:
        """Stop what was canceled or lost. Return 0, since a request that is followed needs no other round; None if it
        did not look.
        """
        # Before the query: what began after it is not missed in the answer.
        leases = self._slots.leases()
        self._idle_rounds = 0 if leases or self._strays else self._idle_rounds + 1
        if self._idle_rounds % _IDLE_ROUNDS:
            return None
        held = self._database.read(lambda connection: workers.held_by(connection, self._claims.card.id))
        for lease in leases:
            if lease not in held:
                self._tell(self._slots.stop_one, lease, Interruption.LEASE_LOST)
            elif held[lease]:
                self._tell(self._slots.stop_one, lease, Interruption.CANCEL)
        self._look_for_strays(held.keys())
        return 0

    def _look_for_strays(self, mine: Set[UUID]) -> None:
        # One that is unknown once was claimed this moment, or has ended.
        strays = mine - self._slots.known_leases()
        if strays & self._strays:
            self._claims.doubt()
            # A full worker claims no more until a slot is free, and these jobs would wait for that.
            self._tell(self._slots.changed.set)
        self._strays = frozenset(strays)
