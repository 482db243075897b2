"""`Charts`: numbers over time for the dashboard. Their cost is bounded, however many jobs there are."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from fairlane.domain import shares as of_all
from fairlane.domain.breaker import Outcomes, Pair
from fairlane.domain.errors import InvalidParameters
from fairlane.domain.fairness import Lane
from fairlane.domain.shares import OrganizationLoad, Share, Shares
from fairlane.domain.timeline import (
    DAY,
    Cell,
    Findings,
    Grid,
    Timeline,
    cells_to_sample,
    grid_of,
    most_of_each,
    require_minutes,
    timeline,
)
from fairlane.reads import metrics as numbers
from fairlane.store.clock import Clock
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import breakers, lanes, organizations, outcomes
from fairlane.store.statements import timeline as steps
from fairlane.store.statements.lanes import InLine
from fairlane.store.transaction import Database
from fairlane.tenancy.tenants import Tenants

COUNTED: Final = 10_000  # the highest count of a step or a lane
_MOST_STEPS: Final = 240
_SAMPLED: Final = 5_000  # jobs for a whole timeline
_SCARCE: Final = 0.5  # of the slots are taken: some are free between jobs, and some are reserved
_SHOWN: Final = 20  # organizations; the others are added up


class Charts:
    """Numbers over time. Every method raises `StorageUnavailable` if the database does not answer."""

    def __init__(self, database: Database, tenants: Tenants) -> None:
        self._database = database
        self._tenants = tenants

    def timeline(self, organization: str | None, *, minutes: int = 60, step: int | None = None) -> Timeline:
        """Return the jobs that were submitted, started and ended in each step.

        A million jobs cost no more than ten thousand. Workers count the ended jobs. Submissions are counted by the
        primary key up to 10,000 a step. Durations come from a sample of the 5,000 jobs that ended last.

        Args:
            organization: of the jobs; None = all organizations, for operators, and then only jobs that ended.
            minutes: how far back, 1 to 1440.
            step: the minutes of a step; there are at most 240 steps. None = the shortest step that fits.

        Raises:
            InvalidParameters, OrganizationNotFound
        """
        step = -(-minutes // _MOST_STEPS) if step is None else step
        if not 1 <= minutes <= DAY or not 1 <= step <= DAY:
            raise InvalidParameters(f"minutes and step are 1 to {DAY}, not {minutes!r:.20} and {step!r:.20}.")
        if minutes > _MOST_STEPS * step:
            raise InvalidParameters(f"That is more than {_MOST_STEPS} steps; take longer ones, or less time.")
        clock = self._database.clock

        def read(connection: Connection) -> Timeline:
            grid = grid_of(clock.now(connection), minutes=minutes, step=step)
            return timeline(_findings(connection, organization, grid), cap=COUNTED)

        return self._tenants.read(read, of=organization if organization is not None else EVERYONE)

    def shares(self, *, minutes: int = 60) -> Shares:
        """Return which organizations use the workers, by minute, and which wait now. For operators.

        Raises:
            InvalidParameters
        """
        require_minutes(minutes)
        return self._database.read(lambda connection: self._shares(connection, minutes), of=EVERYONE)

    def _shares(self, connection: Connection, minutes: int) -> Shares:
        now = self._database.clock.now(connection)
        grid = grid_of(now, minutes=minutes, step=1)
        standings = _standings(connection, self._database.clock, now)
        spent = outcomes.busiest(connection, grid.start, limit=_SHOWN)
        names = of_all.largest(standings, spent, _SHOWN)
        counts = outcomes.by_minute(connection, grid.start, names)
        shown = tuple(_share(name, standings.get(name, OrganizationLoad()), counts, grid) for name in names)
        number = len(standings.keys() | spent.keys())
        if len(spent) == _SHOWN:
            number = max(number, outcomes.number_of_organizations(connection, grid.start))
        return Shares(
            minutes=tuple(grid.beginnings[:-1]),
            shares=shown,
            rest=_rest(connection, grid, shown, standings) if number > len(shown) else None,
            organizations=number,
            neighbour=of_all.neighbour(standings),
            waiting=of_all.waiting(standings),
        )


def _findings(connection: Connection, organization: str | None, grid: Grid) -> Findings:
    if organization is None:
        together = {Cell("", "", place): count for place, count in steps.ends_of_all(connection, grid).items()}
        return Findings(grid, together, submitted=None, sample=(), running=(), each=1)
    ends = steps.ends(connection, organization, grid)
    cells = cells_to_sample(ends)
    each = most_of_each(ends, _SAMPLED)
    return Findings(
        grid,
        ends,
        submitted=steps.submitted(connection, organization, grid, up_to=COUNTED + 1),
        sample=steps.sample(connection, grid, cells, each=each),
        running=steps.running_since(connection, organization),
        each=each,
    )


def _standings(connection: Connection, clock: Clock, now: datetime) -> dict[str, OrganizationLoad]:
    """Count the running and the waiting jobs of each organization."""
    at_work = lanes.running(connection)
    running: Counter[str] = Counter()
    for pair, size in at_work.items():
        running[pair.organization] += size
    lines = lanes.in_line(connection, lanes.active_lanes(connection), up_to=COUNTED + 1)
    held, taken = _held(connection, clock, lines, at_work), _taken(connection, clock, lines)
    in_line = defaultdict[str, list[OrganizationLoad]](list)
    for one in lines:
        kept = one.size if one.lane not in taken else min(held[one.lane], one.size)
        waiting = round(max((now - one.since).total_seconds(), 0.0), 3) if kept < one.size else None
        in_line[one.lane.organization].append(
            OrganizationLoad(
                ready=min(one.size, COUNTED),
                ready_is_capped=one.size > COUNTED,
                waiting_seconds=waiting,
                held=min(kept, COUNTED),
                behind_seconds=waiting if taken.get(one.lane, 0.0) >= _SCARCE else None,
            )
        )
    return {
        name: of_all.together([OrganizationLoad(running=running[name]), *in_line.get(name, ())])
        for name in running.keys() | in_line.keys()
    }


def _held(connection: Connection, clock: Clock, lines: Sequence[InLine], running: Mapping[Pair, int]) -> Counter[Lane]:
    """Count the jobs of each lane that wait for no other organization: paused, limited, or held by a breaker."""
    ready = Counter({one.lane: one.size for one in lines})
    held = numbers.held(
        connection, clock, numbers.LiveJobs(ready=ready), running, organizations.running_limits(connection)
    )
    broken = {one.pair for one in breakers.open_breakers(connection)}
    return Counter(
        {
            lane: size if held.is_paused(lane) or lane.pair in broken else held.limited[lane]
            for lane, size in ready.items()
        }
    )


def _taken(connection: Connection, clock: Clock, lines: Sequence[InLine]) -> dict[Lane, float]:
    """Return which share of the slots that could run a lane's jobs is taken.

    Lanes that no worker serves are omitted.
    """
    alive, lacking = numbers.workers_of(connection, clock), numbers.lacking_keys(connection, clock)
    serving = {
        pair: [one for one in alive if one.claims(*pair)]
        for pair in {(one.lane.queue, one.lane.job_type) for one in lines}
    }
    found = {}
    for lane in (one.lane for one in lines):
        lacks = lacking.get(lane.organization, ())
        mine = [one for one in serving[lane.queue, lane.job_type] if one.name not in lacks]
        if mine:
            found[lane] = sum(one.running for one in mine) / sum(one.slots for one in mine)
    return found


def _share(name: str, now: OrganizationLoad, counts: Mapping[tuple[str, datetime], Outcomes], grid: Grid) -> Share:
    nothing = Outcomes()
    found = [counts.get((name, minute), nothing) for minute in grid.beginnings[:-1]]
    return Share(name, now, tuple(one.attempts for one in found), tuple(round(one.seconds, 3) for one in found))


def _rest(
    connection: Connection, grid: Grid, shown: Sequence[Share], standings: Mapping[str, OrganizationLoad]
) -> Share:
    """Return the sum of all organizations that are not shown."""
    names = {one.organization for one in shown}
    totals = steps.ends_of_all(connection, grid)
    ended, seconds = [], []
    for place in range(grid.number):
        total = totals.get(place, Outcomes())
        ended.append(max(total.attempts - sum(one.ended[place] for one in shown), 0))
        seconds.append(round(max(total.seconds - sum(one.seconds[place] for one in shown), 0.0), 3))
    now = of_all.together([one for name, one in standings.items() if name not in names])
    return Share(None, now, tuple(ended), tuple(seconds))
