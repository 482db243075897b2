"""`fairlane types`: list job types, pause and disable them, and set their limits."""

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from fairlane.cli import options as o
from fairlane.cli.lookup import acting
from fairlane.cli.output import (
    age,
    breaker_state,
    cell,
    console,
    facts,
    is_told,
    limit_text,
    one_line,
    print_json,
    rate_text,
    remark,
    say,
    some_of,
    table,
    tell,
    unlimited,
)
from fairlane.cli.session import engine
from fairlane.domain.arguments import INHERIT
from fairlane.domain.limits import Limit, LimitUse, Subject

if TYPE_CHECKING:
    from fairlane import Fairlane
    from fairlane.jobtypes.verbs import JobTypeLimit, JobTypeView

app = typer.Typer()

_NO_TYPES = "No job types are registered; `fairlane migrate --app …` and every worker register theirs."

OnlyOf = Annotated[
    str | None,
    # Not from the environment, so that nobody sets a limit for one organization by mistake instead of for all.
    o.of_one_or_all("The organization; omitted: all organizations together.", envvar=None),
]
Window = Annotated[str | None, typer.Option(metavar="DURATION", help="The time of the rate: 1m, 1h; at most a day.")]


@app.command("limit")
def limit_type(
    context: typer.Context,
    job_type: o.TypeArgument,
    organization: OnlyOf = None,
    max_running: o.Bound = None,
    execution_rate: o.Bound = None,
    execution_rate_window: Window = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="First remove the limits that were set: those of its handler hold.")
    ] = False,
    user: o.User = None,
    as_json: o.AsJson = False,
) -> None:
    """Change a type's limits; limits that are not given stay.

    \b
    Examples:
        fairlane types limit report.pdf --max-running 20
        fairlane types limit report.pdf -o acme --execution-rate 100 --execution-rate-window 1h
        fairlane types limit report.pdf --reset
    """
    fl = acting(context, user)
    if reset:
        fl.job_types.reset_limit(job_type, organization=organization, user=user)
    window = o.optional(o.duration, "--execution-rate-window", execution_rate_window)
    changed = fl.job_types.limit(
        job_type,
        organization=organization,
        max_running=o.changed_bound("--max-running", max_running),
        execution_rate=o.changed_bound("--execution-rate", execution_rate),
        execution_rate_window=INHERIT if window is None else window,
        user=user,
    )
    whose = "all organizations together" if organization is None else organization
    tell(changed, f"Job type {job_type}, of {whose}: {limit_text(changed)}.", as_json=as_json)
    if reset and organization is None:
        _remark_on_others(fl, job_type)


