"""A command imports what it needs. How long that takes, `make bench-start` measures."""

import subprocess
import sys
from pathlib import Path

import pytest

from fairlane import Fairlane
from fairlane.cli.root import Commands

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
    "fairlane.engine.submission",
    "fairlane.accounts.users",
    "fairlane.engine.worker",
    "reportlab",
}
NOT_IMPORTED = {
    "--version": {"typer", "pydantic", "rich", "asyncio"} | DATABASE | NEVER,
    "--help": {"importlib.metadata", "pydantic", "rich", "asyncio"} | DATABASE | NEVER,
    "worker --help": DATABASE | NEVER,
    "jobs --help": DATABASE | NEVER,
    "jobs list -o acme": {"fairlane.tenancy.organizations"} | NOT_THEIRS | NEVER,
    "orgs list": {"fairlane.engine.jobs"} | NOT_THEIRS | NEVER,
}

# Commands that are no group; these import at once what they run.
NEED_THE_DATABASE = {"check", "migrate", "serve", "top"}


@pytest.mark.slow
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


def test_no_group_needs_the_database_to_say_what_its_commands_are() -> None:
    program = """
import sys
from fairlane.cli.root import Commands
commands = Commands()
for name in sys.argv[1:]:
    commands[name]
print(*sys.modules)
"""
    groups = Commands().keys() - NEED_THE_DATABASE
    ended = subprocess.run([sys.executable, "-c", program, *groups], capture_output=True, text=True, check=True)

    imported = ended.stdout.split()
    assert "fairlane.cli.jobs" in imported
    assert DATABASE & set(imported) == set()
