"""Watch: find cancel requests for running jobs, jobs whose lease was lost, and jobs that this worker does not know."""

from collections.abc import Set
from typing import Final
from uuid import UUID

from fairlane.engine.claiming import Claims
from fairlane.engine.reports import Interruption
from fairlane.engine.slots import Slots
from fairlane.store.statements import workers
from fairlane.store.transaction import Database

_IDLE_ROUNDS: Final = 40  # between two looks for jobs that the worker does not know, while it runs nothing


class Watch:
    """A service: one query per round for all jobs that run here, few queries while nothing runs.

    The heartbeat keeps all jobs that are claimed under the worker's name. So a job that the worker does not know, for
    any reason, would be kept and never run: `Claims.doubt` lets the next claim give it back.
    """

    def __init__(self, database: Database, claims: Claims, slots: Slots) -> None:
        self._database = database
        self._claims = claims
        self._slots = slots
        self._tell = slots.loop.call_soon_threadsafe
        self._idle_rounds = 0
        self._strays: frozenset[UUID] = frozenset()  # lease tokens that were unknown in the last round

    def run_once(self) -> int | None:
        """Stop jobs that were canceled or lost. Return 0, since a request that is followed needs no other round; None
        if it did not look.
        """
        # Before the query, so that an attempt that begins after it is not taken for a lost one.
        tokens = self._slots.tokens()
        self._idle_rounds = 0 if tokens or self._strays else self._idle_rounds + 1
        if self._idle_rounds % _IDLE_ROUNDS:
            return None
        held = self._database.read(lambda connection: workers.held_by(connection, self._claims.card.id))
        for token in tokens:
            if token not in held:
                self._tell(self._slots.stop_one, token, Interruption.LEASE_LOST)
            elif held[token]:
                self._tell(self._slots.stop_one, token, Interruption.CANCEL)
        self._look_for_strays(held.keys())
        return 0

    def _look_for_strays(self, mine: Set[UUID]) -> None:
        # A job that is unknown only once was claimed just now, or has ended.
        strays = mine - self._slots.known_tokens()
        if strays & self._strays:
            self._claims.doubt()
            # A full worker claims no more until a slot is free, and these jobs would wait until then.
            self._tell(self._slots.changed.set)
        self._strays = frozenset(strays)
