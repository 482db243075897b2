"""Modules are loaded only when they are needed, as processes of handlers start by the thousand."""

import subprocess
import sys

import pytest

import fairlane

LOADS = """
import sys
import fairlane.engine.executors.child
print(*sorted({"sqlalchemy", "psycopg", "pydantic_settings", "typer"} & sys.modules.keys()))
"""


@pytest.mark.slow
def test_the_process_of_a_handler_loads_no_database() -> None:
    ended = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == []


def test_all_public_names_are_there() -> None:
    assert {name for name in fairlane.__all__ if not hasattr(fairlane, name)} == set()
    assert set(fairlane.__all__) <= set(dir(fairlane))