@app.command("limits")
def list_limits(
    context: typer.Context,
    job_type: Annotated[
        str | None,
        typer.Argument(metavar="TYPE", help="Omitted: all types.", autocompletion=o.complete_types),
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """List the limits of a type, for all organizations together and for those with their own limit.

    NOW is how many run, or have started within the time of the rate. FROM says who set the limit: the type's handler,
    or an operator by `fairlane types limit`. An organization's own limits are in `fairlane orgs list`.

    \b
    Examples:
        fairlane types limits
        fairlane types limits report.pdf --json
    """
    fl = engine(context)
    found = fl.job_types.limits(name=job_type)
    uses = fl.reads.limit_uses({_subject(one): _limit(one) for one in found})
    with_uses = [{**asdict(one), **uses[_subject(one)]._asdict()} for one in found]
    if is_told(with_uses, _NO_TYPES, as_json=as_json):
        return
    now = Column("NOW", justify="right", no_wrap=True)
    rows = table(Column("TYPE", overflow="fold"), Column("ORGANIZATION"), "LIMIT", now, "FROM")
    for one in found:
        whose = one_line(one.organization or "all together")
        for bound in _bounds(one, uses[_subject(one)]):
            rows.add_row(cell(one.job_type), whose, bound.text, f"{bound.now:,}", bound.source)
    console().print(rows)


@app.command("list")
def list_types(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List the job types that applications and workers have registered.

    \b
    Example:
        fairlane types list
    """
    fl = engine(context)
    found = fl.job_types.list()
    if is_told(found, _NO_TYPES, as_json=as_json):
        return
    limits = {one.job_type: one for one in fl.job_types.limits() if one.organization is None}
    numbers = (Column(one, justify="right") for one in ("TIMEOUT", "RETRIES", "MAX RUNNING", "MAX STARTED"))
    rows = table(Column("TYPE", overflow="fold"), "STATE", Column("QUEUE"), *numbers)
    for one in found:
        bounds = (_seconds(one.options.timeout), unlimited(one.options.max_retries))
        more = (unlimited(limits[one.name].max_running), rate_text(limits[one.name])) if one.name in limits else ()
        rows.add_row(cell(one.name), _state(one), one_line(one.options.queue), *bounds, *more)
    console().print(rows)


@app.command("show")
def show_type(context: typer.Context, job_type: o.TypeArgument, as_json: o.AsJson = False) -> None:
    """Show a job type with its limits.

    \b
    Example:
        fairlane types show report.pdf
    """
    fl = engine(context)
    every, *own = fl.job_types.limits(name=job_type)
    one = next(one for one in fl.job_types.list() if one.name == job_type)
    if as_json:
        print_json({"job_type": one, "limits": [every, *own]})
        return
    console().print(
        facts(
            [
                ("type", one.name),
                ("state", _state(one)),
                ("queue", one.options.queue),
                ("isolation", one.options.isolation),
                ("timeout", _seconds(one.options.timeout)),
                ("retries", unlimited(one.options.max_retries)),
                ("may run", limit_text(every)),
                *((f"of {limit.organization}", limit_text(limit)) for limit in own),
                ("registered", one.registered_at),
            ]
        )
    )


@app.command("enable")
def enable(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """Let the type be submitted again.

    \b
    Example:
        fairlane types enable report.pdf
    """
    acting(context, user).job_types.enable(job_type, user=user)
    say(f"Job type {job_type} is enabled.")


@app.command("disable")
def disable(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """Refuse submissions of the type; existing jobs run.

    \b
    Example:
        fairlane types disable report.pdf
    """
    acting(context, user).job_types.disable(job_type, user=user)
    say(f"Job type {job_type} is disabled.")


@app.command("delete")
def delete(context: typer.Context, job_type: o.TypeArgument, user: o.User = None, yes: o.Yes = False) -> None:
    """Delete a type without jobs, and its limits. Applications that have its handler register it again.

    \b
    Example:
        fairlane types delete report.pdf
    """
    fl = acting(context, user)
    fl.job_types.limits(name=job_type)  # this refuses an unknown type before the question
    o.confirmed(f"Delete job type {job_type} with its limits?", yes=yes)
    fl.job_types.delete(job_type, user=user)
    say(f"Job type {job_type} is deleted.")


@app.command("pause")
def pause_type(context: typer.Context, job_type: o.TypeArgument, user: o.User = None, reason: o.Reason = "") -> None:
    """Pause a type: none of its jobs start until it is resumed; submissions go on.

    \b
    Example:
        fairlane types pause report.pdf --reason "the printer is out of paper"
    """
    fl = acting(context, user)
    fl.job_types.pause(job_type, user=user, reason=reason)
    say(f"Job type {job_type} is paused.")


@app.command("resume")
def resume_type(context: typer.Context, job_type: o.TypeArgument, user: o.User = None) -> None:
    """End a pause.

    \b
    Example:
        fairlane types resume report.pdf
    """
    was_paused = acting(context, user).job_types.resume(job_type, user=user)
    say(f"Job type {job_type} {'goes on' if was_paused else 'was not paused'}.")


@app.command("breakers")
def list_breakers(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List job types in organizations with an open breaker: their jobs don't start because too many have failed.

    \b
    Example:
        fairlane types breakers
    """
    found = engine(context).job_types.breakers()
    if is_told(found, "No breaker is open.", as_json=as_json):
        return
    rows = table(Column("TYPE", overflow="fold"), Column("ORGANIZATION", overflow="fold"), "SINCE", "STATE")
    for one in found:
        rows.add_row(cell(one.job_type), cell(one.organization), age(one.opened_at), breaker_state(one))
    console().print(rows)


@app.command("close-breaker")
def close_breaker(
    context: typer.Context, job_type: o.TypeArgument, organization: o.Organization, user: o.User = None
) -> None:
    """Let jobs of a type start again in an organization, without waiting for its breaker's trial.

    \b
    Example:
        fairlane types close-breaker report.pdf -o acme
    """
    fl = acting(context, user)
    was_open = fl.job_types.close_breaker(job_type, organization=organization, user=user)
    state = "starts again" if was_open else "was not held back by a breaker"
    say(f"Job type {job_type} {state} in organization {organization}.")


@dataclass(frozen=True, slots=True)
class _Bound:
    text: str
    now: int
    source: str


def _bounds(one: "JobTypeLimit", use: LimitUse) -> list[_Bound]:
    """Return the limits of a type, also those explicitly set to unlimited, or a text that there is none."""
    running, started = "max_running" in one.changed, {"execution_rate", "execution_rate_window"} & {*one.changed}
    found = []
    if one.max_running is not None or running:
        found.append(_Bound(f"{unlimited(one.max_running)} running", use.running, _source(running)))
    if one.execution_rate is not None or started:
        found.append(_Bound(_rate(one), use.started, _source(started)))
    return found or [_Bound("unlimited", use.running, _source(False))]


def _rate(one: "JobTypeLimit") -> str:
    within = "" if one.execution_rate is None else f" in {one.execution_rate_window:g}s"
    return f"{unlimited(one.execution_rate)} started{within}"


def _source(is_changed: object) -> str:
    return "operator" if is_changed else "handler"


def _subject(one: "JobTypeLimit") -> Subject:
    return Subject(one.organization, one.job_type)


def _limit(one: "JobTypeLimit") -> Limit:
    return Limit(one.max_running, one.execution_rate, one.execution_rate_window)


def _remark_on_others(fl: "Fairlane", job_type: str) -> None:
    """Print the limits that stay, so that nobody takes the removed limit for the last one."""
    own = [one.organization for one in fl.job_types.limits(name=job_type) if one.organization is not None]
    if own:
        remark(
            f"Limits of single organizations stay: of {some_of(own)}. See them: "
            f"fairlane types limits {shlex.quote(job_type)}. Take one back: "
            f"fairlane types limit {shlex.quote(job_type)} -o {shlex.quote(own[0])} --reset"
        )


def _state(one: "JobTypeView") -> str:
    return ", ".join([*([] if one.enabled else ["disabled"]), *(["paused"] if one.paused else [])]) or "enabled"


def _seconds(number: float | None) -> str:
    return "unlimited" if number is None else f"{number:g}s"
