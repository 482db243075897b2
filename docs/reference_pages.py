"""Make the generated parts of docs/reference/*.md from docstrings, settings, errors and the command line.

The pages in the repository have each name with its signature and a sentence, so that they can be read there. Those of
the site have all that the docstrings say.
"""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from inspect import isfunction
from pathlib import Path
from typing import Any, Final

import griffe
import typer

import fairlane
from fairlane import FairlaneError, Settings, WebSettings
from fairlane.cli.root import app
from fairlane.domain.permissions import MEANINGS, OPERATOR_RIGHTS, ROLE_RIGHTS
from fairlane.store.row_rights import rights_of as database_rights_of
from fairlane.store.row_security import DatabaseRole
from fairlane.store.tables import metadata

PAGES: Final = sorted(Path(__file__).with_name("reference").glob("*.md"))
SOURCE: Final = Path(__file__).parents[1] / "src"
_WIDEST: Final = 100  # characters of a signature in one line

# Where applications meet a class that they don't import: its place, as they write it.
REACHED: Final = {
    "fl.organizations": "tenancy.organizations.Organizations",
    "fl.members": "tenancy.members.Members",
    "fl.queues": "tenancy.pausing.Pauses",
    "fl.maintenance": "tenancy.pausing.Maintenance",
    "fl.job_types": "jobtypes.verbs.JobTypes",
    "fl.dead_letters": "engine.dead_letters.DeadLetters",
    "fl.bulk": "engine.system.bulk.Bulk",
    "fl.schedules": "schedules.verbs.Schedules",
    "fl.users": "accounts.users.Users",
    "fl.tokens": "accounts.tokens.Tokens",
    "fl.keys": "encryption.keys.Keys",
    "fl.audit": "tenancy.audit.Audit",
    "fl.workers": "engine.workers.Workers",
    "fl.aio": "aio.AsyncVerbs",
    "fl.worker(…)": "engine.worker.Worker",
    "@fl.job_type(…)": "jobtypes.job_type.JobType",
    "ctx.log": "engine.context.JobLog",
    "ctx.parents": "engine.context.Parent",
}
# What tests of applications import from elsewhere.
TESTING: Final = ("testing.ManualClock", "testing.RecordingContext")
# Classes that are no dataclasses and that people make objects of.
CONSTRUCTED: Final = ("Fairlane", "ManualClock", "RecordingContext")
# The page of each public name, in the page's order.
NAMES: Final = {
    "fairlane": "Fairlane fl.aio fl.worker(…) @fl.job_type(…) Options Submission Receipt new_id Backoff Clock "
    "Isolation ParentPolicy Priority TransactionNotUsed",
    "verbs": "fl.organizations fl.members fl.queues fl.maintenance fl.job_types fl.dead_letters fl.bulk fl.schedules "
    "fl.workers",
    "jobs": "Job JobStatus Result Artifact LogEntry LogLine JobChange Explanation Reason ReasonCode DeadLetter "
    "DeadLetterGroup Resolution Refusal RetriedGroup BulkAction BulkState BulkVerb Mine Page",
    "handlers": "JobContext ctx.log ctx.parents Track Interrupted current_job CurrentJob ErrorReport "
    "RecordingContext ManualClock",
    "views": "Organization OrganizationStatus JobTypeView JobTypeLimit Limit Breaker Trial Try PauseView Schedule "
    "Timetable Missed Metrics SlowJob Spread WorkerView Drained Unready",
    "users": "fl.users fl.tokens fl.keys fl.audit User Token Credential CredentialKind Principal Right Role Member "
    "Membership Directory Standing Pair AuditEntry OrganizationKey KeyState",
    "events": "Event JobStarted JobProgressed JobEnded JobsRescued LeaseLost HandlerAbandoned BreakerOpened "
    "BreakerClosed DeadLetterAlert AlertKind QueueLimitWarning TickRefused KeyMissed DirectoryLost DirectoryBack "
    "StorageLost StorageBack LoopBlocked QueuesNotServed ServiceFailed WorkerStarted WorkerStopping WorkerStopped "
    "WorkerStuck WorkerUnfit JobLogFilter JsonFormatter",
    "settings": "Settings WebSettings",
}


