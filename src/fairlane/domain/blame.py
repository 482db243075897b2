"""Which of a lost worker's jobs took it down (R5). Decided at each rescue anew, from the live rows alone.

Up to its second rescue a job just runs again. From the third on it is a suspect, and so are the innocent long jobs that
ran beside it each time. So suspects are told apart by when they started:

- Those that started last are blamed. One that had been running at least twice as long lived for a while without them,
  so it is cleared: it runs again at once and the rescue does not count.
- A job that is blamed alone is buried.
- Several that are blamed are queued again in groups, one after the other, apart by twice what they ran: so the next
  time one of them takes a worker down, its group started last. Groups shrink until one is alone.
- A job that was blamed often enough is buried whatever its neighbours, should delays not tell them apart: a full worker
  starts together what was meant to start apart.

tests/domain/test_blame.py measures it: a hundred long jobs survive one killer, which ends with its fourth to twelfth
worker. Of the neighbours of two killers of different rhythms about one in twenty is taken for a killer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

SUSPECT_AT: Final = 3  # the rescue from which on a job is a suspect
BURIED_AT: Final = 12  # the rescue at which a blamed job is buried whatever its neighbours; a hundred need up to nine
_CLEARED_BY: Final = 2.0  # times as long as the youngest suspect ran
_LONGEST_STEP: Final = 3600.0  # seconds between two groups
_LONGEST_WAIT: Final = 3600.0  # seconds that the last group waits, if there are more groups than the fewest
_FEWEST_GROUPS: Final = 4


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """What is known of one job of a lost worker: its rescues so far, and the seconds from its start until now."""

    rescue_count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a rescue for one job: does it count, is the job buried, and how long does it wait else."""

    counts: bool = True
    buries: bool = False
    wait: float = 0.0


def judge(lost: Sequence[LostAttempt], random: Random) -> list[Verdict]:
    """Return a verdict for each job that a lost worker held, in their order."""
    suspects = [place for place, one in enumerate(lost) if one.rescue_count + 1 >= SUSPECT_AT]
    verdicts = [Verdict()] * len(lost)
    if not suspects:
        return verdicts
    # At least a second: a machine's clock may have been set back meanwhile.
    youngest = max(1.0, min(lost[place].seconds for place in suspects))
    blamed = [place for place in suspects if lost[place].seconds < _CLEARED_BY * youngest]
    apart = [place for place in blamed if len(blamed) > 1 and lost[place].rescue_count + 1 < BURIED_AT]
    waits = _waits(len(apart), min(_CLEARED_BY * youngest, _LONGEST_STEP))
    random.shuffle(waits)
    for place in suspects:
        verdicts[place] = Verdict(counts=False)
    for place in blamed:
        verdicts[place] = Verdict(buries=True)
    for place, wait in zip(apart, waits, strict=True):
        verdicts[place] = Verdict(wait=wait)
    return verdicts


def _waits(size: int, step: float) -> list[float]:
    """Return when each of so many jobs starts, in groups of about one size."""
    groups = min(size, max(_FEWEST_GROUPS, int(_LONGEST_WAIT // step) + 1))
    return [step * (place * groups // size) for place in range(size)]
