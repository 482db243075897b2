"""Where the demo is: a directory of its own with a fresh database, and the example application bound to it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fairlane import ConfigurationError
from fairlane.cli import own_postgres
from fairlane.cli.session import leave_out_logins, make_importable

_MARK: Final = "# made by `fairlane demo`, which deletes what it finds here\n*\n"
_MARK_FILE: Final = ".gitignore"
_PACKAGE: Final = "examples.reports"
_INSTALLED: Final = "fairlane._examples.reports"  # so the wheel has it
_NEEDED: Final = ("reportlab", "pypdfium2", "PIL")


@dataclass(frozen=True, slots=True)
class Place:
    """The demo's directory, its database, and whether that can be used when the demo is over."""

    directory: Path
    url: str
    stays: bool

    @property
    def output(self) -> Path:
        """Return where the reports go."""
        return self.directory / "output"


def require(*, postgres: bool) -> None:
    """Say what is not installed before anything is begun.

    Raises:
        ConfigurationError
    """
    if postgres:
        own_postgres.require("The demo", (*_NEEDED, *own_postgres.NEEDED), "demo,demo-postgres")
    else:
        own_postgres.require("The demo", _NEEDED, "demo")


@contextmanager
def prepared(directory: Path, *, postgres: bool, keep: bool) -> Iterator[Place]:
    """Prepare a fresh database in the directory.

    A PostgreSQL server ends with the demo, unless it is to be kept.

    Raises:
        ConfigurationError: the directory is somebody's, or PostgreSQL can't run there.
    """
    directory = directory.absolute()
    _clear(directory)
    if not postgres:
        yield Place(directory, f"sqlite:///{directory / 'demo.db'}", stays=True)
        return
    with own_postgres.postgres_in(directory, keep=keep) as url:
        yield Place(directory, url, stays=keep)


def _clear(directory: Path) -> None:
    """Empty the directory of an earlier demo; leave anybody else's alone."""
    if directory.exists() and any(directory.iterdir()):
        mark = directory / _MARK_FILE
        if not mark.exists() or mark.read_text() != _MARK:
            raise ConfigurationError(
                f"{directory} is not empty and no earlier demo's; name another one: fairlane demo --directory DIRECTORY"
            )
        if (directory / "postgres" / "postmaster.pid").exists():
            _stop_postgres(directory)
        for path in directory.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _MARK_FILE).write_text(_MARK)


def _stop_postgres(directory: Path) -> None:
    """Stop the server that an earlier demo left, and delete its files."""
    # A demo that was killed is still among the server's users there.
    (directory / "postgres" / ".handle_pids.json").unlink(missing_ok=True)
    own_postgres.start(directory, keep=False).cleanup()


@dataclass(frozen=True, slots=True)
class Example:
    """The modules of the example application."""

    app: Any
    plan: Any
    flaky: Any


def example_in(place: Place) -> Example:
    """Return the example application, on the database of the place.

    Raises:
        ConfigurationError: it is neither in the working directory nor installed.
    """
    # The application makes its Fairlane by these, and so do the processes of its handlers.
    os.environ["FAIRLANE_URL"] = place.url
    leave_out_logins()
    os.environ.pop("FAIRLANE_ARTIFACTS_URL", None)
    if not place.url.startswith("sqlite"):
        os.environ["FAIRLANE_ARTIFACTS_URL"] = (place.directory / "artifacts").as_uri()
    # Smoother bars than it is worth in earnest.
    os.environ["FAIRLANE_PROGRESS_INTERVAL"] = "0.25"
    package = _package()
    return Example(*(import_module(f"{package}.{name}") for name in ("app", "plan", "flaky")))


def _package() -> str:
    """Return its name: from the repository's root, from the wheel, or from the repository that is installed."""
    repository = Path(__file__).parents[4]
    if _is_repository(Path.cwd()):
        make_importable(Path.cwd())
        return _PACKAGE
    if find_spec("fairlane._examples") is not None:
        return _INSTALLED
    if _is_repository(repository):
        make_importable(repository)
        return _PACKAGE
    raise ConfigurationError("The example application is not installed; run `fairlane demo` in the repository's root.")


def _is_repository(directory: Path) -> bool:
    return (directory / "examples" / "reports" / "plan.py").exists()
