"""Applications import everything from `fairlane` that they write, get or catch, and load no more than they ask for."""

import ast
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import fairlane
from docs.reference_pages import REACHED
from fairlane import Fairlane, FairlaneError, JobContext
from fairlane.domain import errors

# Some of them are imported for type checkers alone where they are named.
PUBLIC = {name: getattr(fairlane, name) for name in fairlane.__all__}


def signatures(owner: type) -> Iterator[Any]:
    """Yield the types that the public verbs and properties of a class take and return; of a value, its fields."""
    for name, member in inspect.getmembers(owner):
        function = member.fget if isinstance(member, property) else getattr(member, "func", member)
        if owner is Fairlane and isinstance(member, cached_property):
            continue  # a group of verbs, which REACHED names
        is_public = not name.startswith("_") or (owner is Fairlane and name == "__init__")
        if is_public and (inspect.isfunction(function) or inspect.ismethod(function)):
            yield from get_type_hints(function, localns=PUBLIC).values()
    if dataclasses.is_dataclass(owner):
        yield from (hint for name, hint in get_type_hints(owner).items() if not name.startswith("_"))


def classes_in(hint: Any) -> Iterator[type]:
    """The classes of this package in an annotation, however deep."""
    for part in hint if isinstance(hint, list) else get_args(hint):
        yield from classes_in(part)
    named = get_origin(hint) or hint
    if inspect.isclass(named) and named.__module__.startswith("fairlane."):
        yield named


def met() -> set[type]:
    """Every class that is met by calling verbs, and in turn by looking at what they return."""
    reached = [path.rpartition(".") for path in REACHED.values()]
    ways = [Fairlane, JobContext, *(getattr(import_module(f"fairlane.{module}"), name) for module, _, name in reached)]
    found: set[type] = set()
    while ways:
        new = {one for hint in signatures(ways.pop()) for one in classes_in(hint)} - found
        found |= new
        # Settings are pydantic's, whose own verbs are not Fairlane's.
        ways += new - {fairlane.Settings}
    return found


def test_every_type_that_a_public_verb_takes_or_returns_imports_from_fairlane() -> None:
    assert sorted(one.__qualname__ for one in met() if getattr(fairlane, one.__name__, None) is not one) == []


def test_every_error_imports_from_fairlane() -> None:
    raised = {name for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, FairlaneError)}

    assert raised - set(fairlane.__all__) == set()


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(fairlane.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert seen == fairlane._HOMES
    for name in fairlane.__all__:
        assert getattr(fairlane, name) is getattr(import_module(fairlane._HOMES[name]), name)


def test_importing_the_package_imports_none_of_its_parts() -> None:
    program = "import fairlane, sys; print(*(name for name in sys.modules if name.startswith('fairlane.')))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == []
