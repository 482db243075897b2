"""The session of a command: it finds the `Fairlane` that `--app` and `--url` name."""

import importlib
import os
import shlex
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import typer

from fairlane.domain.errors import ConfigurationError, FairlaneError
from fairlane.domain.redact import safe_url

if TYPE_CHECKING:
    from fairlane import Fairlane, Settings

APP_EXAMPLE = "fairlane --app myproject.jobs:fl worker"


@dataclass(frozen=True, slots=True)
class Target:
    """The values of the global options. `url_is_explicit`: the URL was typed, not taken from the environment."""

    app: str | None
    url: str | None
    url_is_explicit: bool = False


def leave_out_logins() -> None:
    """Drop the environment's other logins, here and in child processes: they belong to the environment's database."""
    for name in ("FAIRLANE_OWNER_URL", "FAIRLANE_WORKER_URL"):
        os.environ.pop(name, None)


def target_of(context: typer.Context) -> Target:
    """Return the global options of the command line that `context` belongs to."""
    target = context.find_root().obj
    return target if isinstance(target, Target) else Target(None, None)


def start_of(target: Target) -> str:
    """Return the command that starts a worker: for the named application, else an example."""
    return APP_EXAMPLE if target.app is None else f"fairlane --app {shlex.quote(target.app)} worker"


def engine(context: typer.Context, *, may_be_missing: bool = False) -> "Fairlane":
    """Return the engine to work on, closed when the command ends: the application's, or one by the URL alone.

    Args:
        may_be_missing: True if the command creates a missing database.

    Raises:
        ConfigurationError: the application is unknown or its settings are wrong; or neither it nor a database was
            named and there is no default database; or the database is in memory, where no other process sees it.
    """
    from fairlane import Fairlane

    target = target_of(context)
    # The database's variables belong together, so all of them are read from the environment.
    fl = load(target) if target.app is not None else Fairlane(target.url if target.url_is_explicit else None)
    context.call_on_close(fl.close)
    if fl.database.is_in_memory:
        raise ConfigurationError(
            f"The database {safe_url(fl.settings.url)} is in memory: it lives in one process and ends with this "
            "command; name a file that your application and all commands share, such as sqlite:///jobs.db."
        )
    file = fl.database.file
    if target == Target(None, None) and file is not None and not file.exists() and not may_be_missing:
        raise ConfigurationError(
            f"Neither --app nor --url was given, and the default database {file} is not there; name what you mean "
            "(FAIRLANE_APP or FAIRLANE_URL do it for all commands), or run `fairlane migrate` to create it."
        )
    return fl


def load(target: Target) -> "Fairlane":
    """Import the application as `celery -A` does: the working directory is importable.

    Raises:
        ConfigurationError: it can't be imported, is no `Fairlane`, or says in its code other than --url or the
            environment.
    """
    assert target.app is not None
    if target.url is not None:
        # The application reads the variable when it creates its Fairlane, and so do its child processes.
        os.environ["FAIRLANE_URL"] = target.url
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    module, _, name = target.app.partition(":")
    found = _import(module, target.app)
    fl = _named(found, name) if name else _only_one(found)
    _refuse_contradictions(fl.settings, target)
    return fl


def _refuse_contradictions(code: "Settings", target: Target) -> None:
    """Refuse settings of the environment that the code contradicts.

    The code overrides the environment, so a variable would have no effect, without any error.
    """
    from fairlane import Settings
    from fairlane.config import OTHER_LOGINS

    outside = Settings.load()
    for field in sorted(outside.model_fields_set):
        mine, theirs = getattr(code, field), getattr(outside, field)
        if mine == theirs:
            continue
        where = "--url" if field == "url" and target.url_is_explicit else f"FAIRLANE_{field.upper()}"
        name = field
        if field in OTHER_LOGINS and mine is None:
            name, mine = "url", code.url  # only this one counts if the code gives it
        raise ConfigurationError(
            f"{target.app} says {name} = {safe_url(str(mine))} in its code, and {where} says {safe_url(str(theirs))}; "
            f"leave out {where}, or leave {name} out of the code, which then takes it from the environment."
        )


def _import(name: str, app: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(
            f"--app or FAIRLANE_APP must be a module or module:object, such as myproject.jobs:fl, and not {name!r}."
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise ConfigurationError(f"Importing {name} failed: it needs {missing}, which is not installed.") from error
        raise ConfigurationError(
            f"--app or FAIRLANE_APP says {app}, but there is no module {name} to be imported from {Path.cwd()}; "
            "correct it, or run the command in the directory of the module. Without both, commands that run no "
            "handlers take the database from --url or FAIRLANE_URL."
        ) from error
    except FairlaneError:
        raise
    except KeyboardInterrupt:
        sys.stderr.write(f"Interrupted while {name} was being imported, before anything was started.\n")
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigurationError(
            f"Importing {name} failed with {type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
        ) from error


def _named(module: ModuleType, name: str) -> "Fairlane":
    from fairlane import Fairlane

    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Fairlane):
        return found
    if found is None:
        raise ConfigurationError(f"Module {module.__name__} has no {name}; name its Fairlane: --app module:object.")
    raise ConfigurationError(f"{module.__name__}:{name} is of type {type(found).__name__}, and not a Fairlane.")


def _only_one(module: ModuleType) -> "Fairlane":
    from fairlane import Fairlane

    engines = {name: value for name, value in vars(module).items() if isinstance(value, Fairlane)}
    if len({id(one) for one in engines.values()}) == 1:
        return next(iter(engines.values()))
    what = f"has several, {', '.join(engines)}" if engines else "has none"
    raise ConfigurationError(
        f"Which Fairlane of {module.__name__} is meant? It {what}; write --app {module.__name__}:object."
    )
