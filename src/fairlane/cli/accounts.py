"""`fairlane users`, `fairlane tokens` and `fairlane audit`: logins, API tokens, and the audit."""

import sys
from typing import Annotated
from uuid import UUID

import typer
from pydantic_core import to_jsonable_python
from rich.table import Column

from fairlane import ConfigurationError
from fairlane.cli import options as o
from fairlane.cli.lookup import refuse_unknown
from fairlane.cli.output import cell, console, is_told, json_text, one_line, print_json, remark, say, table, tell
from fairlane.cli.session import engine
from fairlane.domain.accounts import Token
from fairlane.domain.permissions import Right

users = typer.Typer()
tokens = typer.Typer()
audit = typer.Typer()

Rights = Annotated[
    list[str] | None,
    typer.Option("--right", metavar="RIGHT", help=f"One of {', '.join(Right)}; may be repeated."),
]
AskPassword = Annotated[
    bool, typer.Option("--password", help="Ask for a password, or read it from the first line of standard input.")
]
# An operator's tokens belong to no organization.
Whose = Annotated[str | None, o.of_one_or_all("The organization; omitted: entries about all organizations.")]


@users.command("create")
def create_user(
    context: typer.Context,
    user: o.UserArgument,
    password: AskPassword = False,
    operator: Annotated[bool, typer.Option("--operator", help="They look after all organizations.")] = False,
    right: Rights = None,
    as_json: o.AsJson = False,
) -> None:
    """Create a user, with a login by password or as an operator.

    \b
    Example:
        fairlane users create olga --operator --password
    """
    given = _password() if password else None
    made = engine(context).users.create(user, password=given, operator=operator, rights=right or ())
    tell(made, f"User {made.id} is created.", as_json=as_json)


@users.command("list")
def list_users(context: typer.Context, as_json: o.AsJson = False) -> None:
    """List all users.

    \b
    Example:
        fairlane users list
    """
    found = engine(context).users.list()
    if is_told(found, "No users; create one: fairlane users create USER --operator --password", as_json=as_json):
        return
    rows = table(Column("USER", overflow="fold"), "OPERATOR", "PASSWORD", "STATE", Column("MORE RIGHTS"))
    for one in found:
        state = "disabled" if one.disabled_at is not None else "active"
        rows.add_row(cell(one.id), cell(one.is_operator), cell(one.has_password), state, cell(one.rights))
    console().print(rows)


