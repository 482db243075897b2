"""The databases that are measured: where they are made, a temporary one for each run, and what its settings say."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import ProgrammingError

from benchmarks.own_postgres import postgres_in
from fairlane import ConfigurationError
from fairlane.store.engine import engine_at
from fairlane.store.transaction import Database

_TRAVERSABLE: Final = 0o755
_LOCK_SECONDS: Final = 60.0
_SETTINGS: Final = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
_SYNCHRONOUS: Final = ("off", "normal", "full", "extra")  # what `PRAGMA synchronous` answers


@contextmanager
def database_place(url: str | None, *, postgres: bool) -> Iterator[str]:
    """Yield the URL beside which databases are made: the one given, or one in a temporary folder of our own.

    Args:
        postgres: a PostgreSQL server of its own, with its default settings, in place of SQLite.

    Raises:
        ConfigurationError: PostgreSQL can't run here.
    """
    if url is not None:
        yield url
        return
    with TemporaryDirectory(prefix="fairlane-bench-") as name:
        directory = Path(name)
        # A server that root starts is another user's, who has to enter.
        directory.chmod(_TRAVERSABLE)
        if postgres:
            with postgres_in(directory) as server:
                yield server
        else:
            yield f"sqlite:///{directory / 'jobs.db'}"


def temporary_database(url: str) -> AbstractContextManager[str]:
    """Yield the URL of a fresh and empty database beside this one, deleted at the end.

    Raises:
        ConfigurationError: none can be made there.
    """
    return _on_server(url) if engine_at(url).is_server else _in_folder(url)


@contextmanager
def _on_server(url: str) -> Iterator[str]:
    name = f"fairlane_benchmark_{uuid4().hex}"
    _administer(url, f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        _administer(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _administer(url: str, statement: str) -> None:
    with closing(Database(url, pool_size=1, lock_seconds=_LOCK_SECONDS)) as server:
        try:
            with server.translated(), server.engine.connect() as connection:
                # A database is made and dropped outside of transactions.
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))
        except ProgrammingError as error:
            raise ConfigurationError(
                f"This user may not create a database beside that one ({str(error.orig).strip()}); "
                "let a superuser say ALTER ROLE … CREATEDB, or name a server of your own."
            ) from error


@contextmanager
def _in_folder(url: str) -> Iterator[str]:
    file = engine_at(url).file_of(url)
    if file is None:
        raise ConfigurationError("A database in memory has nothing beside it; name a file, such as sqlite:///jobs.db.")
    try:
        folder = TemporaryDirectory(prefix="fairlane-benchmark-", dir=file.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can be created in {file.parent} ({error.strerror}); give this user the right, or another URL."
        ) from error
    with folder as name:
        yield f"sqlite:///{Path(name) / 'jobs.db'}"


def facts(database: Database) -> dict[str, str]:
    """Return its kind and version, what a commit waits for, and the role and row security of statements."""
    return database.read(_facts_of_server if database.kind.is_server else _facts_of_file, of=())


def _facts_of_server(connection: Connection) -> dict[str, str]:
    settings = {name: str(connection.scalar(text(f"SHOW {name}"))) for name in _SETTINGS}
    secured = connection.scalar(text("SELECT row_security_active('fairlane_jobs')"))
    return {
        "kind": "PostgreSQL",
        "version": settings.pop("server_version"),
        **settings,
        "role": str(connection.scalar(text("SELECT current_user"))),
        "row_security": "on" if secured else "off",
    }


def _facts_of_file(connection: Connection) -> dict[str, str]:
    level = connection.scalar(text("PRAGMA synchronous"))
    return {
        "kind": "SQLite",
        "version": str(connection.scalar(text("SELECT sqlite_version()"))),
        "journal_mode": str(connection.scalar(text("PRAGMA journal_mode"))),
        "synchronous": _SYNCHRONOUS[int(str(level))],
    }
