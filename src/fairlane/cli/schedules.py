"""`fairlane schedules`: jobs that are submitted again and again, by the clock."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from fairlane import Priority, ScheduleNotFound
from fairlane.cli import options as o
from fairlane.cli.lookup import acting, refuse_stranger, refuse_unknown
from fairlane.cli.output import age, cell, console, moment, one_line, print_json, say, table
from fairlane.cli.schedule_display import missing_workers, print_schedule, state_of, when
from fairlane.cli.session import engine
from fairlane.cli.submitting import given_parameters, hinting, remark_on_holds
from fairlane.domain.schedules import Missed, Schedule

if TYPE_CHECKING:
    from fairlane import Fairlane

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's, as `fairlane schedules list` shows it.")]
User = Annotated[
    str | None,
    typer.Option("--user", "-u", metavar="USER", help="The user who acts; the audit names them. Default: the system."),
]


@app.command("list")
def list_schedules(
    context: typer.Context,
    organization: Annotated[str | None, o.of_one_or_all("Whose; left out: those of all organizations.")] = None,
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
    missing = missing_workers(fl, found)
    for one in found:
        of = [one_line(one.organization)] if organization is None else []
        what = (*of, cell(one.name), one_line(one.job_type), cell(when(one.timetable)))
        rows.add_row(*what, cell(next(iter(one.next_ticks), None)), age(one.last_tick), state_of(one, missing))
    console().print(rows)


@app.command("show")
def show(context: typer.Context, schedule: Name, organization: o.Organization, as_json: o.AsJson = False) -> None:
    """Show a schedule: when its ticks are, what became of the last one, and what keeps it from going on.

    \b
    Example:
        fairlane schedules show nightly -o acme
    """
    fl = engine(context)
    found = _get(fl, organization, schedule)
    if as_json:
        print_json(found)
    else:
        print_schedule(fl, found)


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
        Missed, typer.Option(help="Of ticks that were missed: no job, one for the latest, or one for each.")
    ] = Missed.ONE,
    as_user: Annotated[
        str | None, typer.Option("--as", metavar="USER", help="As whom its jobs are submitted. Left out: the system.")
    ] = None,
    parameter: o.Parameter = None,
    parameters: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="All parameters, as a JSON object; without it and -p those that it has."),
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
    """Create a schedule, or make the one of this name what is said here; a pause of it stays.

    Its jobs have its name as their label "schedule". What is left out becomes the default again, but for parameters.

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
    _print_one(made, f"Schedule {made.name} is kept: {when(made.timetable)}. {_following(made)}", as_json=as_json)


@app.command("pause")
def pause(
    context: typer.Context, schedule: Name, organization: o.Organization, user: User = None, as_json: o.AsJson = False
) -> None:
    """Let its ticks go by until it is resumed; jobs of it that are there run.

    \b
    Example:
        fairlane schedules pause nightly -o acme
    """
    fl = acting(context, user)
    _get(fl, organization, schedule)
    paused = fl.schedules.pause(schedule, organization=organization, user=user)
    _print_one(paused, f"Schedule {schedule} is paused.", as_json=as_json)


@app.command("resume")
def resume(
    context: typer.Context, schedule: Name, organization: o.Organization, user: User = None, as_json: o.AsJson = False
) -> None:
    """End a pause: it goes on with its next tick from now; those that went by make no jobs.

    \b
    Example:
        fairlane schedules resume nightly -o acme
    """
    fl = acting(context, user)
    was_paused = _get(fl, organization, schedule).paused_at is not None
    resumed = fl.schedules.resume(schedule, organization=organization, user=user)
    sentence = "goes on" if was_paused else "was not paused"
    _print_one(resumed, f"Schedule {schedule} {sentence}. {_following(resumed)}", as_json=as_json)


@app.command("submit")
def submit(
    context: typer.Context, schedule: Name, organization: o.Organization, user: User = None, as_json: o.AsJson = False
) -> None:
    """Submit one of its jobs now, beside those of its ticks; also while it is paused.

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
    """Delete a schedule; jobs of it that are there stay.

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
    """Do as `fl.schedules.get`, with the command that says which there are."""
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


def _print_one(schedule: Schedule, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(schedule)
    else:
        say(sentence)
