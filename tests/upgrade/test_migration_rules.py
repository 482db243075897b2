"""Migrations keep to the rules of CONTRIBUTING.md, as far as a program can tell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upgrade.releases import HERE, ROOT, VERSIONS, git, last_tag

# Of alembic's operations those that hold up no writer, or only for the moment of a lock.
ALLOWED = {"create_table", "drop_table", "drop_column", "drop_index"}
FIRST = "0001"


def refused(source: str) -> Iterator[str]:
    """The operations in `upgrade` that are not done to tables that workers write to."""
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef) and function.name == "upgrade":
            for node in ast.walk(function):
                match node:
                    case ast.Attribute(value=ast.Name(id="op"), attr=name) if name not in ALLOWED:
                        yield f"op.{name}"


def migrations() -> list[Path]:
    return sorted((ROOT / VERSIONS).glob("[0-9]*.py"))


def test_migrations_after_the_first_change_tables_only_as_is_allowed_beside_workers() -> None:
    later = [path for path in migrations() if not path.name.startswith(FIRST)]
    assert {path.name: list(refused(path.read_text())) for path in later} == {path.name: [] for path in later}


def test_an_index_that_keeps_writers_out_is_refused() -> None:
    allowed = (HERE / "next_revision.py").read_text()
    assert list(refused(allowed)) == []
    assert list(refused(allowed.replace("online.create_index", "op.create_index"))) == ["op.create_index"]


def test_released_migrations_stay_as_they_are_and_a_release_has_one_more_at_most() -> None:
    tag = last_tag()
    if tag is None:
        pytest.skip("no release is tagged yet, so migrations may still be edited")
    released = git("ls-tree", "--name-only", tag, f"{VERSIONS}/").split()
    for name in released:
        assert (ROOT / name).read_text() == git("show", f"{tag}:{name}"), f"{name} was released with {tag}"
    assert len([path for path in migrations() if f"{VERSIONS}/{path.name}" not in released]) <= 1
