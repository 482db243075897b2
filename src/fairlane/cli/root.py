"""The root command: its global options, which may stand anywhere on the line, and the printing of errors."""

import ast
import gc
import re
import shlex
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from fairlane.cli import INTERRUPTED, print_version
from fairlane.cli.session import Target, leave_out_logins
from fairlane.domain.errors import FairlaneError, calls_of
from fairlane.domain.origin import acting_from

# The module and the help of each command. A command is imported when it is called: most import the database's
# libraries, which take longer than the rest of the start.
_PLACES: Final = {
    "worker": ("worker:worker", "Run jobs until SIGTERM or Ctrl-C."),
    "serve": ("serve:serve", "Serve the dashboard and the REST API."),
    "migrate": ("migrating:migrate", "Create the schema or bring it up to date."),
    "check": ("checks:check", "Find problems of the installation."),
    "top": ("top:top", "Show queues, running jobs and workers, live."),
    "jobs": ("jobs:app", "Look at jobs, submit, cancel and retry them."),
    "dead-letters": ("dead_letters:app", "Look at dead letters, retry them, note what was decided."),
    "schedules": ("schedules:app", "Submit jobs at given times."),
    "orgs": ("organizations:orgs", "Create, change, suspend and delete organizations."),
    "members": ("organizations:members", "List, add, change and remove members of organizations."),
    "queues": ("switches:queues", "List queues, pause and resume them."),
    "workers": ("workers:app", "List workers, and ask one to finish and end."),
    "types": ("types:app", "List job types; pause, resume, disable, enable, limit and delete them."),
    "maintenance": (
        "switches:maintenance",
        "Keep all jobs from starting, for example during an upgrade.",
    ),
    "users": ("accounts:users", "List, create, change and delete users with a login, and operators."),
    "tokens": ("accounts:tokens", "Create, list and revoke API tokens."),
    "keys": ("keys:app", "Encrypt the data of organizations' jobs."),
    "audit": ("accounts:audit", "Read who did what."),
}
# The options as typed, and whether a value follows.
_GLOBAL = ("--app", "-A", "--url")
# Advice of errors to Python programmers, and the same advice for the command line.
_HERE = {
    'on_duplicate="return"': "--on-duplicate return",
    "job with dedup_key": "job with --dedup-key",
    "or omit waiting_for": "or omit --waiting-for",
    "import its module here": "name its application by --app",
    "`fairlane migrate`, or call fl.migrate()": "`fairlane migrate`",
    "change that user instead": "change that user with `fairlane users update`",
    "Give run_at or delay, not both": "Give --run-at or --delay, not both",
    "execution_rate_window is the time of execution_rate,": "--execution-rate-window is the time of --execution-rate,",
    "expires_in must be": "--expires-in must be",
    "Give it the artifacts_url that": "Give it the FAIRLANE_ARTIFACTS_URL that",
    "rates_url can't be used": "FAIRLANE_RATES_URL can't be used",
    " If your code has a transaction open, pass it as connection= to submit a job; call all other verbs before that "
    "transaction, or after its commit.": "",
}
# A call that an error's note names, and the command that does the same.
_CALL = re.compile(r"fl\.(organizations\.create|members\.add|users\.create)\((.+)\)")
_COMMANDS = {
    "organizations.create": "fairlane orgs create {0}",
    "members.add": "fairlane members add {1} -o {0}",
    "users.create": "fairlane users create {0}",
}
_SETTING = re.compile(r"(?<=[:;] )(\w+)(?=: )")


