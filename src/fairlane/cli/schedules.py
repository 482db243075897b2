"""`fairlane schedules`: jobs that are submitted repeatedly, at given times."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer
from rich.table import Column

from fairlane import FairlaneError, JobNotFound, Priority, ScheduleNotFound
from fairlane.cli import options as o
from fairlane.cli.lookup import acting, keeps_people, refuse_stranger, refuse_unknown
from fairlane.cli.output import (
    age,
    cell,
    clipped,
    console,
    facts,
    moment,
    one_line,
    print_json,
    say,
    seconds_since,
    table,
    tell,
)
from fairlane.cli.session import engine
from fairlane.cli.submitting import given_parameters, hinting, remark_on_holds
from fairlane.domain.fairness import Lane
from fairlane.domain.reasons import Reason
from fairlane.domain.schedules import Missed, Schedule, Timetable, zone
from fairlane.domain.texts import time_of

if TYPE_CHECKING:
    from fairlane import Fairlane

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's, as `fairlane schedules list` shows it.")]
User = Annotated[
    str | None,
    typer.Option("--user", "-u", metavar="USER", help="The user who acts; the audit names them. Default: the system."),
]


@app.command("list")
def list_schedules(
    context: typer.Context,
    organization: Annotated[str | None, o.of_one_or_all("The organization; omitted: all organizations.")] = None,
    as_json: o.AsJson = False,
) -> None:
    """List schedules, by name: when they go next, and how long ago they last made a job.

    STATE is ok, paused, over (there are no more ticks), why its ticks are refused, or no worker.

    \b
    Example:
        fairlane schedules list -o acme
    """
    fl = engine(context)
    found = fl.schedules.list(organization=organization)
    if as_json:
        print_json(found)
        return
    if not found:
        whose = shlex.quote(organization) if organization is not None else "ORG"
        say("No schedules; create one:")
        say(f"  fairlane schedules put NAME TYPE -o {whose} --cron '30 6 * * MON-FRI'", whole=True)
        return
    rows = table(
        *(["ORG"] if organization is None else []),
        Column("NAME", overflow="fold"),
        Column("TYPE"),
        Column("WHEN", overflow="fold"),
        "NEXT",
        Column("LAST", justify="right", no_wrap=True),
        Column("STATE", overflow="fold"),
    )
    missing = _missing_workers(fl, found)
    for one in found:
        of = [one_line(one.organization)] if organization is None else []
        what = (*of, cell(one.name), one_line(one.job_type), cell(_when(one.timetable)))
        rows.add_row(*what, cell(next(iter(one.next_ticks), None)), age(one.last_tick), _state_of(one, missing))
    console().print(rows)


@app.command("show")
def show(context: typer.Context, schedule: Name, organization: o.Organization, as_json: o.AsJson = False) -> None:
    """Show a schedule: the times of its ticks, the result of the last one, and what keeps it from going on.

    \b
    Example:
        fairlane schedules show nightly -o acme
    """
    fl = engine(context)
    found = _get(fl, organization, schedule)
    if as_json:
        print_json(found)
    else:
        _print_schedule(fl, found)


@app.command("put")
def put(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, without a slash.")],
    job_type: o.TypeArgument,
    organization: o.Organization,
    cron: Annotated[
        str | None,
        typer.Option(metavar="CRON", help="Minute, hour, day of month, month, day of week; or @daily and the like."),
    ] = None,
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="That of --cron, such as Europe/Zurich.")] = "UTC",
    every: Annotated[
        str | None, typer.Option(metavar="DURATION", help="In place of --cron: 90s, 5m, 1h30m, 2d.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The first tick of --every, and none before it: 2026-11-01T08:00 in this machine's zone, or …+01:00.",
        ),
    ] = None,
    missed: Annotated[
        Missed, typer.Option(help="For missed ticks: no job, one for the latest, or one for each.")
    ] = Missed.ONE,
    as_user: Annotated[
        str | None, typer.Option("--as", metavar="USER", help="The user who submits its jobs. Omitted: the system.")
    ] = None,
    parameter: o.Parameter = None,
    parameters: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="All parameters, as a JSON object; without it and -p the parameters stay."),
    ] = None,
    priority: Annotated[Priority | None, typer.Option(help="How urgent its jobs are within the organization.")] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="QUEUE", help="Default: the job type's queue.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="K=V", help="Of its jobs; may be repeated.")
    ] = None,
    user: User = None,
    as_json: o.AsJson = False,
) -> None:
    """Create a schedule, or replace the one of this name; its pause stays.

    Its jobs have its name as their label "schedule". Omitted options get their defaults again, except the parameters.

    \b
    Examples:
        fairlane schedules put nightly report.pdf -o acme --cron '30 6 * * MON-FRI' --time-zone Europe/Zurich
        fairlane schedules put sync shop.sync -o acme --every 6h --as ana -p shop=zurich
    """
    if (cron is None) == (every is None):
        raise typer.BadParameter("Give one of them: --cron '30 6 * * MON-FRI' or --every 6h.", param_hint="--cron")
    fl = acting(context, user)
    refuse_unknown(fl, organization)
    refuse_stranger(fl, organization, as_user)
    is_given = bool(parameter) or parameters is not None
    with hinting(parameter or []):
        made = fl.schedules.put(
            name,
            job_type,
            organization=organization,
            cron=cron,
            every=o.optional(o.duration, "--every", every),
            time_zone=time_zone,
            start=o.optional(o.local_time, "--start", start),
            missed=missed,
            as_user=as_user,
            parameters=given_parameters(fl, job_type, parameter or [], parameters) if is_given else None,
            priority=priority,
            queue=queue,
            labels=o.pairs("--label", label or ()),
            user=user,
        )
    tell(made, f"Schedule {made.name} is kept: {_when(made.timetable)}. {_following(made)}", as_json=as_json)


@app.command("pause")
def pause(
    context: typer.Context, schedule: Name, organization: o.Organization, user: User = None, as_json: o.AsJson = False
) -> None:
    """Pause a schedule: its ticks submit nothing until it is resumed; its existing jobs run.

    \b
    Example:
        fairlane schedules pause nightly -o acme
    """
    fl = acting(context, user)
    _get(fl, organization, schedule)
    paused = fl.schedules.pause(schedule, organization=organization, user=user)
    tell(paused, f"Schedule {schedule} is paused.", as_json=as_json)


@app.command("resume")
def resume(
    context: typer.Context, schedule: Name, organization: o.Organization, user: User = None, as_json: o.AsJson = False
) -> None:
    """End a pause: the schedule goes on with its next tick from now; ticks during the pause make no jobs.

    \b
    Example:
        fairlane schedules resume nightly -o acme
    """
    fl = acting(context, user)
    was_paused = _get(fl, organization, schedule).paused_at is not None
    resumed = fl.schedules.resume(schedule, organization=organization, user=user)
    sentence = "goes on" if was_paused else "was not paused"
    tell(resumed, f"Schedule {schedule} {sentence}. {_following(resumed)}", as_json=as_json)


@app.command("submit")
def submit(
    context: typer.Context, schedule: Name, organization: o.Organization, user: User = None, as_json: o.AsJson = False
) -> None:
    """Submit a job of the schedule now, in addition to those of its ticks; also while it is paused.

    The job is for no tick, so it has the label "schedule" but not "tick".

    \b
    Example:
        fairlane schedules submit nightly -o acme
    """
    fl = acting(context, user)
    _get(fl, organization, schedule)
    job = fl.schedules.submit(schedule, organization=organization, user=user)
    if as_json:
        print_json(job)
    else:
        say(f"Job {job.id} is {job.status}.")
        remark_on_holds(fl, job.id, organization)


@app.command("delete")
def delete(
    context: typer.Context, schedule: Name, organization: o.Organization, user: User = None, yes: o.Yes = False
) -> None:
    """Delete a schedule; its existing jobs stay.

    \b
    Example:
        fairlane schedules delete nightly -o acme
    """
    fl = acting(context, user)
    found = _get(fl, organization, schedule)
    o.confirmed(f"Delete schedule {found.name} of {organization}? It will make no more jobs.", yes=yes)
    fl.schedules.delete(schedule, organization=organization, user=user)
    say(f"Schedule {schedule} is deleted.")


def _get(fl: "Fairlane", organization: str, name: str) -> Schedule:
    """Return the schedule as `fl.schedules.get` does; its error names the command that lists schedules."""
    try:
        return fl.schedules.get(name, organization=organization)
    except ScheduleNotFound as error:
        refuse_unknown(fl, organization)
        there = f"fairlane schedules list -o {shlex.quote(organization)}"
        raise ScheduleNotFound(f"{str(error).removesuffix('.')}; see which there are: {there}") from None


def _following(schedule: Schedule) -> str:
    if schedule.paused_at is not None:
        return "It is paused."
    return f"Its next tick: {moment(schedule.next_ticks[0])}." if schedule.next_ticks else "It has no more ticks."


def _when(times: Timetable) -> str:
    """Return a timetable as text."""
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


def _missing_workers(fl: "Fairlane", schedules: Iterable[Schedule]) -> dict[UUID, Reason]:
    """Return the schedules whose jobs no live worker may claim; none for a login that may not read workers."""
    missing: dict[UUID, Reason] = {}
    with suppress(FairlaneError):
        queues = {one.name: one.options.queue for one in fl.job_types.list()}
        lanes = {
            one.id: Lane(one.queue or queues.get(one.job_type, ""), one.organization, one.job_type) for one in schedules
        }
        found = fl.reads.waiting.missing_workers(lanes.values())
        missing = {schedule: found[lane] for schedule, lane in lanes.items() if lane in found}
    return missing


def _state_of(schedule: Schedule, missing: Mapping[UUID, Reason]) -> str:
    """Return the schedule's state in a word or two; `missing` is the result of `_missing_workers`."""
    if schedule.paused_at is not None:
        return "paused"
    if schedule.problem is not None:
        return _kind(schedule.problem)
    if not schedule.next_ticks:
        return "over"
    return "no worker" if schedule.id in missing else "ok"


def _print_schedule(fl: "Fairlane", schedule: Schedule) -> None:
    """Print the schedule, its next ticks, and what keeps it from going on."""
    out, missing = console(), _missing_workers(fl, [schedule])
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
        say("A due tick is retried within a minute, until it is no longer refused. Repair the schedule, or pause it:")
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
        ("state", _state_of(schedule, missing)),
        ("paused", pause),
        ("when", _when(schedule.timetable)),
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
