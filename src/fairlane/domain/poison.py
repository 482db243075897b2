"""Poison detection: the decision which of a lost worker's jobs took the worker down (R5).

Each rescue decides anew, from the live rows alone. Up to its second rescue a job just runs again. From the third on the
job is a suspect. So are the innocent long jobs that ran beside it each time. The start times tell suspects apart:

- The suspects that started last stay suspected. A job that has run at least twice as long lived for a while
  without them, so it is cleared: it runs again at once and the rescue does not count.
- A job that is suspected alone goes to dead letter.
- Several suspected jobs are queued again in groups, one group after the other, apart by twice the time that they ran.
  If one of them takes the next worker down, its group started last. Groups shrink until one job is alone.
- A job that was suspected often enough goes to dead letter whatever its neighbours. Delays may not tell jobs apart: a
  full worker starts together the jobs that were meant to start apart.

tests/domain/test_poison.py measures it: a hundred long jobs survive one killer, which ends with its fourth to twelfth
worker. Beside two killers with different rhythms, about one neighbour in twenty is taken for a killer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

SUSPECT_AT: Final = 3  # the rescue from which a job is a suspect
POISON_AT: Final = (
    12  # the rescue at which a suspect is a dead letter whatever its neighbours; a hundred need up to nine
)
_CLEARED_BY: Final = 2.0  # times as long as the youngest suspect ran
_LONGEST_STEP: Final = 3600.0  # seconds between two groups
_LONGEST_WAIT: Final = 3600.0  # seconds that the last group waits, if there are more groups than the fewest
_FEWEST_GROUPS: Final = 4


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """A job of a lost worker: its rescues so far, and the seconds from its start until now."""

    rescue_count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RescueDecision:
    """The consequence of a rescue for a job.

    `counts`: the rescue is counted. `is_poison`: the job goes to dead letter. Else it waits for `wait` seconds.
    """

    counts: bool = True
    is_poison: bool = False
    wait: float = 0.0


def judge(lost: Sequence[LostAttempt], random: Random) -> list[RescueDecision]:
    """Return a decision for each job that the lost worker held, in the same order."""
    suspects = [place for place, one in enumerate(lost) if one.rescue_count + 1 >= SUSPECT_AT]
    decisions = [RescueDecision()] * len(lost)
    if not suspects:
        return decisions
    # At least a second: the clock may have been set back meanwhile.
    youngest = max(1.0, min(lost[place].seconds for place in suspects))
    suspected = [place for place in suspects if lost[place].seconds < _CLEARED_BY * youngest]
    apart = [place for place in suspected if len(suspected) > 1 and lost[place].rescue_count + 1 < POISON_AT]
    waits = _waits(len(apart), min(_CLEARED_BY * youngest, _LONGEST_STEP))
    random.shuffle(waits)
    for place in suspects:
        decisions[place] = RescueDecision(counts=False)
    for place in suspected:
        decisions[place] = RescueDecision(is_poison=True)
    for place, wait in zip(apart, waits, strict=True):
        decisions[place] = RescueDecision(wait=wait)
    return decisions


def _waits(size: int, step: float) -> list[float]:
    """Return the wait of each of `size` jobs, in groups of about the same size."""
    groups = min(size, max(_FEWEST_GROUPS, int(_LONGEST_WAIT // step) + 1))
    return [step * (place * groups // size) for place in range(size)]