class Commands(Mapping[str, Any]):
    """The commands by name, each imported when it is called."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            place, text = _PLACES[name]
            module, _, attribute = place.partition(":")
            # Imported objects stay. To scan them for garbage, now and at the exit, takes a fifth of the start.
            gc.disable()
            try:
                found = getattr(import_module(f"fairlane.cli.{module}"), attribute)
                if isinstance(found, typer.Typer):
                    gc.freeze()  # a worker and a server, which are not groups, do so themselves
            finally:
                gc.enable()
            host = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
            if isinstance(found, typer.Typer):
                host.add_typer(found, name=name, no_args_is_help=True, help=text)
            else:
                host.command(name, short_help=text)(found)
            self._loaded[name] = get_group(host).commands[name]
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in _PLACES

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


class Root(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = Commands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Format the list of commands without importing each."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _PLACES.items()])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with the global options moved to the front."""
        return super().parse_args(ctx, hoisted(args))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve the command; if only groups have a command of this name, the error names them."""
        if args and args[0] not in self.commands:
            groups = [name for name, group in self.commands.items() if args[0] in getattr(group, "commands", ())]
            if groups and not ctx.resilient_parsing:
                meant = " or ".join(f"fairlane {name} {args[0]}" for name in groups)
                ctx.fail(f"There is no command 'fairlane {args[0]}'; did you mean {meant}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print an error that has a sentence for users as that sentence."""
        try:
            with acting_from("command line", is_trusted=True):
                return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # the prefix helps nobody
            raise
        except FairlaneError as error:
            from fairlane.cli.output import complain

            complain(_for_here(error))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def _for_here(error: FairlaneError) -> str:
    sentence = str(error)
    for python, command in _HERE.items():
        sentence = sentence.replace(python, command)
    if sentence.startswith("Fairlane's settings are wrong: "):
        sentence = _SETTING.sub(_with_variable, sentence)
    commands = [_command(found) for found in map(_CALL.fullmatch, calls_of(error)) if found]
    return ": ".join([sentence.removesuffix("."), *commands]) if commands else sentence


def _with_variable(found: re.Match[str]) -> str:
    from fairlane.config import Settings, WebSettings

    is_setting = found[1] in Settings.model_fields or found[1] in WebSettings.model_fields
    return f"{found[1]} (FAIRLANE_{found[1].upper()})" if is_setting else found[1]


def _command(found: re.Match[str]) -> str:
    arguments = ast.literal_eval(f"({found[2]},)")
    return _COMMANDS[found[1]].format(*(shlex.quote(one) for one in arguments))


def hoisted(args: list[str]) -> list[str]:
    """Return the arguments with the global options first.

    `fairlane worker --app x` is `fairlane --app x worker`.
    """
    first: list[str] = []
    rest: list[str] = []
    left = iter(args)
    for one in left:
        if one == "--":
            return [*first, *rest, one, *left]
        name, equals, _ = one.partition("=")
        if name not in _GLOBAL:
            rest.append(one)
        elif equals:
            first.append(one)
        else:
            first += [one, *(value for value in [next(left, None)] if value is not None)]
    return [*first, *rest]


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_version()
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            "-A",
            metavar="MODULE[:OBJECT]",
            envvar="FAIRLANE_APP",
            help="The application with your handlers, such as myproject.jobs:fl. The object may be omitted "
            "if the module has only one Fairlane.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="FAIRLANE_URL",
            help="The database, such as sqlite:///jobs.db or postgresql://user@host/name. If typed, it is used "
            "without FAIRLANE_OWNER_URL and FAIRLANE_WORKER_URL.",
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Background jobs for multi-tenant applications.

    --app and --url may stand anywhere on the line. Commands that run no handlers need --url only.
    Without -o, a command takes the organization from FAIRLANE_ORGANIZATION.
    Where a command can concern all organizations, -o - means all.

    \b
    Examples:
        fairlane migrate --url postgresql://localhost/jobs
        fairlane worker --app myproject.jobs:fl
        fairlane jobs submit report.pdf -o acme -p month=2026-11-01 --wait
        fairlane jobs explain 01928f3a-1b2c -o acme
    """
    source = context.get_parameter_source("url")
    context.obj = Target(app, url, url_is_explicit=source is not None and source.name == "COMMANDLINE")
    if context.obj.url_is_explicit:
        leave_out_logins()
