"""Options and arguments that many commands share, with their completion and the parsing of their values."""

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fairlane.cli.session import Target, load
from fairlane.domain.arguments import INHERIT, Inheriting
from fairlane.domain.errors import FairlaneError
from fairlane.domain.numbers import read_json
from fairlane.domain.texts import organization_of

if TYPE_CHECKING:
    from fairlane import Fairlane

T = TypeVar("T")


class Unanswered(FairlaneError):
    """The error that a question had no answer."""


_VARIABLE = "FAIRLANE_ORGANIZATION"
_ALL = "-"  # in place of an organization
_LIKE_A_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d.*)?$")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")


def _completion(names: "Callable[[Fairlane], Iterable[str]]") -> Callable[[typer.Context, str], list[str]]:
    def complete(context: typer.Context, incomplete: str) -> list[str]:
        from fairlane import Fairlane

        given = context.find_root().params
        target = Target(given.get("app"), given.get("url"))
        try:
            with load(target) if target.app is not None else Fairlane(target.url) as fl:
                return [name for name in names(fl) if name.startswith(incomplete)]
        except FairlaneError:
            return []  # an error must not disturb a shell's completion

    return complete


complete_organizations = _completion(lambda fl: (one.id for one in fl.organizations.list()))
complete_types = _completion(lambda fl: (one.name for one in fl.job_types.list()))
complete_queues = _completion(lambda fl: (one.queue for one in fl.reads.queues()))


def of_one(what: str) -> Any:
    """Make the -o of a command that is about one organization."""
    return _organization(what, _refuse_empty, _VARIABLE)


def of_one_or_all(what: str, *, envvar: str | None = _VARIABLE) -> Any:
    """Make the -o of a command that is about all organizations without it.

    The value that means all organizations is no organization's id.
    """
    undone = f" -o {_ALL} undoes {envvar}." if envvar is not None else ""
    return _organization(f"{what}{undone}", _one_or_all, envvar)


def _organization(what: str, callback: Callable[..., str | None], envvar: str | None) -> Any:
    return typer.Option(
        "--organization",
        "-o",
        metavar="ORG",
        envvar=envvar,
        help=what,
        autocompletion=complete_organizations,
        callback=callback,
    )


def _refuse_empty(given: str | None) -> str | None:
    if given == "":
        raise typer.BadParameter("It is empty, and this is about one organization; name it: -o acme.")
    return organization_of(given) if given is not None else None


def _one_or_all(given: str | None) -> str | None:
    # An unset variable of a script must not turn one organization into all.
    if given == "":
        raise typer.BadParameter(f"It is empty; name one, -o acme, or say that it is about all of them: -o {_ALL}.")
    return organization_of(given) if given not in {None, _ALL} else None


Organization = Annotated[str, of_one("The organization of the jobs; `,platform`: jobs of the platform.")]
OrganizationArgument = Annotated[
    str, typer.Argument(metavar="ORG", help="Its id.", autocompletion=complete_organizations)
]
JobId = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="The job's id, or at least four characters of its beginning or end that no other job has."
    ),
]
TypeArgument = Annotated[
    str, typer.Argument(metavar="TYPE", help="The job type's name.", autocompletion=complete_types)
]
QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="Its name.", autocompletion=complete_queues)]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Reason = Annotated[
    str, typer.Option(metavar="TEXT", help="The reason; `fairlane jobs explain` shows it for a job that waits.")
]
User = Annotated[
    str | None,
    typer.Option(
        "--user",
        "-u",
        metavar="USER",
        help="The existing user who acts; on jobs, a member with the right. Default: the system.",
    ),
]
Parameter = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter", "-p", metavar="K=V", help="A parameter, as JSON or text; may be repeated with other names."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Bound = Annotated[str | None, typer.Option(metavar="N", help="A number; 0 for none, or 'unlimited'.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, metavar="N", help="How many at most.")]
Cursor = Annotated[str | None, typer.Option(metavar="CURSOR", help="The cursor that the page before printed.")]


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """Split each `key=value` in two."""
    found = dict[str, str]()
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not of the form key=value.", param_hint=option)
        if key in found:
            a_list = f" A list is one, as JSON: '{key}=[1, 2]'." if option == "--parameter" else ""
            raise typer.BadParameter(f"{key!r} is given twice; give it one value.{a_list}", param_hint=option)
        found[key] = value
    return found


def json_or_text(option: str, text: str) -> Any:
    """Read a value: as JSON, or, if it is not JSON, as text."""
    try:
        return _json(option, text)
    except json.JSONDecodeError:
        return text


def json_object(option: str, text: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        value = _json(option, text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"It is not JSON: {error}.", param_hint=option) from None
    if not isinstance(value, dict):
        raise typer.BadParameter('It must be a JSON object, such as {"month": "2026-11-01"}.', param_hint=option)
    return value


def _json(option: str, text: str) -> Any:
    """Read JSON. Valid JSON that Python can't read is refused, and never taken for text."""
    try:
        return read_json(text)
    except RecursionError:
        raise typer.BadParameter("It is JSON that nests too deeply; make it flatter.", param_hint=option) from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        detail = "It holds an integer of more than 4,300 digits; give it as text, in quotes."
        raise typer.BadParameter(detail, param_hint=option) from None


def duration(option: str, text: str) -> timedelta:
    """Read `90`, `90s`, `5m`, `1h30m`, `2d`; a number alone is seconds."""
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 90s, 5m, 1h30m or 2d.", param_hint=option)
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def bound(option: str, text: str | None) -> int | None:
    """Read a limit; None = unlimited."""
    if text is None or text == "unlimited":
        return None
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither a number nor 'unlimited'.", param_hint=option)
    return int(text)


def changed_bound(option: str, text: str | None) -> int | Inheriting | None:
    """Read a limit of an option that changes nothing if it is omitted."""
    return INHERIT if text is None else bound(option, text)


def local_time(option: str, text: str) -> datetime:
    """Read an ISO time; without a zone it is in the zone of this machine, although commands print UTC."""
    try:
        value = datetime.fromisoformat(text)
        return value if value.tzinfo is not None else value.astimezone()
    except (ValueError, OverflowError):
        what = f"There is no {text}" if _LIKE_A_TIME.match(text) else f"{text!r} is no time"
        raise typer.BadParameter(
            f"{what}; write 2026-11-01T08:00 or 2026-11-01T08:00+01:00.", param_hint=option
        ) from None


def time_or_delay(option: str, text: str, now: Callable[[], datetime]) -> datetime:
    """Read an ISO time, as `local_time` does, or a length of time from now."""
    if not text or _DURATION.fullmatch(text) is None:
        return local_time(option, text)
    try:
        return now() + duration(option, text)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is later than the year 9999.", param_hint=option) from None


def optional(convert: Callable[[str, str], T], option: str, text: str | None) -> T | None:
    """Convert the text; None if the option was omitted."""
    return None if text is None else convert(option, text)


def confirmed(question: str, *, yes: bool) -> None:
    """Ask for confirmation, unless `--yes` was given; No ends the command.

    Raises:
        Unanswered: standard input ends before an answer, as it does without a terminal.
    """
    if yes:
        return
    try:
        is_sure = typer.confirm(question, err=True)
    except typer.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise
        typer.echo(err=True)  # end the line of the question
        raise Unanswered("Nobody is there to answer; use --yes.") from None
    if not is_sure:
        raise typer.Exit(1)
