"""A connection to another database that has Fairlane's tables, too: its job would stand where nobody looks for it."""

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from fairlane import ConfigurationError, Fairlane, FairlaneError, JobContext, StorageUnavailable
from tests.postgres import create_database, database_on, drop_database


@pytest.fixture
def other_sqlite(sqlite_template: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'other.db')}"


@pytest.fixture
def other_postgres(postgres_server: str, postgres_template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    create_database(postgres_server, name, template=postgres_template)
    yield database_on(postgres_server, name)
    drop_database(postgres_server, name)


@contextmanager
def application(url: str) -> Iterator[Fairlane]:
    with closing(Fairlane(url)) as fl:
        fl.migrate()

        @fl.job_type("note")
        def note(ctx: JobContext) -> None: ...

        fl.organizations.create("acme")
        yield fl


@pytest.mark.parametrize("other", ["other_sqlite", "other_postgres"])
def test_a_connection_to_another_database_is_refused_and_writes_nothing(
    database_url: str, other: str, request: pytest.FixtureRequest
) -> None:
    elsewhere: str = request.getfixturevalue(other)
    with application(elsewhere) as theirs, application(database_url) as fl:
        with theirs.database.engine.begin() as connection, pytest.raises(ConfigurationError, match="another database"):
            fl.submit("note", organization="acme", connection=connection)
        assert not theirs.list(organization="acme").items


@pytest.mark.parametrize("kind", ["sqlite in memory", "sqlite", "postgresql"])
def test_a_connection_to_a_database_without_the_tables_is_told_from_fairlanes_own(
    database_url: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}" if kind == "sqlite" else "sqlite://"
    if kind == "postgresql":
        server: str = request.getfixturevalue("postgres_server")
        name = f"test_{uuid4().hex}"
        create_database(server, name, template="template0")
        request.addfinalizer(lambda: drop_database(server, name))
        url = str(make_url(database_on(server, name)).set(drivername="postgresql+psycopg"))
    engine = create_engine(url)
    with application(database_url) as fl:
        with engine.begin() as connection, pytest.raises(ConfigurationError, match="another database"):
            fl.submit("note", organization="acme", connection=connection)
        assert not fl.list(organization="acme").items
    engine.dispose()


def test_a_database_in_memory_that_is_shared_by_name_is_refused_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///file:memorydb_default?mode=memory&cache=shared", "sqlite:///file:jobs.db"):
        with pytest.raises(ConfigurationError, match="add uri=true"):
            Fairlane(url).migrate()
    assert list(tmp_path.iterdir()) == []
    with closing(Fairlane("sqlite:///file:jobs.db?uri=true")) as fl:
        fl.migrate()
    assert [one.name for one in tmp_path.iterdir()][:1] == ["jobs.db"]


def test_a_file_is_not_the_database_in_memory(other_sqlite: str) -> None:
    with (
        application(other_sqlite) as theirs,
        application("sqlite://") as fl,
        theirs.database.engine.begin() as connection,
        pytest.raises(ConfigurationError, match="another database"),
    ):
        fl.submit("note", organization="acme", connection=connection)


@pytest.mark.parametrize("main", ["", "empty.db"])
@pytest.mark.parametrize("home", ["in memory", "in a file"])
def test_a_connection_with_the_tables_in_an_attached_database_is_refused(
    sqlite_url: str, other_sqlite: str, tmp_path: Path, home: str, main: str
) -> None:
    attached = other_sqlite if home == "in memory" else sqlite_url
    with application(other_sqlite) as other, application("sqlite://" if home == "in memory" else sqlite_url) as fl:
        with closing(sqlite3.connect(str(tmp_path / main) if main else ":memory:")) as connection:
            connection.execute("ATTACH ? AS jobs", [make_url(attached).database])
            with pytest.raises(ConfigurationError, match="another database than"):
                fl.submit("note", organization="acme", connection=connection)
            connection.commit()
        assert [one.list(organization="acme").total for one in (fl, other)] == [0, 0]


def test_a_database_that_is_attached_beside_fairlanes_own_is_no_reason_to_refuse(
    sqlite_url: str, other_sqlite: str
) -> None:
    with application(other_sqlite) as other, application(sqlite_url) as fl:
        with closing(sqlite3.connect(str(make_url(sqlite_url).database))) as connection:
            connection.execute("ATTACH ? AS other", [make_url(other_sqlite).database])
            job = fl.submit("note", organization="acme", connection=connection)
            connection.commit()
        assert [one.id for one in fl.list(organization="acme").items] == [job.id]
        assert not other.list(organization="acme").items


def test_of_two_files_the_error_names_both_and_its_text_neither(sqlite_url: str, tmp_path: Path) -> None:
    with application(sqlite_url) as fl, closing(sqlite3.connect(tmp_path / "instance.db")) as connection:
        with pytest.raises(ConfigurationError, match="another database") as refused:
            fl.submit("note", organization="acme", connection=connection)
        files = (str(tmp_path / "instance.db"), str(fl.database.file))
        assert [file in "".join(refused.value.__notes__) for file in files] == [True, True]
        assert not any(file in str(refused.value) for file in files)


async def test_an_asynchronous_connection_elsewhere_is_refused(postgres_url: str, other_postgres: str) -> None:
    with application(other_postgres), application(postgres_url) as fl:
        engine = create_async_engine(make_url(other_postgres).set(drivername="postgresql+asyncpg"))
        async with engine.begin() as connection:
            with pytest.raises(ConfigurationError, match="another database"):
                await fl.aio.submit("note", organization="acme", connection=connection)
        await engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_session_that_can_not_connect_is_an_outage(sqlite_url: str, driver: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        port = closed.getsockname()[1]
    engine = create_async_engine(f"postgresql+{driver}://shop@127.0.0.1:{port}/shop")
    with application(sqlite_url) as fl:
        async with AsyncSession(engine) as session:
            with pytest.raises(StorageUnavailable, match="did not answer"):
                await fl.aio.submit("note", organization="acme", connection=session)
    await engine.dispose()


def test_the_same_file_by_another_path_is_the_same_database(sqlite_url: str, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(str(make_url(sqlite_url).database))
    engine = create_engine(f"sqlite:///{link}")
    with application(sqlite_url) as fl:
        with engine.begin() as connection:
            job = fl.submit("note", organization="acme", connection=connection)
        assert fl.get(job.id, organization="acme").id == job.id
    engine.dispose()


def test_a_file_that_was_deleted_while_it_is_open_is_no_reason_for_a_drivers_error(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    with application(sqlite_url) as fl, engine.begin() as connection:
        connection.execute(text("SELECT count(*) FROM fairlane_jobs"))
        Path(str(make_url(sqlite_url).database)).unlink()
        with suppress(FairlaneError):
            fl.submit("note", organization="acme", connection=connection)
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
async def test_where_a_connection_leads_is_asked_once(postgres_url: str, driver: str) -> None:
    asked: list[str] = []

    def record(_c: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    with application(postgres_url) as fl:
        if driver == "asyncpg":
            asynchronous = create_async_engine(make_url(postgres_url).set(drivername="postgresql+asyncpg"))
            event.listen(asynchronous.sync_engine, "before_cursor_execute", record)
            async with asynchronous.begin() as connection:
                for _ in range(3):
                    await fl.aio.submit("note", organization="acme", connection=connection, dedup_window=0)
            await asynchronous.dispose()
        else:
            engine = create_engine(make_url(postgres_url).set(drivername=f"postgresql+{driver}"))
            event.listen(engine, "before_cursor_execute", record)
            with engine.begin() as ours:
                for _ in range(3):
                    fl.submit("note", organization="acme", connection=ours, dedup_window=0)
            engine.dispose()
    assert sum("pg_postmaster_start_time" in statement for statement in asked) == 1


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_temporary_tables_that_were_left_in_a_session_take_no_job(postgres_url: str, driver: str) -> None:
    """A pool gives a session from one tenant's request to the next; `DISCARD TEMP` is nobody's habit."""
    engine = create_engine(make_url(postgres_url).set(drivername=f"postgresql+{driver}"))
    with application(postgres_url) as fl:
        with engine.begin() as connection:
            for table in ("fairlane_jobs", "fairlane_execution_log", "fairlane_dedup_keys", "fairlane_organizations"):
                connection.execute(text(f"CREATE TEMPORARY TABLE {table} (LIKE {table} INCLUDING ALL)"))
            connection.execute(text("CREATE TEMPORARY TABLE pg_database (oid oid, datname text)"))
        with engine.begin() as connection:
            before = connection.scalar(text("SHOW search_path"))
            job = fl.submit("note", organization="acme", connection=connection)
            assert connection.scalar(text("SHOW search_path")) == before
        assert [entry.to_status for entry in fl.history(job.id, organization="acme")] == ["queued"]
    engine.dispose()


def test_a_session_that_looks_in_no_schema_is_told_that_the_tables_are_missing(postgres_url: str) -> None:
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    with application(postgres_url) as fl, engine.begin() as connection:
        connection.execute(text("SELECT set_config('search_path', '', true)"))
        with pytest.raises(ConfigurationError, match="its search_path to another schema"):
            fl.submit("note", organization="acme", connection=connection)
    engine.dispose()
