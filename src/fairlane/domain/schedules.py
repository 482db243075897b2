"""Schedules: the times of their ticks, and the due ticks that become jobs (R18)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count, takewhile
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from fairlane.domain.arguments import moment_of
from fairlane.domain.errors import ConfigurationError, InvalidParameters
from fairlane.domain.texts import printable
from fairlane.domain.timing import LEAP_YEAR

SHORTEST: Final = 1.0  # seconds between ticks
LONGEST: Final = LEAP_YEAR
# A tick that is later than this was missed: no worker was there to make a job of it.
LATE: Final = timedelta(seconds=60)
LONGEST_CRON: Final = 200  # characters
_FIELDS: Final = 5
_MOST_NAMES: Final = 5
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# The spans back in which the latest tick is searched, step by step: each has few ticks, as the one before had none.
_SPANS: Final = tuple(map(timedelta, (1 / 1440, 1 / 24, 2, 40, 50 * 366)))  # days


class Missed(StrEnum):
    """The policy for ticks that were missed, because there was no worker, no database or no permission."""

    SKIP = "skip"  # nothing: the schedule goes on with its next tick
    ONE = "one"  # one job, for the latest
    ALL = "all"  # a job for each


@dataclass(frozen=True, slots=True)
class Timetable:
    """The times of a schedule's ticks: by a cron expression in a time zone, or every so many seconds.

    Args:
        cron: five fields, as Debian's cron reads them: minute, hour, day of month, month, day of week.
        every: seconds; give `cron` or `every`.
        time_zone: of the cron expression, for example "Europe/Zurich".
        start: no tick is before it; with `every` it is the first tick.
    """

    cron: str | None
    every: float | None
    time_zone: str
    start: datetime

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the ticks after a moment, each later than the one before, in UTC.

        When clocks are put forward, a tick in the skipped hour comes at the end of that hour. When clocks are put back,
        a tick in the repeated hour comes once, the first time. If the field of minutes or hours begins with `*`, ticks
        follow the real hours: none in the skipped hour, and some in both repeated hours.
        """
        if self.every is not None:
            step = timedelta(seconds=self.every)
            first = max((moment - self.start) // step + 1, 0)
            yield from (self.start + number * step for number in count(first))
            return
        last = max(moment, self.start - timedelta(microseconds=1))
        for local in CronSim(str(self.cron), last.astimezone(zone(self.time_zone))):
            tick = local.astimezone(UTC)
            if tick > last:  # the library begins in the first of two equal hours
                last = tick
                yield tick

    def next(self, moment: datetime) -> datetime | None:
        """Return the first tick after a moment; None: there are no more ticks."""
        return next(self.after(moment), None)

    def latest(self, first: datetime, now: datetime) -> datetime:
        """Return the latest tick up to now; `first` is an earlier tick that is due."""
        if self.every is not None:
            step = timedelta(seconds=self.every)
            return max(first, self.start + (now - self.start) // step * step)
        for span in _SPANS:
            since = max(first, now - span)
            ticks = list(takewhile(lambda tick: tick <= now, self.after(since)))
            if ticks:
                return ticks[-1]
            if since == first:
                break
        return first


class Due(NamedTuple):
    """The due tick that becomes a job now, None = none, and the next tick, None = there are no more."""

    tick: datetime | None
    next: datetime | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule, which submits a job of a type at each tick of a timetable.

    Args:
        user: the user who submits the jobs; None = the system.
        parameters: without secrets.
        priority, queue: None = as the job type says.
        next_ticks: the next five; empty if there are no more, or while the schedule is paused. The first may be due by
            now. All may be due if each missed tick becomes a job.
        last_tick: the last tick of which a job was made; `last_job` is that job.
        problem: the reason why a tick was refused: the tick that is due, or the last one that was skipped. It also says
            that the parameters do not fit the job type as it is registered now, since the next tick will be refused. If
            the parameters have more than 10,000 characters, only `fl.schedules.get` says so. None: no tick was
            refused since a job was made, and the parameters fit.
    """

    id: UUID
    organization: str
    name: str
    job_type: str
    user: str | None
    parameters: Mapping[str, Any]
    timetable: Timetable
    missed: Missed
    priority: str | None
    queue: str | None
    labels: Mapping[str, str]
    next_ticks: tuple[datetime, ...]
    paused_at: datetime | None
    paused_by: str | None
    last_tick: datetime | None
    last_job: UUID | None
    problem: str | None
    created_at: datetime


def timetable(
    *, cron: str | None = None, every: float | None = None, time_zone: str = "UTC", start: datetime
) -> Timetable:
    """Return a timetable that has ticks. A nickname of cron, for example "@daily", becomes its five fields.

    Raises:
        ConfigurationError: the timetable is wrong; the message says what to write.
    """
    if (cron is None) == (every is None):
        raise ConfigurationError("Give cron or every, one of them.")
    zone(time_zone)
    if every is not None and not SHORTEST <= every <= LONGEST:
        raise ConfigurationError(f"every must be {SHORTEST:.0f} to {LONGEST:,.0f} seconds, not {every:,.15g}.")
    start = moment_of("start", start)
    fields = _fields_of(cron) if cron is not None else None
    made = Timetable(fields, every, time_zone, start)
    if made.next(made.start) is None:
        raise ConfigurationError(f"The cron expression {cron!r:.80} never comes true; name a day that there is.")
    return made


def zone(name: object) -> ZoneInfo:
    """Return the time zone of this name.

    Raises:
        ConfigurationError
    """
    try:
        return ZoneInfo(str(name))
    except (ValueError, OSError, KeyError):  # it is not there, is no key of the database, or is a directory
        raise ConfigurationError(
            f"{name!r:.80} is no time zone; write 'Europe/Zurich' or 'UTC', for example."
        ) from None


def due(times: Timetable, tick: datetime, now: datetime, missed: Missed) -> Due:
    """Return the due job and the next tick of a schedule whose next tick was at `tick`, which is not after now."""
    if missed is Missed.ALL:
        return Due(tick, times.next(tick))
    latest = times.latest(tick, now)
    is_skipped = missed is Missed.SKIP and now - latest > LATE
    return Due(None if is_skipped else latest, times.next(now))


def misfit(error: InvalidParameters) -> str:
    """Return the problem of a schedule whose parameters do not fit: their names, never their values.

    The error's own sentence may quote values.
    """
    more = (f"and {len(error.names) - _MOST_NAMES} more",) if len(error.names) > _MOST_NAMES else ()
    names = ", ".join(map(printable, (*error.names[:_MOST_NAMES], *more)))
    which = f" ({names})" if names else ""
    return (
        f"InvalidParameters{which}: parameters of the schedule no longer fit its job type; "
        "put the schedule again with parameters that fit"
    )


def _fields_of(cron: object) -> str:
    """Return the five fields of a cron expression, with one space between them.

    Raises:
        ConfigurationError: it is not a cron expression.
    """
    text = cron if isinstance(cron, str) and len(cron) <= LONGEST_CRON else ""
    fields = _NICKNAMES.get(text.strip(), text).split()
    if len(fields) != _FIELDS:
        raise ConfigurationError(
            "cron has five fields: minute, hour, day of month, month, day of week, for example '30 6 * * MON-FRI', "
            f"or is one of {', '.join(_NICKNAMES)}, not {cron!r:.80}."
        )
    expression = " ".join(fields)
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ConfigurationError(f"The cron expression {cron!r:.80} can't be read: {str(error).lower()}.") from None
    return expression