Makers = dict[str, Callable[[], Iterator[str]]]


def brief(page: Path) -> str:
    """Return a page as it is in the repository, its generated parts made anew."""
    makers: Makers = {"api": partial(brief_api, page.stem), **_TABLES, "commands": brief_commands}
    return _filled(page, makers, "<!-- {name} -->\n\n{made}\n\n<!-- /{name} -->")


def full(page: Path) -> str:
    """Return a page as it is on the site."""
    return _filled(page, {"api": partial(api, page.stem), **_TABLES, "commands": commands}, "{made}")


def _filled(page: Path, makers: Makers, form: str) -> str:
    text = page.read_text(encoding="utf-8")
    for name, make in makers.items():
        before, found, rest = text.partition(f"<!-- {name} -->")
        if found:
            _, _, after = rest.partition(f"<!-- /{name} -->")
            text = before + form.format(name=name, made="\n".join(make()).strip()) + after
    return text


@cache
def _package() -> griffe.Module:
    package = griffe.load("fairlane", search_paths=[SOURCE], resolve_aliases=True)
    assert isinstance(package, griffe.Module)
    return package


def _made(path: str) -> griffe.Class | griffe.Function:
    found = _package()[path]
    made = found.final_target if isinstance(found, griffe.Alias) else found
    assert isinstance(made, griffe.Class | griffe.Function), path
    return made


def api(page: str) -> Iterator[str]:
    """Yield a page's names with all that their docstrings say."""
    for title in NAMES[page].split():
        made = _public()[title]
        if isinstance(made, griffe.Class):
            yield from _describe(title, made)
        else:
            yield f"### `{title}`\n\n{_code(made, title)}\n{_prose(made)}"


def brief_api(page: str) -> Iterator[str]:
    """Yield the same, each with its signatures and a sentence."""
    for title in NAMES[page].split():
        made = _public()[title]
        place = f"../../src/{made.relative_package_filepath.as_posix()}"
        yield f"### `{title}`\n\n[`{made.name}`]({place}): {_sentence(made)}\n"
        if isinstance(made, griffe.Function):
            yield _code(made, title)
            continue
        fields = "\n".join(_fields(made))
        if not fields and (attributes := _prose(made).partition("**Attributes**\n\n")[2].partition("\n\n")[0]):
            yield f"{attributes.strip()}\n"
        blocks = [fields]
        if title in CONSTRUCTED:
            blocks.append(_signature(made["__init__"], made.name, arrange=_many_each))
        for one in _methods(made):
            if isinstance(one, griffe.Function):
                what = _signature(one, one.name, arrange=_many_each)
            else:
                what = f"{one.name}: {one.annotation}"
            blocks.append(f"# {_sentence(one)}\n{what}")
        if code := "\n\n".join(filter(None, blocks)):
            yield f"```python\n{code}\n```\n"


@cache
def _public() -> dict[str, griffe.Class | griffe.Function]:
    """Return the public classes and functions by name, those that are met without an import too."""
    names = {name: getattr(fairlane, name) for name in fairlane.__all__}
    reached = {path.rpartition(".")[2] for path in REACHED.values()}
    paths = {
        name: name
        for name, one in names.items()
        if isfunction(one) or (isinstance(one, type) and not issubclass(one, FairlaneError) and name not in reached)
    }
    paths |= REACHED | {path.rpartition(".")[2]: path for path in TESTING}
    return {name: _made(path) for name, path in paths.items()}


def unplaced() -> set[str]:
    """Return the public names that no page has, or more than one, and those of pages that are not public."""
    placed = Counter(name for names in NAMES.values() for name in names.split())
    return {name for name in {*placed, *_public()} if placed[name] != 1 or name not in _public()}


