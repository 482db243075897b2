"""Databases for a while, beside one that is somebody's and is left alone; and what a database says of itself."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import ProgrammingError

from fairlane.domain.errors import ConfigurationError
from fairlane.store.dialects import file_of, is_sqlite, make_engine
from fairlane.store.transaction import Database, translated

_LOCK_SECONDS: Final = 60.0
_POSTGRES_FACTS: Final = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
# What `PRAGMA synchronous` answers.
_SQLITE_SYNCHRONOUS: Final = ("off", "normal", "full", "extra")


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """Yield the URL of a fresh and empty database beside the one that `url` names, deleted at the end.

    On PostgreSQL it is another database of the same server, on SQLite a file in a folder of its own beside the file.

    Raises:
        ConfigurationError: this user may not create it there, or the URL names no place.
        StorageUnavailable: the server does not answer.
    """
    if make_url(url).get_backend_name() == "sqlite":
        with _scratch_folder(url) as folder:
            yield f"sqlite:///{folder / 'jobs.db'}"
        return
    name = f"fairlane_scratch_{uuid4().hex}"
    _administer(url, f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        _administer(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def _scratch_folder(url: str) -> Iterator[Path]:
    file = file_of(url)
    if file is None:
        raise ConfigurationError("A database in memory has nothing beside it; name a file, such as sqlite:///jobs.db.")
    try:
        folder = Path(tempfile.mkdtemp(prefix="fairlane-scratch-", dir=file.parent))
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can be created in {file.parent} ({error.strerror}); give this user the right, or another URL."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _administer(url: str, statement: str) -> None:
    engine = make_engine(url, pool_size=1, lock_seconds=_LOCK_SECONDS)
    try:
        with translated(engine.url.render_as_string()), engine.connect() as connection:
            # A database is made and dropped outside of transactions.
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))
    except ProgrammingError as error:
        raise ConfigurationError(
            f"This user may not create a database beside that one ({str(error.orig).strip()}); "
            "let a superuser say ALTER ROLE … CREATEDB, or name a server of your own."
        ) from error
    finally:
        engine.dispose()


def facts(database: Database) -> dict[str, str]:
    """Return the database's kind and version, what a commit waits for, and the role and row security of statements."""
    return database.read(_facts, of=())


def _facts(connection: Connection) -> dict[str, str]:
    if is_sqlite(connection):
        version = connection.scalar(text("SELECT sqlite_version()"))
        level = connection.scalar(text("PRAGMA synchronous"))
        return {
            "kind": "SQLite",
            "version": str(version),
            "journal_mode": str(connection.scalar(text("PRAGMA journal_mode"))),
            "synchronous": _SQLITE_SYNCHRONOUS[int(str(level))],
        }
    named = {name: str(connection.scalar(text(f"SHOW {name}"))) for name in _POSTGRES_FACTS}
    secured = connection.scalar(text("SELECT row_security_active('fairlane_jobs')"))
    below = {
        "role": str(connection.scalar(text("SELECT current_user"))),
        "row_security": "on" if secured else "off",
    }
    return {"kind": "PostgreSQL", "version": named.pop("server_version"), **named, **below}
