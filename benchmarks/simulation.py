"""Simulate how organizations share the workers' slots over time: `python -m benchmarks.simulation`.

Only `fairlane.domain.fairness` decides here. Claims of workers and the durations of jobs are given. There is no
database and no clock, so the charts are the same on every machine. Tests of shares use it, too.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Any, Final, NamedTuple
from uuid import UUID

from benchmarks.charts import OTHERS, OURS, chart
from fairlane.domain.fairness import Contender, FairShare

_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization with an endless backlog.

    Attributes:
        seconds: how long each of its jobs takes.
        since: when its first job is submitted.
    """

    seconds: Callable[[], float]
    weight: int = 1
    since: float = 0.0


class Start(NamedTuple):
    """A job that was started, and when it ends."""

    organization: str
    at: float
    until: float


class Fleet:
    """Workers of so many slots each, and the jobs that they have started."""

    def __init__(self, tenants: Mapping[str, Tenant], *, slots: int, workers: int = 1) -> None:
        self.starts: list[Start] = []
        self.now = 0.0
        self._tenants = tenants
        self._slots = slots
        self._shares = [FairShare() for _ in range(workers)]
        self._running: list[dict[UUID, str]] = [{} for _ in range(workers)]
        self._ends: list[tuple[float, UUID, int]] = []
        self._leases = (UUID(int=number) for number in count())

    def running(self) -> Counter[str]:
        """Running jobs by organization."""
        return Counter(name for jobs in self._running for name in jobs.values())

    def claim(self, *, only_idle: bool = False) -> None:
        """Let each worker claim, one after the other. `only_idle`: only those on which nothing runs."""
        for worker in range(len(self._shares)):
            if self._running[worker] and only_idle:
                continue
            if (free := self._slots - len(self._running[worker])) > 0:
                self._claim(worker, free)

    def pass_time(self, until: float | None = None) -> None:
        """Let time pass until the next end, or, to a moment, through all ends till then."""
        self.now = self._ends[0][0] if until is None else until
        while self._ends and self._ends[0][0] <= self.now:
            _, lease, worker = heapq.heappop(self._ends)
            del self._running[worker][lease]

    def _claim(self, worker: int, free: int) -> None:
        share, here, everywhere = self._shares[worker], self._running[worker], self.running()
        share.ended(here.keys(), self.now)
        contenders = {
            name: Contender(one.weight, everywhere[name])
            for name, one in self._tenants.items()
            if one.since <= self.now
        }
        claimed = {
            next(self._leases): name
            for name, quota in share.quotas(contenders, free=free).items()
            for _ in range(quota.jobs)
        }
        share.started(claimed, self.now)
        here.update(claimed)
        for lease, name in claimed.items():
            until = self.now + self._tenants[name].seconds()
            heapq.heappush(self._ends, (until, lease, worker))
            self.starts.append(Start(name, self.now, until))


@dataclass(frozen=True, slots=True)
class Round:
    """The counts after a claim round: running jobs, and jobs started so far, by organization."""

    now: float
    running: Mapping[str, int]
    started: Mapping[str, int]


def rounds(tenants: Mapping[str, Tenant], *, slots: int, seconds: float, every: float) -> Iterator[Round]:
    """Claim rounds of one worker, `every` so many seconds."""
    fleet, started, counted = Fleet(tenants, slots=slots), Counter[str](), 0
    for number in range(int(seconds / every)):
        fleet.pass_time(number * every)
        fleet.claim()
        started.update(one.organization for one in fleet.starts[counted:])
        counted = len(fleet.starts)
        yield Round(fleet.now, fleet.running(), dict(started))


def two() -> None:
    """Jobs of a minute fill the worker; then somebody comes with jobs of a tenth of a second."""
    tenants = {
        "jobs of a minute": Tenant(_around(60.0, 0.5)),
        "jobs of 0.1 s, from 90 s on": Tenant(_around(0.1), since=90.0),
    }
    found = list(rounds(tenants, slots=100, seconds=300, every=0.1))
    with chart("fairness-2", "2 organizations of the same weight on 100 slots: slots taken") as axes:
        for name, colour in zip(tenants, (OTHERS[0], OURS), strict=True):
            axes.plot([one.now for one in found], [one.running.get(name, 0) for one in found], colour, label=name)
        _finish(axes)


def hundred() -> None:
    """Jobs of all lengths, ten organizations with three times the weight of the others, and half come later."""
    lengths, slots = random.Random(_SEED), 400
    groups = {"weight 3": (10, 3, 0.0, OURS), "weight 1": (45, 1, 0.0, OTHERS[1])}
    groups["weight 1, from 60 s on"] = (45, 1, 60.0, OTHERS[0])
    tenants = {
        f"{group} {number}": Tenant(_around(lengths.uniform(0.1, 20.0)), weight, since)
        for group, (size, weight, since, _) in groups.items()
        for number in range(size)
    }
    found = list(rounds(tenants, slots=slots, seconds=150, every=0.1))
    with chart(
        "fairness-100", f"100 organizations, jobs of 0.1 to 20 s, on {slots} slots: slots taken by each"
    ) as axes:
        for group, (_, _, since, colour) in groups.items():
            here = [one for one in found if one.now >= since]
            names = [name for name in tenants if name.rpartition(" ")[0] == group]
            _band(axes, here, [_slots(here, name) for name in names], colour, group)
        _finish(axes)


def ten_thousand() -> None:
    """Far more organizations than slots, with jobs of the same length: they come by turns."""
    tenants = {f"o{number}": Tenant(_around(1.0, 0.0)) for number in range(10_000)} | {
        "new": Tenant(_around(1.0, 0.0), since=100.0)
    }
    found = list(rounds(tenants, slots=200, seconds=200, every=0.5))
    names = [name for name in tenants if name != "new"]
    with chart("fairness-10000", "10,000 organizations, jobs of 1 s, on 200 slots: jobs started by each") as axes:
        _band(axes, found, [[one.started.get(name, 0) for one in found] for name in names], OTHERS[1], "each")
        later = [one for one in found if one.now >= 100.0]
        mine = [one.started.get("new", 0) for one in later]
        axes.plot([one.now for one in later], mine, OURS, label="one that comes after 100 s")
        _finish(axes, "upper left")


def _around(seconds: float, spread: float = 0.1) -> Callable[[], float]:
    """Lengths of jobs that are not all the same."""
    numbers = random.Random(_SEED)
    return lambda: seconds * numbers.uniform(1 - spread, 1 + spread)


def _finish(axes: Any, legend: str = "upper right") -> None:
    axes.set(xlabel="seconds", ylim=(0, None))
    axes.grid(axis="y")
    axes.legend(frameon=False, loc=legend)


def _slots(found: Sequence[Round], name: str) -> list[int]:
    return [one.running.get(name, 0) for one in found]


def _band(axes: Any, found: Sequence[Round], lines: Sequence[Sequence[int]], colour: str, label: str) -> None:
    """The median of many lines, on a band from the lowest to the highest."""
    times = [one.now for one in found]
    columns = list(zip(*lines, strict=True))
    low, high = [min(one) for one in columns], [max(one) for one in columns]
    axes.fill_between(times, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(times, [median(one) for one in columns], colour, label=label)


if __name__ == "__main__":
    two()
    hundred()
    ten_thousand()
