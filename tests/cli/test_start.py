"""A command imports what it needs. How long that takes, `make bench-start` measures."""

import subprocess
import sys
from pathlib import Path

import pytest

from fairlane import Fairlane

PROGRAM = """
import atexit, sys
atexit.register(lambda: print("imported:", *sys.modules, file=sys.stderr))
from fairlane.cli import main
main()
"""
NEVER = {"alembic", "asyncpg", "fastapi", "psycopg", "pydantic_settings", "socketio", "starlette", "uvicorn"}
DATABASE = {"fairlane.app", "obstore", "sqlalchemy"}
NOT_THEIRS = {
    "cryptography",
    "fairlane.aio",
    "fairlane.control.submission",
    "fairlane.control.users",
    "fairlane.runtime.worker",
    "reportlab",
}
NOT_IMPORTED = {
    "--version": {"typer", "pydantic", "rich", "asyncio"} | DATABASE | NEVER,
    "--help": {"importlib.metadata", "pydantic", "rich", "asyncio"} | DATABASE | NEVER,
    "worker --help": DATABASE | NEVER,
    "jobs list -o acme": {"fairlane.control.organizations"} | NOT_THEIRS | NEVER,
    "orgs list": {"fairlane.control.jobs"} | NOT_THEIRS | NEVER,
}


@pytest.mark.parametrize("command", NOT_IMPORTED)
def test_a_command_imports_what_it_needs(command: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with Fairlane(url) as fl:
        fl.migrate()
        fl.organizations.create("acme")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command.split()],
        capture_output=True,
        text=True,
        check=True,
        env={"FAIRLANE_URL": url},
    )

    imported = ended.stderr.partition("imported:")[2].split()
    assert "fairlane.cli" in imported
    assert NOT_IMPORTED[command] & set(imported) == set()
