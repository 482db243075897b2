"""Releases of Fairlane side by side: this code, one that has a revision more, and the last that was tagged."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlane.store import schema
from tests.acceptance.program import Program

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
VERSIONS: Final = "src/fairlane/store/migrations/versions"


@dataclass(frozen=True, slots=True)
class Release:
    """A Fairlane to run: an interpreter with what it depends on, and its own source."""

    python: str
    source: Path

    def begin(self, url: str, *arguments: str) -> Program:
        """Start a `fairlane` command of the application `jobs`."""
        environment = {"FAIRLANE_APP": "jobs:fl", "PYTHONPATH": str(self.source)}
        return Program(HERE, url, *arguments, python=self.python, **environment)


def this_code() -> Release:
    """Return the code that all other tests test."""
    return Release(sys.executable, ROOT / "src")


def next_release(directory: Path) -> Release:
    """This code with a revision more, made in `directory`."""
    source = directory / "src"
    shutil.copytree(ROOT / "src" / "fairlane", source / "fairlane", ignore=shutil.ignore_patterns("__pycache__"))
    head = schema._revisions()[-1]
    following = f"{int(head) + 1:04}"
    text = (HERE / "next_revision.py").read_text().replace("NEXT", following).replace("HEAD", head)
    (source.parent / VERSIONS / f"{following}_next.py").write_text(text)
    return Release(sys.executable, source)


def last_tag() -> str | None:
    """The tag of the last release before this code; None where there is none, or no repository."""
    found = git("describe", "--tags", "--abbrev=0", check=False)
    return found.strip() or None


def last_release(tag: str, directory: Path) -> Release:
    """The release with this tag, in `directory`, with an environment of its own from its own lock."""
    directory.mkdir()
    archive = directory / "archive.tar"
    git("archive", "--output", str(archive), tag)
    shutil.unpack_archive(archive, directory)
    python = directory / "environment" / "bin" / "python"
    uv(directory, "venv", "--python", sys.executable, "environment")
    wanted = ["--requirements", "pyproject.toml", "--extra", "postgres", "--constraints", "requirements.lock"]
    uv(directory, "pip", "install", "--python", str(python), *wanted)
    return Release(str(python), directory / "src")


def git(*arguments: str, check: bool = True) -> str:
    """Return the output of git about this repository; nothing without a repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return ""
    return _output(["git", *arguments], ROOT, check=check)


def uv(directory: Path, *arguments: str) -> None:
    """Run uv in a folder."""
    _output([sys.executable, "-m", "uv", "--quiet", *arguments], directory, check=True)


def _output(command: Sequence[str], directory: Path, *, check: bool) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout
