"""`fairlane migrate`: create or upgrade the schema of the database."""

import typer

from fairlane import ConfigurationError, Fairlane
from fairlane.cli import options as o
from fairlane.cli.output import number_of, print_json, say
from fairlane.cli.session import engine
from fairlane.domain.redact import safe_url
from fairlane.store import schema


def migrate(context: typer.Context, as_json: o.AsJson = False) -> None:
    """Create the schema or bring it up to date, and register the application's job types.

    \b
    Examples:
        fairlane migrate --url sqlite:///jobs.db
        fairlane migrate --app myproject.jobs:fl
    """
    fl = engine(context, may_be_missing=True)
    owner = fl.settings.owner_url
    missing_before = schema.lacks_row_security(fl.database, owner)
    before, now = schema.migrate(fl.database, owner)
    missing = schema.lacks_row_security(fl.database, owner)
    _register(fl, missing)
    if as_json:
        print_json({"before": before, "now": now, "job_types": sorted(fl.catalogue.mine)})
        return
    where = safe_url(owner or fl.settings.url)
    if before == now:
        say(f"The schema of {where} is up to date, at revision {now}.")
    else:
        say(f"The schema of {where} is now at revision {now}.")
    if missing is not None:
        say(missing)
    elif fl.database.kind.has_row_security and (before is None or missing_before is not None):
        say("Row security is now on.")
    if fl.catalogue.mine:
        say(f"Registered {number_of(len(fl.catalogue.mine), 'job type')}: {', '.join(sorted(fl.catalogue.mine))}.")


def _register(fl: Fairlane, missing: str | None) -> None:
    """Register the job types with the application's login, not the owner's."""
    try:
        fl.migrate()
    except ConfigurationError as error:
        if missing is None or missing in str(error):
            raise
        raise ConfigurationError(f"The schema is made, but its job types are not registered. {missing}") from error
