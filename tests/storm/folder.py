"""The storm's folder: what workers and the storm itself tell each other by files."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fairlane.telemetry import QUOTED

DIRECTORY: Final = "STORM_DIRECTORY"  # environment variable: the folder
_TRACEBACK: Final = "Traceback (most recent call last)"
WORKER: Final = "STORM_WORKER"  # environment variable: which worker a process is, or belongs to


def mine() -> tuple[Path, str]:
    """The folder and the worker of this process."""
    return Path(os.environ[DIRECTORY]), os.environ[WORKER]


def prepare(directory: Path) -> None:
    """Make what the files are in."""
    for path in (ledgers(directory), up_file(directory, "").parent, log_file(directory, "").parent):
        path.mkdir()


def ledgers(directory: Path) -> Path:
    """Return the folder of the ledger's files."""
    return directory / "ledger"


def up_file(directory: Path, worker: str) -> Path:
    """Return the file that is there from when the worker claims."""
    return directory / "up" / f"{worker}.up"


def log_file(directory: Path, worker: str) -> Path:
    """Return the file of the worker's log."""
    return directory / "logs" / f"{worker}.log"


def tracebacks(directory: Path) -> Iterator[str]:
    """Yield the workers, or children of workers, with an unexpected error in their log. A dead letter's is expected."""
    for log in sorted(log_file(directory, "").parent.glob("*.log")):
        with log.open(encoding="utf-8", errors="replace") as lines:
            if any(_TRACEBACK in line and not line.startswith(QUOTED) for line in lines):
                yield f"{log.stem} has a traceback in its log"


def full_file(directory: Path) -> Path:
    """Return the file during whose life no worker may let SQLite's file grow."""
    return directory / "full"
