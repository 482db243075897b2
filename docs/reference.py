"""Makes the generated parts of docs/reference.md from docstrings, settings, errors and the command line."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import griffe

import fairlane
from fairlane import FairlaneError, Settings

SOURCE: Final = Path(__file__).parents[1] / "src"
_WIDEST: Final = 100  # characters of a signature in one line

# Where applications meet a class that they don't import: its place, as they write it.
REACHED: Final = {
    "fl.organizations": "control.people.Organizations",
    "fl.members": "control.people.Members",
    "fl.queues": "control.pausing.Pauses",
    "fl.job_types": "control.pausing.JobTypes",
    "fl.dead_letters": "control.dead_letters.DeadLetters",
    "fl.worker(…)": "runtime.worker.Worker",
    "@fl.job_type(…)": "registry.job_types.JobType",
    "ctx.log": "runtime.context.JobLog",
    "ctx.parents": "runtime.context.Parent",
}
# What verbs return.
RETURNED: Final = (
    "domain.jobs.Page",
    "domain.jobs.Result",
    "domain.jobs.LogLine",
    "domain.jobs.DeadLetter",
    "domain.jobs.DeadLetterGroup",
    "domain.explain.Explanation",
    "domain.explain.Reason",
    "domain.metrics.Metrics",
    "domain.organizations.Organization",
    "domain.organizations.Member",
    "control.pausing.JobTypeView",
    "testing.clock.ManualClock",
)
# Classes that are no dataclasses and that people make objects of.
CONSTRUCTED: Final = ("Fairlane", "ManualClock")
FIRST: Final = ("Fairlane", "JobContext", "Submission", "Job")


def filled(page: str) -> str:
    """The page with its placeholders filled in."""
    makers: dict[str, Callable[[], Iterator[str]]] = {
        "api": api,
        "settings": settings,
        "errors": errors,
        "commands": commands,
    }
    for name, make in makers.items():
        page = page.replace(f"<!-- {name} -->", "\n".join(make()))
    return page


@cache
def _package() -> griffe.Module:
    package = griffe.load("fairlane", search_paths=[SOURCE], resolve_aliases=True)
    assert isinstance(package, griffe.Module)
    return package


def _class(path: str) -> griffe.Class:
    found = _package()[path]
    made = found.final_target if isinstance(found, griffe.Alias) else found
    assert isinstance(made, griffe.Class), path
    return made


def api() -> Iterator[str]:
    """The public classes, those that are met without an import, and what verbs return."""
    names = [name for name in fairlane.__all__ if not issubclass(getattr(fairlane, name), FairlaneError)]
    for name in sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        yield from _describe(name, _class(name))
    for place, path in REACHED.items():
        yield from _describe(place, _class(path))
    for path in RETURNED:
        yield from _describe(path.rpartition(".")[2], _class(path))


def _describe(title: str, made: griffe.Class) -> Iterator[str]:
    yield f"### `{title}`\n"
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
    """The fields of a dataclass, the members of an enumeration; other classes have none to set."""
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
    text = function.signature(name=name)
    text = text.removesuffix(" -> None") if name != function.name else text
    if len(text) > _WIDEST:
        opening, closing = text.index("("), text.rindex(")")
        lines = [f"    {one}," for one in _split(text[opening + 1 : closing])]
        text = "\n".join([text[: opening + 1], *lines, text[closing:]])
    return f"```python\n{text}\n```\n"


def _split(parameters: str) -> Iterator[str]:
    """At the commas outside of brackets."""
    depth, begin = 0, 0
    for position, character in enumerate(parameters):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            yield parameters[begin:position].strip()
            begin = position + 1
    yield parameters[begin:].strip()


def _prose(thing: griffe.Object) -> str:
    """A docstring as Markdown: its sections Args, Raises, Returns and Attributes become lists."""
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
    # Requirement numbers are for whoever changes the code.
    return re.sub(r" \(R\d+(?:, R\d+)*\)", "", text)


def settings() -> Iterator[str]:
    """A table of the settings."""
    yield "| setting | environment | default | |\n|---|---|---|---|"
    for name, one in Settings.model_fields.items():
        default = "–" if one.default is None else f"`{one.default}`"
        yield f"| `{name}` | `FAIRLANE_{name.upper()}` | {default} | {_plain(one.description or '')} |"


def errors() -> Iterator[str]:
    """A table of the errors, each below what it derives from."""
    yield "| error | is a | when |\n|---|---|---|"
    for name, one in _package()["domain.errors"].classes.items():
        if one.is_alias:
            continue
        when = " ".join(one.docstring.value.split()) if one.docstring is not None else ""
        yield f"| `{name}` | `{one.bases[0]}` | {_plain(when)} |"


def commands() -> Iterator[str]:
    """What `--help` says, of every command."""
    command = [sys.executable, "-m", "typer", "fairlane.cli.root", "utils", "docs", "--name", "fairlane"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"^#", "###", text, flags=re.MULTILINE)
    yield re.sub(r"^(Examples?:)$", r"\1\n", text, flags=re.MULTILINE)