def _describe(title: str, made: griffe.Class) -> Iterator[str]:
    also = f", a `{made.name}`" if made.name != title and made.name in fairlane.__all__ else ""
    yield f"### `{title}`{also}\n"
    yield _prose(made)
    fields = list(_fields(made))
    if fields:
        yield "\n".join(["```python", *fields, "```\n"])
    elif title in CONSTRUCTED:
        yield _code(made["__init__"], made.name)
    for method in _methods(made):
        is_property = "property" in method.labels
        yield f"#### `{title}.{method.name}`\n"
        if isinstance(method, griffe.Function):
            yield _code(method, method.name)
        elif is_property and isinstance(method, griffe.Attribute):
            yield f"```python\n{method.name}: {method.annotation}\n```\n"
        yield _prose(method)


def _fields(made: griffe.Class) -> Iterator[str]:
    """Yield the fields of a dataclass, the members of an enumeration; other classes have none to set."""
    if not ("dataclass" in made.labels or "StrEnum" in map(str, made.bases)):
        return
    for one in made.attributes.values():
        if not one.name.startswith("_") and "property" not in one.labels:
            annotation = f": {one.annotation}" if one.annotation is not None else ""
            value = f" = {one.value}" if one.value is not None else ""
            yield f"{one.name}{annotation}{value}"


def _methods(made: griffe.Class) -> Iterator[griffe.Function | griffe.Attribute]:
    for member in made.all_members.values():
        one = member.final_target if isinstance(member, griffe.Alias) else member
        if one.name.startswith("_") or one.docstring is None:
            continue
        if isinstance(one, griffe.Function) or (isinstance(one, griffe.Attribute) and "property" in one.labels):
            yield one


def _code(function: griffe.Function, name: str) -> str:
    return f"```python\n{_signature(function, name, arrange=_one_each)}\n```\n"


def _signature(function: griffe.Function, name: str, *, arrange: Callable[[Iterator[str]], Iterator[str]]) -> str:
    text = function.signature(name=name)
    text = text.removesuffix(" -> None") if name != function.name else text
    if len(text) > _WIDEST:
        opening, closing = text.index("("), text.rindex(")")
        lines = [f"    {one}" for one in arrange(_split(text[opening + 1 : closing]))]
        text = "\n".join([text[: opening + 1], *lines, text[closing:]])
    return text


def _one_each(parameters: Iterator[str]) -> Iterator[str]:
    return (f"{one}," for one in parameters)


def _many_each(parameters: Iterator[str]) -> Iterator[str]:
    line = ""
    for one in parameters:
        if line and len(line) + len(one) > _WIDEST:
            yield line
            line = ""
        line += f"{' ' if line else ''}{one},"
    yield line


def _split(parameters: str) -> Iterator[str]:
    """Split at the commas outside of brackets."""
    depth, begin = 0, 0
    for position, character in enumerate(parameters):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            yield parameters[begin:position].strip()
            begin = position + 1
    yield parameters[begin:].strip()


def _sentence(thing: griffe.Object) -> str:
    """Return the first sentence of a docstring."""
    text = _plain(thing.docstring.value) if thing.docstring is not None else ""
    first = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", first)[0]


def _prose(thing: griffe.Object) -> str:
    """Return a docstring as Markdown: its sections Args, Raises, Returns and Attributes become lists."""
    if thing.docstring is None:
        return ""
    lines: list[str] = []
    section = ""
    for line in _plain(thing.docstring.value).splitlines():
        if header := re.fullmatch(r"(Args|Raises|Returns|Attributes):", line):
            section = header[1]
            lines += ["", f"**{section}**", ""]
        elif not section or not line.startswith("    "):
            section = section if not line else ""
            lines.append(line)
        elif line.startswith("        "):
            lines.append("  " + line.strip())
        else:
            lines.append(_item(section, line.strip()))
    return "\n".join(lines) + "\n"


