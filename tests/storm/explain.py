"""Explain by a fault why a job was taken from its worker, or took effect once more.

Only a fault that was injected into that very worker counts, and only in its time. A loss: the worker had the job when
the fault came, a rescuer took it no sooner than a lease can have run out since, and no later than a living worker would
have been heard of again. A worker that was told to stop while it could not write has left its jobs, too. A second
effect: the attempt of the first was lost, and the fault came before its end could be written.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tests.storm.faults import AWAY, EXPLAINING, Fault, Injection

# Seconds from an effect until its end is written, or until a worker that is back has been told that it lost the job. A
# handler's return goes into the next batch, at once; what somebody's lock or an error held up is tried again after a
# second at most (`results._HELD_WAIT`, `timing.NEXT_TRY`). The other two are for a machine with more to do than it has
# cores: with nine times as much, the slowest end that nothing held up took 2.7 s. A lost lease is looked for each
# quarter of a second (`watch_interval`).
PROMPT: Final = 3.0
_BEATS_PER_LEASE: Final = 3
_NEXT_TRY: Final = 1.0  # seconds between two tries to write or to beat, at most (`timing.NEXT_TRY`)
# While these last, a worker can not write, or each word takes its time.
_HINDERING: Final = frozenset({Fault.STOP, Fault.HALF_OPEN, Fault.LATENCY})


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker had a job from `began` to `ended` (monotonic seconds), when it was found to be lost."""

    attempt: int
    worker: str
    began: float
    ended: float


class Faults:
    """The injected faults. `lease`: of the workers, in seconds."""

    def __init__(self, injections: Iterable[Injection], lease: float) -> None:
        self._lease, self._beat = lease, lease / _BEATS_PER_LEASE
        self._of = defaultdict[str, list[Injection]](list)
        # A kill that came when the worker was about to end by itself did nothing to it; and what one that was told to
        # stop has left, as a kill came first, is the kill's.
        done = (one for one in injections if not (one.is_cut and one.kind in {Fault.KILL, Fault.TERM}))
        for one in sorted(done, key=lambda one: one.began):
            # A network stays slow for the worker that comes after one that was killed.
            self._of[_slot(one.worker) if one.kind is Fault.LATENCY else one.worker].append(one)

    def of_loss(self, loss: Loss) -> Injection | None:
        """The one that took the job from its worker; None: the worker lived, and nothing was wrong with it."""
        return next((one for one in self._those_of(loss.worker) if self._explains(one, loss)), None)

    def of_effect(self, at: float, loss: Loss | None) -> Injection | None:
        """The one that kept an effect's end from being written; None: it had to be written.

        Args:
            at: when the job took effect.
            loss: how the effect's attempt ended; None: otherwise than by the loss of its worker.
        """
        if loss is None:
            return None
        due = self._due(at, loss.worker)
        return next(
            (
                one
                for one in self._those_of(loss.worker)
                if self._explains(one, loss) and one.began <= due and at <= self._told_of(one)
            ),
            None,
        )

    def _those_of(self, worker: str) -> list[Injection]:
        slot = _slot(worker)
        return self._of[worker] + (self._of[slot] if slot != worker else [])

    def _explains(self, one: Injection, loss: Loss) -> bool:
        if one.ended < loss.began or one.began > loss.ended:
            return False
        if one.kind is Fault.TERM:
            # It gives its jobs back, but does not wait for ever to be able to: the rest is left to its lease.
            could_write_from = one.ended - _NEXT_TRY - PROMPT
            return one.ended <= loss.ended and any(
                one.meets(each.began, each.ended) and each.ended >= could_write_from
                for each in self._hindrances(loss.worker)
                if each.kind is not Fault.LATENCY
            )
        is_in_time = loss.ended >= self._silent_since(one) + self._beat
        if one.kind is Fault.LATENCY:
            # A slow worker's beat may take as long as a healthy one has from a beat that failed to the end of its
            # lease. An outage that is shorter than from beat to beat no rescuer needs to have seen.
            ago = loss.ended - self._lease
            away = (each for each in self._of[""] if each.kind in AWAY)
            is_twofold = any(each.began <= loss.ended and each.ended >= ago for each in away)
            return is_twofold and is_in_time and loss.ended <= self._heard_of(one)
        is_away = one.kind is Fault.KILL or loss.ended <= self._heard_of(one)
        return one.kind in EXPLAINING and is_in_time and is_away

    def _silent_since(self, one: Injection) -> float:
        """Return the moment from which the worker may not have been heard of.

        Its last beat was a third of a lease ago at most, or two if it came late, so its lease lasts for another third.
        """
        since = one.began
        for each in reversed(self._hindrances(one.worker)):
            if each.began < since <= each.ended + self._beat:
                since = each.began
        return since

    def _heard_of(self, one: Injection) -> float:
        """Return when a worker that is back has been heard of: from the next try to beat on, if that can be written."""
        heard = one.ended + _NEXT_TRY + self._beat
        for each in self._hindrances(one.worker):
            if each.began <= heard and each.ended >= one.ended:
                heard = max(heard, each.ended + _NEXT_TRY + self._beat)
        return heard

    def _told_of(self, one: Injection) -> float:
        """Return when a worker that is back has been told of what it lost; not before, if it is stopped once more."""
        told = one.ended + PROMPT
        for each in self._of[one.worker]:
            if each.kind is Fault.STOP and one.ended <= each.began <= told:
                told = max(told, each.ended + PROMPT)
        return told

    def _due(self, at: float, worker: str) -> float:
        """Return when the end of what took effect then is written, if nothing happens to its worker."""
        due = at + PROMPT
        ended = [one for one in self._those_of(worker) if one.kind is Fault.BACKEND]  # and what it wrote failed
        for one in sorted(self._hindrances(worker) + ended, key=lambda one: one.began):
            # The waits between two tries double at first, so the last is no longer than all that went before it. Where
            # each word only takes its time, nothing is tried again.
            waits = 0.0 if one.kind is Fault.LATENCY else min(one.ended - one.began, _NEXT_TRY)
            over = one.ended + waits
            if one.began <= due and over >= at:
                due = max(due, over + PROMPT)
        return due

    def _hindrances(self, worker: str) -> list[Injection]:
        """Return the faults that kept a worker from writing, or made it slow, in their order."""
        found = [one for one in self._of[""] if one.kind in AWAY]
        found += [one for one in self._those_of(worker) if one.kind in _HINDERING]
        return sorted(found, key=lambda one: one.began)


def _slot(worker: str) -> str:
    return worker.partition("-")[0]