@users.command("update")
def update_user(
    context: typer.Context,
    user: o.UserArgument,
    password: AskPassword = False,
    operator: Annotated[bool | None, typer.Option("--operator/--no-operator")] = None,
    right: Rights = None,
    disabled: Annotated[
        bool | None,
        typer.Option("--disable/--enable", help="Whether they may log in; tokens that disabling revokes stay revoked."),
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Change a user; a new password and disabling end all their sessions, and disabling revokes their tokens.

    \b
    Example:
        fairlane users update olga --disable
    """
    given = _password() if password else None
    changed = engine(context).users.update(user, password=given, operator=operator, rights=right, disabled=disabled)
    tell(changed, f"User {changed.id} is changed.", as_json=as_json)


@users.command("delete")
def delete_user(context: typer.Context, user: o.UserArgument, yes: o.Yes = False) -> None:
    """Delete a user; memberships of the same id stay.

    \b
    Example:
        fairlane users delete olga
    """
    o.confirmed(f"Delete user {user}?", yes=yes)
    was_there = engine(context).users.delete(user)
    say(f"User {user} {'is deleted' if was_there else 'was not there'}.")


@tokens.command("create")
def create_token(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="As whom it acts.")],
    organization: Whose = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is for.")] = "command line",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="RIGHT", help="A right that it is cut to; may be repeated. None: all."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", metavar="DURATION", help="Such as 90d; omitted: never.")
    ] = None,
    operator: Annotated[bool, typer.Option("--operator", hidden=True)] = False,
    as_json: o.AsJson = False,
) -> None:
    """Create a token and print it, once: only its hash is kept.

    It acts as its user, with the user's rights at the time of each request.

    \b
    Examples:
        fairlane tokens create ana -o acme
        fairlane tokens create robot -o acme --scope jobs:submit --expires-in 90d
    """
    if operator:
        raise typer.BadParameter("There is no such option: leave out -o for a token that acts in all organizations.")
    fl = engine(context)
    if organization is not None:
        refuse_unknown(fl, organization)
    length = o.optional(o.duration, "--expires-in", expires_in)
    made, secret = fl.tokens.create(organization=organization, as_user=user, name=name, scopes=scope, expires_in=length)
    if as_json:
        print_json({**to_jsonable_python(made), "secret": secret})
        return
    # Standard output has nothing else, so that a script can write TOKEN=$(fairlane tokens create …).
    print(secret)
    remark("This is shown once; only its hash is kept.")


@tokens.command("list")
def list_tokens(context: typer.Context, organization: Whose = None, as_json: o.AsJson = False) -> None:
    """List an organization's tokens, or those of operators.

    \b
    Example:
        fairlane tokens list -o acme
    """
    fl = engine(context)
    if organization is not None:
        refuse_unknown(fl, organization)
    found = fl.tokens.list(organization=organization)
    whose = f" -o {organization}" if organization is not None else ""
    if not is_told(found, f"No tokens; create one: fairlane tokens create USER{whose}", as_json=as_json):
        _print_tokens(found)


@tokens.command("revoke")
def revoke_token(
    context: typer.Context,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, as `fairlane tokens list` shows it.")],
    organization: Whose = None,
) -> None:
    """Revoke a token at once.

    \b
    Example:
        fairlane tokens revoke 01928f3a-1b2c-7000-8000-000000000000 -o acme
    """
    try:
        key = UUID(token)
    except ValueError:
        raise typer.BadParameter(f"{token!r} is no token's id; `fairlane tokens list` shows them.") from None
    was_open = engine(context).tokens.revoke(key, organization=organization)
    if not was_open:
        raise ConfigurationError(f"There is no token {token} that is not revoked; see `fairlane tokens list`.")
    say(f"Token {token} is revoked.")


@audit.command("list")
def list_audit(
    context: typer.Context,
    organization: Whose = None,
    subject: Annotated[str | None, typer.Option(help="Only entries about this id, such as a job's.")] = None,
    limit: o.Limit = 50,
    before: Annotated[UUID | None, typer.Option(metavar="ID", help="Older than this entry.")] = None,
    as_json: o.AsJson = False,
) -> None:
    """Show who did what, newest first.

    \b
    Example:
        fairlane audit list -o acme
    """
    found = engine(context).audit.list(organization=organization, subject=subject, before=before, limit=limit)
    if is_told(found, "Nothing was done yet.", as_json=as_json):
        return
    rows = table("AT", Column("ACTOR"), Column("FROM"), "ACTION", Column("SUBJECT", overflow="fold"))
    for one in found:
        rows.add_row(cell(one.at), one_line(one.actor), one_line(one.origin), one.action, cell(one.subject))
    console().print(rows)


@audit.command("export")
def export_audit(context: typer.Context, organization: Whose = None) -> None:
    """Print all entries, newest first, one JSON object on each line.

    \b
    Example:
        fairlane audit export -o acme > audit.jsonl
    """
    for entry in engine(context).audit.export(organization=organization):
        print(json_text(entry))


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    given = sys.stdin.readline().rstrip("\n")
    if not given:
        raise typer.BadParameter("Write the password as the first line of the input.", param_hint="--password")
    return given


def _print_tokens(found: tuple[Token, ...]) -> None:
    rows = table("ID", Column("NAME"), Column("USER"), Column("SCOPES", overflow="fold"), "LAST USED", "STATE")
    for one in found:
        state = "revoked" if one.revoked_at is not None else "open"
        scopes = "all" if one.scopes is None else ", ".join(one.scopes) or "none"
        rows.add_row(str(one.id), one_line(one.name), one_line(one.user), scopes, cell(one.last_used_at), state)
    console().print(rows)
