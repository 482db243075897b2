"""Conversion of a schedule to its row, and of its row to what people and the audit see."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from fairlane.domain.errors import ConfigurationError, InvalidParameters, ScheduleNotFound
from fairlane.domain.schedules import Due, Missed, Schedule, Timetable, due, misfit, timetable
from fairlane.domain.sealing import Field
from fairlane.domain.secrets import restored
from fairlane.domain.statuses import Priority
from fairlane.encryption.keyring import Shown
from fairlane.encryption.sealing import Unreadable
from fairlane.engine.batch import Submission
from fairlane.jobtypes.catalogue import RegisteredType
from fairlane.schedules.ticks import submission
from fairlane.store.statements import schedules as statements
from fairlane.store.tables import AnyRow

_SHOWN: Final = 5  # of the next ticks


@dataclass(frozen=True, slots=True)
class ScheduleDraft:
    """A requested schedule, checked as far as possible without the database."""

    organization: str
    name: str
    job_type: str
    user: str | None
    cron: str | None
    every: float | None
    time_zone: str
    start: datetime | None
    missed: Missed
    priority: Priority | None
    queue: str | None
    labels: Mapping[str, str]

    def timetable(self, start: datetime) -> Timetable:
        """Return its timetable, which begins at `start` if the schedule has no start of its own.

        Raises:
            ConfigurationError
        """
        return timetable(cron=self.cron, every=self.every, time_zone=self.time_zone, start=self.start or start)

    def submission(self, tick: datetime | None, job_id: UUID, parameters: Mapping[str, Any]) -> Submission:
        """Return the submission for a tick, or for a job beside the ticks (None)."""
        return submission(
            self.organization,
            self.name,
            self.job_type,
            self.user,
            parameters,
            tick=tick,
            options={"priority": self.priority, "queue": self.queue, "labels": self.labels},
            id=job_id,
        )

    def columns(self, times: Timetable) -> dict[str, Any]:
        """Return its columns, without its parameters and its progress."""
        options = {"priority": self.priority, "queue": self.queue, "labels": dict(self.labels)}
        return {
            "job_type": self.job_type,
            "user_id": self.user,
            "options": json.dumps(options, ensure_ascii=False, sort_keys=True),
            "cron": times.cron,
            "every_seconds": times.every,
            "time_zone": times.time_zone,
            "start": times.start,
            "missed": self.missed,
        }

    def plain(
        self,
        before: AnyRow | None,
        given: Mapping[str, Any] | None,
        opened: Callable[[AnyRow], Mapping[str, Any]],
        *,
        keeps: bool,
    ) -> Mapping[str, Any]:
        """Return the parameters, with the stored values for what was omitted, unless those are of another job type.

        Args:
            keeps: whether secrets stay as they were where the given parameters have `[redacted]`.

        Raises:
            ConfigurationError: the stored parameters are to stay, and can't be decrypted.
            InvalidParameters: it is not clear which secret is to stay where.
        """
        if before is None or before.job_type != self.job_type:
            return given or {}
        if given is None:
            return opened(before)
        if not keeps:
            return given
        try:
            was = opened(before)
        except ConfigurationError:
            return given  # they can't be decrypted any more, and need not be
        kept: Mapping[str, Any] = restored(given, was)
        return kept


def schedule_of(row: AnyRow, shown: Shown, now: datetime) -> Schedule:
    """Return the public value of a row. Its parameters are without secrets."""
    options = json.loads(row.options)
    return Schedule(
        id=row.id,
        organization=row.organization_id,
        name=row.name,
        job_type=row.job_type,
        user=row.user_id,
        parameters=shown.parameters(row.organization_id, row.id, row.parameters),
        timetable=statements.timetable_of(row),
        missed=Missed(row.missed),
        priority=Priority(options["priority"]) if options["priority"] is not None else None,
        queue=options["queue"],
        labels=options["labels"],
        next_ticks=() if row.paused_at is not None or row.next_tick is None else _next_ticks(row, now),
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        last_tick=row.last_tick,
        last_job=row.last_job_id,
        problem=row.problem,
        created_at=row.created_at,
    )


def after_last(row: AnyRow, now: datetime) -> datetime:
    """Return the moment after which its next tick comes: never before its last tick, even if the clock was set back."""
    return max(now, row.last_tick) if row.last_tick is not None else now


def to_judge(row: AnyRow, shown: Shown, longest: float) -> str | None:
    """Return the parameters of the next tick; None if there is no next tick, or the parameters can't be checked.

    Args:
        longest: how many characters the stored parameters may have. Longer ones are not returned.
    """
    if row.problem is None and row.look_at is not None and len(row.parameters) <= longest:
        # A process without the organization's key can't check them.
        with suppress(Unreadable):
            return shown.opened(row.organization_id, row.id, Field.PARAMETERS, row.parameters)
    return None


def judged(schedule: Schedule, job_type: RegisteredType | None, parameters: str | None) -> Schedule:
    """Return a schedule with the reason why its next tick will be refused, if its parameters do not fit.

    The check may take long, so never run it in a transaction.

    Args:
        job_type: as it is registered now; None = it is not known here.
        parameters: as `to_judge` returns them.
    """
    if job_type is None or parameters is None:
        return schedule
    try:
        job_type.schema.prepare(json.loads(parameters))
    except InvalidParameters as error:
        return replace(schedule, problem=misfit(error))
    except (ValueError, RecursionError) as error:  # somebody wrote invalid JSON into the row
        return replace(schedule, problem=misfit(InvalidParameters(str(error))))
    return schedule


def _next_ticks(row: AnyRow, now: datetime) -> tuple[datetime, ...]:
    """Return the next ticks that become jobs, with the missed ticks for which the scheduler still makes jobs."""
    times, found = statements.timetable_of(row), Due(None, row.next_tick)
    if row.next_tick <= now:
        found = due(times, row.next_tick, now, Missed(row.missed))
    ticks = [found.tick] if found.tick is not None else []
    if found.next is not None:
        ticks += [found.next, *islice(times.after(found.next), _SHOWN - 1)]
    return tuple(ticks[:_SHOWN])


def told(row: AnyRow) -> dict[str, Any]:
    """Return what the audit keeps of a schedule: no parameters."""
    names = ("job_type", "user_id", "cron", "every_seconds", "time_zone", "start", "missed")
    return {**{name: getattr(row, name) for name in names}, **json.loads(row.options)}


def unknown(organization: str, name: str) -> ScheduleNotFound:
    """Return the error for a schedule that is not there."""
    return ScheduleNotFound(f"Organization {organization} has no schedule {name!r:.220}.")
