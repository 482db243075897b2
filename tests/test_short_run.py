"""The selection of tests for a short run of everything."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.short_run import BOTH_DATABASES, SLOW, whose_turn

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = """
[tool.pytest]
testpaths = ["here"]
addopts = ["-p", "tests.short_run"]
markers = ["slow", "both_databases"]
"""
TESTS: Final = """
import pytest
on_each = pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_quick(): ...
@pytest.mark.slow
def test_slow(): ...
@on_each
def test_alike(database): ...
@on_each
@pytest.mark.both_databases
def test_apart(database): ...
"""
QUICK: Final = {"test_quick", "test_alike[*]", "test_apart[sqlite]", "test_apart[postgresql]"}
ALL: Final = {"test_quick", "test_slow", "test_alike[sqlite]", "test_alike[postgresql]", *QUICK} - {"test_alike[*]"}


def on_both(name: str) -> list[str]:
    return [name.replace("*", database) for database in ("sqlite", "postgresql")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "arguments", "expected"),
    [("short", [], QUICK), ("long", [], ALL), ("short", ["here/test_it.py"], ALL), ("short", ["-k", "test"], ALL)],
    ids=["make test", "make test-all", "a named file", "named tests"],
)
def test_a_short_run_leaves_out_what_is_slow_and_takes_one_database_of_two(
    tmp_path: Path, depth: str, arguments: list[str], expected: set[str]
):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "test_it.py").write_text(TESTS)
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "FAIRLANE_TEST_DEPTH": depth, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    taken = {line.partition("::")[2] for line in shown.splitlines() if "::" in line}
    if expected is QUICK:
        taken = {name.replace("alike[sqlite]", "alike[*]").replace("alike[postgresql]", "alike[*]") for name in taken}
    assert taken == expected


def test_one_test_of_two_that_differ_by_their_database_alone():
    names = [name for number in range(100) for name in on_both(f"tests/api/test_jobs.py::test_one[*-{number}]")]
    turns = whose_turn(names)
    assert len(turns) == 100
    assert {name.replace("sqlite", "postgresql") for name in turns} == set(names[1::2])
    assert 5 < sum("postgresql" in name for name in turns) < 20
    assert whose_turn(names) == turns


def test_all_others_are_taken():
    names = [
        "tests/domain/test_keys.py::test_a_key",
        "tests/cli/test_init.py::test_postgresql_is_named",
        "tests/api/test_jobs.py::test_on_one[postgresql]",
        "tests/api/test_jobs.py::test_of_names[my-postgresql-9]",
    ]
    assert whose_turn(names) == set(names)


@pytest.mark.parametrize("folder", [*SLOW, *BOTH_DATABASES])
def test_the_folders_that_it_names_are_there(folder: str):
    assert (ROOT / "tests" / folder).is_dir()
