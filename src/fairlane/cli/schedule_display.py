"""What `fairlane schedules` shows of a schedule."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from fairlane import FairlaneError, JobNotFound
from fairlane.cli.lookup import keeps_people
from fairlane.cli.output import clipped, console, facts, moment, say, seconds_since, table
from fairlane.domain.fairness import Lane
from fairlane.domain.reasons import Reason, time_of
from fairlane.domain.schedules import Schedule, Timetable, zone

if TYPE_CHECKING:
    from fairlane import Fairlane

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))


def when(times: Timetable) -> str:
    """Return a timetable in a line."""
    if times.every is None:
        return f"{times.cron} {times.time_zone}"
    parts, left = [], times.every
    for size, unit in _UNITS:
        if left >= size:
            parts.append(f"{left // size:.0f} {unit}")
            left %= size
    if left or not parts:
        parts.append(f"{left:g} s")
    return f"every {' '.join(parts)}"


def missing_workers(fl: "Fairlane", schedules: Iterable[Schedule]) -> dict[UUID, Reason]:
    """Say of which schedules no live worker may claim the jobs; nothing to a login that may not look at workers."""
    missing: dict[UUID, Reason] = {}
    with suppress(FairlaneError):
        queues = {one.name: one.options.queue for one in fl.job_types.list()}
        lanes = {
            one.id: Lane(one.queue or queues.get(one.job_type, ""), one.organization, one.job_type) for one in schedules
        }
        found = fl.reads.waiting.missing_workers(lanes.values())
        missing = {schedule: found[lane] for schedule, lane in lanes.items() if lane in found}
    return missing


def state_of(schedule: Schedule, missing: Mapping[UUID, Reason]) -> str:
    """Say how it stands, in a word or two; `missing` is as `missing_workers` returns it."""
    if schedule.paused_at is not None:
        return "paused"
    if schedule.problem is not None:
        return _kind(schedule.problem)
    if not schedule.next_ticks:
        return "over"
    return "no worker" if schedule.id in missing else "ok"


def print_schedule(fl: "Fairlane", schedule: Schedule) -> None:
    """Print all of it, then its next ticks, then what keeps it from going on."""
    out, missing = console(), missing_workers(fl, [schedule])
    out.print(facts(_facts(fl, schedule, missing)))
    if schedule.next_ticks:
        there = [tick.astimezone(zone(schedule.timetable.time_zone)) for tick in schedule.next_ticks]
        here = [tick.astimezone() for tick in schedule.next_ticks]
        differs = [one.replace(tzinfo=None) for one in there] != [one.replace(tzinfo=None) for one in here]
        out.print()
        rows = table("NEXT TICKS", *(["ON THIS MACHINE"] if differs else []))
        for one, other in zip(there, here, strict=True):
            rows.add_row(_day(one), *([_day(other)] if differs else []))
        out.print(rows)
    if schedule.problem is not None and schedule.next_ticks:
        out.print()
        say(f"Its ticks are refused. {schedule.problem}")
        say("A tick that is due is tried again within a minute, until it is no longer refused. Mend it, or pause it:")
        for line in _remedies(fl, schedule):
            say(f"  {line}", whole=True)
    if schedule.id in missing:
        out.print()
        say(f"Its jobs do not start. {missing[schedule.id].advice}")


def _facts(fl: "Fairlane", schedule: Schedule, missing: Mapping[UUID, Reason]) -> list[tuple[str, Any]]:
    pause = f"since {moment(schedule.paused_at)}, by {schedule.paused_by}" if schedule.paused_at is not None else None
    return [
        ("schedule", schedule.name),
        ("organization", schedule.organization),
        ("type", schedule.job_type),
        ("state", state_of(schedule, missing)),
        ("paused", pause),
        ("when", when(schedule.timetable)),
        ("from", schedule.timetable.start),
        ("missed ticks", schedule.missed),
        ("as user", schedule.user or "system"),
        ("queue", schedule.queue),
        ("priority", schedule.priority),
        ("parameters", clipped(schedule.parameters)),
        ("labels", schedule.labels),
        ("last tick", schedule.last_tick),
        ("its job", _last_job(fl, schedule)),
        ("created", schedule.created_at),
    ]


def _last_job(fl: "Fairlane", schedule: Schedule) -> str | None:
    if schedule.last_job is None:
        return None
    with suppress(JobNotFound):  # retention may have deleted it
        return f"{schedule.last_job} ({fl.get(schedule.last_job, organization=schedule.organization).status})"
    return f"{schedule.last_job} (deleted)"


def _remedies(fl: "Fairlane", schedule: Schedule) -> Iterator[str]:
    """Yield the commands that may help, each with what it does."""
    whose = f"-o {shlex.quote(schedule.organization)}"
    match _kind(schedule.problem or ""):
        case "PermissionDenied" if schedule.user is not None and keeps_people(fl):
            yield f"fairlane members add {shlex.quote(schedule.user)} {whose}"
        case "OrganizationSuspended" if keeps_people(fl):
            yield f"fairlane orgs activate {shlex.quote(schedule.organization)}"
        case "JobTypeDisabled":
            yield f"fairlane types enable {shlex.quote(schedule.job_type)}"
        case _:
            pass
    yield f"fairlane schedules pause {shlex.quote(schedule.name)} {whose}"


def _kind(problem: str) -> str:
    return problem.partition(":")[0]


def _day(tick: datetime) -> str:
    return f"{tick:%a} {time_of(tick)}{', due' if seconds_since(tick) else ''}"
