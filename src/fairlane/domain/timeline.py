"""The timeline of submissions, starts and ends, step by step (R15), without counting all jobs.

The attempts that ended are counted anyway, by the minute. The waits and processing times come from a sample of the jobs
that ended: each stands for as many jobs as ended with it.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, chain
from typing import Final, NamedTuple
from uuid import UUID

from fairlane.domain.breaker import Outcomes
from fairlane.domain.errors import InvalidParameters

DAY: Final = 1440  # minutes; counts are kept no longer


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """The numbers of a step, from `at` until the next step.

    Attributes:
        submitted: counted to 10,000 at most; None: not told.
        submitted_is_capped: whether there were more.
        started: attempts that run, or have ended; None: not told.
        completed, failed: attempts; a failed attempt may have been retried.
        wait_p50, wait_p95: seconds from the moment when a job was due to its first start.
        run_p50, run_p95: the processing time: seconds from the start to the end of the attempt that ended a job. All
            four are None if nothing ended.
    """

    at: datetime
    submitted: int | None
    submitted_is_capped: bool
    started: int | None
    completed: int
    failed: int
    wait_p50: float | None
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Steps, the oldest first.

    Attributes:
        step_seconds: the length of each step.
        is_sampled: whether starts and seconds are estimates from the jobs that ended last.
        wait_p50, wait_p95, run_p50, run_p95: those of all steps together, which is not the mean of the steps.
    """

    step_seconds: int
    steps: tuple[TimelineStep, ...]
    is_sampled: bool
    wait_p50: float | None
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None


class Grid(NamedTuple):
    """Steps of equal length, side by side; the last one ends with the present minute."""

    start: datetime
    step: timedelta
    number: int

    @property
    def end(self) -> datetime:
        """Return the end of the last step."""
        return self.start + self.number * self.step

    @property
    def beginnings(self) -> list[datetime]:
        """Return the beginnings of all steps, and the end of the last."""
        return [self.start + place * self.step for place in range(self.number + 1)]

    def place(self, at: datetime) -> int | None:
        """Return the step of a moment; None: it is in none of them."""
        found = (at - self.start) // self.step
        return found if 0 <= found < self.number else None


