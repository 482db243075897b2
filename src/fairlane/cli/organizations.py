"""`fairlane orgs` and `fairlane members`: the built-in directory."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from fairlane import OrganizationNotFound, Role
from fairlane.cli import options as o
from fairlane.cli.lookup import acting, keeps_people, no_organization, refuse_unknown
from fairlane.cli.output import (
    cell,
    console,
    facts,
    is_told,
    limit_text,
    one_line,
    print_json,
    recent_facts,
    say,
    table,
    tell,
    unlimited,
)
from fairlane.cli.session import engine
from fairlane.domain.accounts import Member, Organization
from fairlane.domain.arguments import INHERIT

if TYPE_CHECKING:
    from fairlane import Fairlane

orgs = typer.Typer()
members = typer.Typer()

Name = Annotated[str | None, typer.Option(metavar="NAME", help="Its display name.")]
Retention = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="How long ended jobs are kept: 90d, 12h; or 'inherit' from their types."),
]
_PERMISSION = "Lets them submit types that need it; payload:read: see the payload of others' jobs. May be repeated."
_ELSEWHERE = "Fairlane keeps no organizations here; the application's own directory does."


@orgs.command("create")
def create(
    context: typer.Context,
    organization: Annotated[str, typer.Argument(metavar="ORG", help="Its id, which can't be changed later.")],
    name: Name = None,
    weight: Annotated[int, typer.Option(min=1, metavar="N", help="Its share beside others.")] = 1,
    max_running: o.Bound = None,
    max_live_jobs: o.Bound = None,
    retention: Retention = None,
    as_json: o.AsJson = False,
) -> None:
    """Create an organization.

    \b
    Example:
        fairlane orgs create acme --name "Acme, Inc." --max-running 20
    """
    made = engine(context).organizations.create(
        organization,
        name=name,
        weight=weight,
        max_running=o.bound("--max-running", max_running),
        max_live_jobs=o.bound("--max-live-jobs", max_live_jobs),
        retention=_retention(retention),
    )
    tell(made, f"Organization {made.id} is created.", as_json=as_json)


@orgs.command("list")
def list_organizations(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List all organizations.

    \b
    Example:
        fairlane orgs list
    """
    fl = engine(context)
    found = fl.organizations.list()
    none = "No organizations; create one: fairlane orgs create acme" if keeps_people(fl) else _ELSEWHERE
    if is_told(found, none, as_json=as_json):
        return
    rows = table(
        Column("ID", overflow="fold"),
        Column("NAME"),
        "STATUS",
        Column("WEIGHT", justify="right"),
        Column("MAX RUNNING", justify="right"),
        Column("MAX LIVE", justify="right"),
    )
    for one in found:
        bounds = (unlimited(one.max_running), unlimited(one.max_live_jobs))
        name = one_line(one.name if one.name != one.id else None)  # it leaves room for the id
        rows.add_row(cell(one.id), name, _standing(one), str(one.weight), *bounds)
    console().print(rows)


@orgs.command("show")
def show(context: typer.Context, organization: o.OrganizationArgument, as_json: o.AsJson = False) -> None:
    """Show an organization, with its jobs by status and how they went within the last hour.

    \b
    Example:
        fairlane orgs show acme
    """
    fl = engine(context)
    found = _get(fl, organization)
    metrics = fl.metrics(organization=organization)
    limits = [one for one in fl.job_types.limits() if one.organization == organization]
    if as_json:
        print_json({"organization": found, "metrics": metrics, "limits": limits})
        return
    console().print(
        facts(
            [
                ("organization", found.id),
                ("name", found.name),
                ("status", _standing(found)),
                ("weight", found.weight),
                ("max running", unlimited(found.max_running)),
                ("max live jobs", unlimited(found.max_live_jobs)),
                *((f"of {one.job_type}", limit_text(one)) for one in limits),
                ("retention", _kept(found)),
                ("created", found.created_at),
                *((str(status), size) for status, size in metrics.jobs_by_status.items() if size),
                ("undecided dead letters", metrics.dead_letter_depth or None),
                *recent_facts(metrics),
            ]
        )
    )


@orgs.command("update")
def update(
    context: typer.Context,
    organization: o.OrganizationArgument,
    name: Name = None,
    weight: Annotated[int | None, typer.Option(min=1, metavar="N", help="Its share beside others.")] = None,
    max_running: o.Bound = None,
    max_live_jobs: o.Bound = None,
    retention: Retention = None,
    as_json: o.AsJson = False,
) -> None:
    """Change the given options of an organization; the others stay as they are.

    \b
    Example:
        fairlane orgs update acme --weight 2 --max-running unlimited
    """
    fl = engine(context)
    _get(fl, organization)
    changed = fl.organizations.update(
        organization,
        name=name,
        weight=weight,
        max_running=o.changed_bound("--max-running", max_running),
        max_live_jobs=o.changed_bound("--max-live-jobs", max_live_jobs),
        retention=INHERIT if retention is None else _retention(retention),
    )
    tell(changed, f"Organization {changed.id} is changed.", as_json=as_json)


@orgs.command("suspend")
def suspend(context: typer.Context, organization: o.OrganizationArgument, user: o.User = None) -> None:
    """Suspend an organization: submissions are refused, no job starts, results are locked; running jobs finish.

    \b
    Example:
        fairlane orgs suspend acme
    """
    fl = acting(context, user)
    refuse_unknown(fl, organization)
    fl.organizations.suspend(organization, user=user)
    say(f"Organization {organization} is suspended.")