def _item(section: str, text: str) -> str:
    names, colon, meaning = text.partition(": ")
    if section == "Returns" or not re.fullmatch(r"\w+(, \w+)*", names):
        return f"\n{text}" if section != "Returns" else text
    return f"- {', '.join(f'`{name}`' for name in names.split(', '))}{colon}{meaning}"


def _plain(text: str) -> str:
    # Requirement numbers are for maintainers of the code.
    return re.sub(r" \(R\d+(?:, R\d+)*\)", "", text)


def settings() -> Iterator[str]:
    """Yield a table of the settings."""
    yield from _settings_of(Settings)


def web_settings() -> Iterator[str]:
    """Yield a table of the settings of the REST API."""
    yield from _settings_of(WebSettings)


def _settings_of(settings: type[Settings | WebSettings]) -> Iterator[str]:
    yield "| setting | environment | default | |\n|---|---|---|---|"
    for name, one in settings.model_fields.items():
        given = ", ".join(one.default) if isinstance(one.default, tuple) else one.default
        default = "–" if given in {None, ""} else f"`{given}`"
        yield f"| `{name}` | `FAIRLANE_{name.upper()}` | {default} | {_plain(one.description or '')} |"


def errors() -> Iterator[str]:
    """Yield a table of the errors, each below what it derives from."""
    yield "| error | is a | when |\n|---|---|---|"
    for name, one in _package()["domain.errors"].classes.items():
        if one.is_alias:
            continue
        when = " ".join(one.docstring.value.split()) if one.docstring is not None else ""
        yield f"| `{name}` | `{one.bases[0]}` | {_plain(when)} |"


def rights() -> Iterator[str]:
    """Yield a table of the rights, and who has them."""
    holders = [*((str(role), rights) for role, rights in ROLE_RIGHTS.items()), ("operator", OPERATOR_RIGHTS)]
    yield f"| right | lets one | {' | '.join(name for name, _ in holders)} |\n|---|---|{'---|' * len(holders)}"
    for right, meaning in MEANINGS.items():
        marks = (("–", "yes")[right in theirs] for _, theirs in holders)
        yield f"| `{right}` | {meaning} | {' | '.join(marks)} |"


def database_rights() -> Iterator[str]:
    """Yield a table of what each role may do with each table; a part of a table's columns is a number."""
    yield f"| table | {' | '.join(f'`{role}`' for role in DatabaseRole)} |\n|{'---|' * (len(DatabaseRole) + 1)}"
    for table in metadata.sorted_tables:
        cells = (_of_a_role(database_rights_of(role, table)) for role in DatabaseRole)
        yield f"| `{table.name}` | {' | '.join(cells)} |"


def _of_a_role(rights: Sequence[str]) -> str:
    columns = Counter(right.partition(" (")[0] for right in rights if "(" in right)
    whole = [right.lower() for right in rights if "(" not in right]
    return ", ".join([*whole, *(f"{verb.lower()} of {number} columns" for verb, number in columns.items())]) or "–"


_TABLES: Final[Makers] = {
    "settings": settings,
    "web settings": web_settings,
    "rights": rights,
    "database rights": database_rights,
    "errors": errors,
}


def brief_commands() -> Iterator[str]:
    """Yield a table of the commands, with the first sentence of their help."""
    yield "| command | |\n|---|---|"
    groups: list[tuple[str, Any]] = [("fairlane", typer.main.get_command(app))]
    for name, group in groups:
        for one, command in sorted(group.commands.items()):
            if hasattr(command, "commands"):
                groups.append((f"{name} {one}", command))
            else:
                help_text = " ".join(command.help.partition("\n\n")[0].split())
                yield f"| `{name} {one}` | {help_text} |"


def commands() -> Iterator[str]:
    """Yield what `--help` says, of every command."""
    command = [sys.executable, "-m", "typer", "fairlane.cli.root", "utils", "docs", "--name", "fairlane"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"^#", "###", text, flags=re.MULTILINE)
    yield re.sub(r"^(Examples?:)$", r"\1\n", text, flags=re.MULTILINE)