def grid_of(now: datetime, *, minutes: int, step: int) -> Grid:
    """Return the steps of so many minutes each that cover the last `minutes`."""
    number = -(-minutes // step)
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return Grid(end - timedelta(minutes=number * step), timedelta(minutes=step), number)


def require_minutes(minutes: int) -> None:
    """Refuse a time of less than a minute, or a longer one than there are counts for.

    Raises:
        InvalidParameters
    """
    if not 1 <= minutes <= DAY:
        raise InvalidParameters(f"minutes is 1 to {DAY}, not {minutes!r:.20}.")


class Cell(NamedTuple):
    """A job type of an organization in a step."""

    organization: str
    job_type: str
    place: int


class EndedJob(NamedTuple):
    """A job that ended in a cell. `waited` None: it had started before, so its last start says nothing of its wait."""

    cell: Cell
    id: UUID
    started_at: datetime
    waited: float | None
    ran: float
    attempts: int = 1


def cells_to_sample(ends: Mapping[Cell, Outcomes]) -> list[Cell]:
    """Return the cells in which to look for jobs that ended.

    An attempt is counted up to a second late, so maybe in the minute after its end.
    """
    found = {one._replace(place=place) for one in ends for place in (one.place - 1, one.place) if place >= 0}
    return sorted(found)


def most_of_each(ends: Mapping[Cell, Outcomes], budget: int) -> int:
    """Return the number of jobs to sample from each cell, at least one; if there are few, all are sampled.

    Args:
        budget: the most jobs of all cells together, as far as the counts tell.
    """
    none = Outcomes()
    sizes = sorted(
        ends.get(one, none).attempts + ends.get(one._replace(place=one.place + 1), none).attempts
        for one in cells_to_sample(ends)
    )
    left = budget
    for place, size in enumerate(sizes):
        share = left // (len(sizes) - place)
        if size > share:
            return max(share, 1)
        left -= size
    return max(budget, 1)


def weights(ends: Mapping[Cell, Outcomes], sample: Sequence[EndedJob], *, each: int) -> dict[Cell, float]:
    """Return the number of ended jobs that each job of a cell's sample stands for.

    It stands for itself if all jobs were sampled, which are fewer than `each`. Else the cell's attempts are divided by
    the sample, as if the other jobs took as many attempts as those in the sample.
    """
    sizes, attempts = Counter(one.cell for one in sample), Counter[Cell]()
    for one in sample:
        attempts[one.cell] += one.attempts
    counted = _counted(ends, attempts)
    return {cell: counted[cell] if size >= each else 1.0 for cell, size in sizes.items()}


def _counted(ends: Mapping[Cell, Outcomes], sampled: Mapping[Cell, int]) -> dict[Cell, float]:
    """Return the number of a cell's attempts per sampled job; at least 1."""
    return {cell: max(ends.get(cell, Outcomes()).attempts / size, 1.0) for cell, size in sampled.items()}


def percentile(values: Iterable[tuple[float, float]], share: float) -> float | None:
    """Return the least value up to which `share` of the weight lies; `values` are pairs of value and weight."""
    ordered = sorted(values)
    if not ordered:
        return None
    sums = list(accumulate(weight for _, weight in ordered))
    place = bisect_left(sums, share * sums[-1])
    return round(ordered[min(place, len(ordered) - 1)][0], 3)


@dataclass(frozen=True, slots=True)
class Findings:
    """The numbers that were read for a grid's steps.

    Args:
        submitted: by place, counted to one above the cap at most; None: not counted.
        running: the starts of the attempts that run now.
        each: the largest number of jobs that were sampled of a cell.
    """

    grid: Grid
    ends: Mapping[Cell, Outcomes]
    submitted: Mapping[int, int] | None
    sample: Sequence[EndedJob]
    running: Sequence[datetime]
    each: int


def timeline(found: Findings, *, cap: int) -> Timeline:
    """Return the timeline of these findings."""
    seen = _Seen(found)
    submitted = found.submitted or {}
    is_told = found.submitted is not None
    steps = tuple(
        TimelineStep(
            at=at,
            submitted=min(submitted.get(place, 0), cap) if is_told else None,
            submitted_is_capped=submitted.get(place, 0) > cap,
            started=round(seen.started[place]) if is_told else None,
            completed=seen.ends[place].completions,
            failed=seen.ends[place].failures,
            wait_p50=percentile(seen.waits[place], 0.5),
            wait_p95=percentile(seen.waits[place], 0.95),
            run_p50=percentile(seen.runs[place], 0.5),
            run_p95=percentile(seen.runs[place], 0.95),
        )
        for place, at in enumerate(found.grid.beginnings[:-1])
    )
    sizes = Counter(one.cell for one in found.sample)
    waits, runs = list(chain(*seen.waits.values())), list(chain(*seen.runs.values()))
    return Timeline(
        int(found.grid.step.total_seconds()),
        steps,
        any(size >= found.each for size in sizes.values()),
        wait_p50=percentile(waits, 0.5),
        wait_p95=percentile(waits, 0.95),
        run_p50=percentile(runs, 0.5),
        run_p95=percentile(runs, 0.95),
    )


class _Seen:
    """The findings by step; seconds with the weight of their job."""

    def __init__(self, found: Findings) -> None:
        self.started: defaultdict[int | None, float] = defaultdict(float)
        self.waits: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        self.runs: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        self.ends: defaultdict[int, Outcomes] = defaultdict(Outcomes)
        weight = weights(found.ends, found.sample, each=found.each)
        attempts = _counted(found.ends, Counter(one.cell for one in found.sample))
        for one in found.sample:
            heavy = weight[one.cell]
            self.started[found.grid.place(one.started_at)] += attempts[one.cell]
            self.runs[one.cell.place].append((one.ran, heavy))
            if one.waited is not None:
                self.waits[one.cell.place].append((one.waited, heavy))
        for moment in found.running:
            self.started[found.grid.place(moment)] += 1.0
        for cell, count in found.ends.items():
            self.ends[cell.place] = self.ends[cell.place].plus(count)