@orgs.command("activate")
def activate(context: typer.Context, organization: o.OrganizationArgument, user: o.User = None) -> None:
    """End a suspension.

    \b
    Example:
        fairlane orgs activate acme
    """
    fl = acting(context, user)
    refuse_unknown(fl, organization)
    fl.organizations.activate(organization, user=user)
    say(f"Organization {organization} is active.")


@orgs.command("pause")
def pause(
    context: typer.Context, organization: o.OrganizationArgument, user: o.User = None, reason: o.Reason = ""
) -> None:
    """Pause an organization: none of its jobs start; submissions go on.

    \b
    Example:
        fairlane orgs pause acme --reason "data migration"
    """
    fl = acting(context, user)
    fl.organizations.pause(organization, user=user, reason=reason)
    say(f"Organization {organization} is paused.")


@orgs.command("resume")
def resume(context: typer.Context, organization: o.OrganizationArgument, user: o.User = None) -> None:
    """End a pause.

    \b
    Example:
        fairlane orgs resume acme
    """
    was_paused = acting(context, user).organizations.resume(organization, user=user)
    say(f"Organization {organization} {'goes on' if was_paused else 'was not paused'}.")


@orgs.command("delete")
def delete(
    context: typer.Context, organization: o.OrganizationArgument, user: o.User = None, yes: o.Yes = False
) -> None:
    """Delete an organization: its waiting jobs go to dead letter, running ones finish, its id stays taken.

    \b
    Example:
        fairlane orgs delete acme
    """
    fl = acting(context, user)
    found = _get(fl, organization)
    o.confirmed(f"Delete organization {found.id} ({found.name})? Its waiting jobs will never run.", yes=yes)
    fl.organizations.delete(organization, user=user)
    say(f"Organization {organization} is deleted.")


@members.command("add")
def add_member(
    context: typer.Context,
    user: o.UserArgument,
    organization: o.Organization,
    role: Annotated[
        Role | None,
        typer.Option(help="To read; to submit and cancel own jobs; or to do all in the organization. Default: member."),
    ] = None,
    permission: Annotated[list[str] | None, typer.Option(metavar="NAME", help=_PERMISSION)] = None,
    as_json: o.AsJson = False,
) -> None:
    """Add a user to an organization, or change the given options of a member; the others stay as they are.

    \b
    Example:
        fairlane members add ana -o acme --role admin
    """
    fl = engine(context)
    refuse_unknown(fl, organization)
    before = next((one for one in fl.members.list(organization) if one.user == user), None)
    if before is None:
        added = fl.members.add(organization, user, role=role or Role.MEMBER, permissions=permission or ())
    else:
        added = fl.members.update(organization, user, role=role, permissions=permission)
    if as_json:
        print_json(added)
    elif before is None:
        say(f"{user} is added to {organization} as {_rights(added)}.")
    elif _rights(before) == _rights(added):
        say(f"{user} is in {organization} already, as {_rights(added)}.")
    else:
        say(f"{user} is in {organization} already; was {_rights(before)}, is now {_rights(added)}.")


@members.command("list")
def list_members(context: typer.Context, organization: o.Organization, as_json: o.AsJson = False) -> None:
    """List the members of an organization.

    \b
    Example:
        fairlane members list -o acme
    """
    fl = engine(context)
    refuse_unknown(fl, organization)
    found = fl.members.list(organization)
    none = f"No members; add one: fairlane members add USER -o {organization}"
    if not is_told(found, none, as_json=as_json):
        _print_members(found)


@members.command("remove")
def remove_member(
    context: typer.Context, user: o.UserArgument, organization: o.Organization, yes: o.Yes = False
) -> None:
    """Remove a member; their waiting jobs will be refused when they are due.

    \b
    Example:
        fairlane members remove ana -o acme
    """
    fl = engine(context)
    refuse_unknown(fl, organization)
    o.confirmed(f"Remove {user} from {organization}? Their waiting jobs will be refused when they are due.", yes=yes)
    was_there = fl.members.remove(organization, user)
    say(f"{user} {'is no longer' if was_there else 'was not'} a member of {organization}.")


def _get(fl: "Fairlane", organization: str) -> Organization:
    """Return the organization as `fl.organizations.get` does; its error names the command that creates one."""
    try:
        return fl.organizations.get(organization)
    except OrganizationNotFound:
        if not keeps_people(fl):
            raise
        raise no_organization(fl, organization) from None


def _rights(member: Member) -> str:
    return f"{member.role} with {', '.join(member.permissions)}" if member.permissions else str(member.role)


def _print_members(found: tuple[Member, ...]) -> None:
    rows = table(Column("USER", overflow="fold"), "ROLE", Column("PERMISSIONS", overflow="fold"))
    for member in found:
        rows.add_row(cell(member.user), member.role, cell(member.permissions))
    console().print(rows)


def _standing(organization: Organization) -> str:
    return f"{organization.status}, paused" if organization.paused else organization.status


def _kept(organization: Organization) -> str:
    if organization.retention is None:
        return "as job types say"
    return str(timedelta(seconds=organization.retention)).removesuffix(", 0:00:00")


def _retention(text: str | None) -> timedelta | None:
    return None if text is None or text == "inherit" else o.duration("--retention", text)
