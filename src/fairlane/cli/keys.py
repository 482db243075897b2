"""`fairlane keys`: encrypt the data of an organization's jobs, change its key, and destroy it."""

from typing import Annotated

import typer
from rich.table import Column

from fairlane.cli import options as o
from fairlane.cli.output import cell, console, is_told, print_json, say, table
from fairlane.cli.session import engine
from fairlane.domain.accounts import OrganizationKey

app = typer.Typer()

Whose = Annotated[str, o.of_one("Whose key.")]


@app.command()
def enable(context: typer.Context, organization: Whose, as_json: o.AsJson = False) -> None:
    """Give an organization a key: the data of its jobs is stored encrypted from now on.

    It needs a master key in FAIRLANE_ENCRYPTION_KEYS, here and in all processes that submit, run or show its jobs.

    \b
    Example:
        fairlane keys enable -o acme
    """
    _print_key(
        engine(context).keys.enable(organization=organization),
        "New data of its jobs is encrypted from now on; to encrypt existing data: fairlane keys reencrypt",
        as_json=as_json,
    )


@app.command()
def rotate(context: typer.Context, organization: Whose, as_json: o.AsJson = False) -> None:
    """Give an organization a new version of its key, for data that is stored from now on.

    \b
    Example:
        fairlane keys rotate -o acme
    """
    _print_key(
        engine(context).keys.rotate(organization=organization),
        "Older versions still decrypt their data; to encrypt it with this one: fairlane keys reencrypt",
        as_json=as_json,
    )


@app.command("list")
def list_keys(context: typer.Context, organization: Whose, as_json: o.AsJson = False) -> None:
    """List the versions of an organization's key, the newest first.

    \b
    Example:
        fairlane keys list -o acme
    """
    found = engine(context).keys.list(organization=organization)
    if is_told(found, f"No encryption; to start it: fairlane keys enable -o {organization}", as_json=as_json):
        return
    rows = table("VERSION", "STATE", Column("MASTER KEY"), "USABLE HERE", "CREATED", "DESTROYED")
    for one in found:
        usable = "yes" if one.usable else "no"
        rows.add_row(
            str(one.version), one.state, cell(one.master_key), usable, cell(one.created_at), cell(one.destroyed_at)
        )
    console().print(rows)


@app.command()
def destroy(context: typer.Context, organization: Whose, yes: o.Yes = False) -> None:
    """Destroy all keys of an organization, and with them all data that they have encrypted, for ever.

    \b
    Example:
        fairlane keys destroy -o acme
    """
    o.confirmed(f"Erase all data that the keys of {organization} have encrypted, for ever?", yes=yes)
    destroyed = engine(context).keys.destroy(organization=organization)
    if destroyed:
        say(f"{destroyed} of {organization}'s keys destroyed: nobody can decrypt their data.")
    else:
        say(f"{organization} had no key.")


@app.command()
def reencrypt(
    context: typer.Context,
    organization: Annotated[str | None, o.of_one_or_all("The organization; omitted: all that have a key.")] = None,
) -> None:
    """Encrypt all data with the newest key: data of older versions, and data from before there was a key.

    The command works in small batches beside running workers, and may be stopped and run again. It waits for ten
    seconds after a change of keys, because other processes may still use the older one.

    \b
    Examples:
        fairlane keys reencrypt
        fairlane keys reencrypt -o acme
    """
    done = engine(context).keys.reencrypt(organization=organization, on_wait=_say_wait)
    say(f"{done:,} {'text or file was' if done == 1 else 'texts and files were'} encrypted with the newest key.")


def _say_wait(seconds: float) -> None:
    say(f"Waiting up to {seconds:.0f} s, until no process and no transaction uses the keys before the newest one …")


def _print_key(key: OrganizationKey, more: str, *, as_json: bool) -> None:
    if as_json:
        print_json(key)
    else:
        say(f"Version {key.version} of the key of {key.organization} is in use. {more}")
        say(
            f"Every process that submits, runs or shows its jobs needs the master key {key.master_key} in "
            "FAIRLANE_ENCRYPTION_KEYS. A worker without it starts none of these jobs; a few seconds from now "
            "`fairlane check` names such workers."
        )
