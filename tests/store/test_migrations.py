"""The migrations build `store.tables`, once, under every login, and touch nothing else."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from fairlane import Fairlane, JobContext
from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.store import schema, tables
from fairlane.store.engine import engine_of
from fairlane.store.schema import Condition
from fairlane.store.transaction import Database

pytestmark = pytest.mark.both_databases

HEAD = "0001"
PARTIES = 4
QUICK_ON_SQLITE = ("sqlite", pytest.param("postgresql", marks=pytest.mark.slow))
MIGRATE = """
import sys
from fairlane.store.schema import migrate
from fairlane.store.transaction import Database
print("ready", flush=True)
sys.stdin.readline()
print(*migrate(Database(sys.argv[1])))
"""


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    """A database with nothing in it."""
    database = Database(empty_url)
    database.create()
    yield database
    database.close()


@pytest.fixture
def migrated(database_url: str) -> Iterator[Database]:
    """A migrated database."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.mark.slow
def test_alembic_finds_no_difference_between_migrations_and_tables(migrated: Database) -> None:
    assert migrated.read(differences) == []


def test_files_are_named_after_the_revisions_in_their_order() -> None:
    config = Config()
    config.set_main_option("script_location", "fairlane.store:migrations")
    newest_first = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    assert schema._revisions() == newest_first[::-1]


@pytest.mark.slow
def test_database_finds_no_difference_between_migrations_and_tables(empty: Database) -> None:
    """Alembic compares no primary keys, predicates of partial indexes, fill factors or the order of columns."""
    empty.write(tables.metadata.create_all)
    wanted = empty.read(catalog)
    empty.write(tables.metadata.drop_all)

    schema.migrate(empty)

    assert empty.read(catalog) == wanted


def test_catalog_shows_what_alembic_does_not_look_at(migrated: Database) -> None:
    entries = " ".join(migrated.read(catalog))

    assert "PRIMARY KEY (organization_id, id)" in entries
    assert "WHERE ready" in entries
    if migrated.engine.dialect.name == "postgresql":
        assert "fillfactor=80" in entries


def differences(connection: Connection) -> list[Any]:
    """Return what Alembic would change to make the database fit the tables."""
    context = MigrationContext.configure(connection, opts=schema.comparison(connection))
    return list(compare_metadata(context, tables.metadata))


def catalog(connection: Connection) -> set[str]:
    """Everything that a database knows of our tables, as its own text."""
    if engine_of(connection).writers_are_serial:
        found = connection.execute(
            text("SELECT sql FROM sqlite_master WHERE name LIKE 'fairlane_%' AND tbl_name <> 'fairlane_schema_version'")
        )
        return {row.sql for row in found if row.sql}
    found = connection.execute(
        text("""
        WITH ours AS (
          SELECT oid, relname, reloptions FROM pg_class
          WHERE relkind = 'r' AND relname LIKE 'fairlane_%' AND relname <> 'fairlane_schema_version')
        SELECT concat_ws(' ', relname, 'options', reloptions) FROM ours
        UNION ALL
        SELECT concat_ws(' ', relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
                         pg_get_expr(adbin, adrelid))
        FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0
          LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        UNION ALL
        SELECT concat_ws(' ', relname, conname, pg_get_constraintdef(c.oid))
        FROM ours JOIN pg_constraint c ON conrelid = ours.oid
        UNION ALL
        SELECT pg_get_indexdef(indexrelid) FROM ours JOIN pg_index ON indrelid = ours.oid
        """)
    )
    return set(found.scalars())


@pytest.mark.slow
def test_migrating_again_changes_nothing(empty: Database) -> None:
    assert schema.migrate(empty) == (None, HEAD)
    assert schema.migrate(empty) == (HEAD, HEAD)
    schema.check(empty)


@pytest.mark.slow
def test_one_of_several_processes_migrates(empty_url: str) -> None:
    arguments = [sys.executable, "-c", MIGRATE, empty_url]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(arguments, **pipes) for _ in range(PARTIES)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert sorted(answers) == [f"{HEAD} {HEAD}"] * (PARTIES - 1) + [f"None {HEAD}"]
    assert [process.returncode for process in processes] == [0] * PARTIES


def test_a_new_file_is_opened_while_another_process_writes_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new.db"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("CREATE TABLE theirs (id)")
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("fairlane.store.sqlite.engine.time.sleep", lambda _: other.commit())

    database = Database(f"sqlite:///{file}")

    assert database.read(lambda connection: connection.exec_driver_sql("PRAGMA journal_mode").scalar()) == "wal"
    database.close()
    other.close()


def test_nothing_but_a_migration_makes_a_sqlite_file(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "jobs.db"
    with Fairlane(f"sqlite:///{file}") as fl:

        @fl.job_type("work")
        def work(ctx: JobContext) -> None:
            ctx.artifact("note.txt", "done")

        refused: list[Callable[[], object]] = [
            lambda: fl.organizations.create("acme"),
            lambda: fl.submit("work", organization="acme"),
            fl.metrics,
            fl.worker().drain,
        ]
        for verb in refused:
            with pytest.raises(ConfigurationError, match=rf"no database {file}; run `fairlane migrate` to create it"):
                verb()
        assert list(tmp_path.iterdir()) == []

        fl.migrate()
        assert [path.name for path in file.parent.iterdir() if path.is_dir()] == []
        fl.organizations.create("acme")
        job = fl.submit("work", organization="acme")
        fl.worker().drain()
        assert fl.artifact(job.id, "note.txt", organization="acme") == b"done"


def test_a_folder_that_refuses_the_sqlite_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        Fairlane(f"sqlite:///{tmp_path}/file/jobs.db") as fl,
        pytest.raises(ConfigurationError, match=r"file/jobs\.db can't be created \(.+\); give this user the right"),
    ):
        fl.migrate()


@pytest.mark.slow
@pytest.mark.parametrize("empty_url", QUICK_ON_SQLITE, indirect=True)
def test_one_of_several_threads_migrates(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(PARTIES)]
    with ThreadPoolExecutor(PARTIES) as pool:
        answers = list(pool.map(schema.migrate, databases))
    for database in databases:
        database.close()

    assert sorted(answers, key=str) == [(HEAD, HEAD)] * (PARTIES - 1) + [(None, HEAD)]


def test_the_session_that_keeps_migrations_out_is_named(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_LOCK_TIMEOUT", 0.0)
    with psycopg.connect(postgres_url) as other, Fairlane(postgres_url) as fl:
        login = other.info.user
        other.execute("SELECT pg_advisory_lock(%s)", [schema._LOCK_KEY])
        with pytest.raises(
            StorageUnavailable, match=rf"\(login {login}, process {other.info.backend_pid}\); try again"
        ):
            fl.migrate()


def test_missing_schema_is_told(empty: Database) -> None:
    assert schema.state(empty) == schema.SchemaState(None, HEAD, Condition.MISSING)
    with pytest.raises(ConfigurationError, match="no Fairlane schema yet; run `fairlane migrate`"):
        schema.check(empty)


def test_a_database_in_memory_is_named_as_it_was_written_and_can_be_migrated_in_code() -> None:
    with (
        Fairlane("sqlite:///:memory:") as fl,
        pytest.raises(ConfigurationError, match=r"or call fl\.migrate\(\)\. It is sqlite:///:memory:\.$"),
    ):
        fl.organizations.create("acme")


def test_newer_schema_is_told_and_left_alone(migrated: Database) -> None:
    set_revision(migrated, "9999")

    assert schema.state(migrated).condition is Condition.NEWER
    for refuses in (schema.check, schema.migrate):
        with pytest.raises(ConfigurationError, match=f"revision 9999, newer than this code's {HEAD}; upgrade fairlane"):
            refuses(migrated)
    assert schema.state(migrated).current == "9999"


def test_older_schema_is_told(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is only one revision yet, so others are pretended.
    monkeypatch.setattr(schema, "_revisions", lambda: [HEAD, "0002", "0003"])

    assert schema.state(migrated) == schema.SchemaState(HEAD, "0003", Condition.BEHIND)
    with pytest.raises(
        ConfigurationError, match=f"at revision {HEAD}, behind this code's 0003; run `fairlane migrate`"
    ):
        schema.check(migrated)


def test_a_schema_one_revision_older_is_worked_with(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_revisions", lambda: [HEAD, "0002"])

    assert schema.state(migrated) == schema.SchemaState(HEAD, "0002", Condition.PREVIOUS)
    schema.check(migrated)


def test_a_schema_one_revision_newer_is_worked_with_and_left_alone(migrated: Database) -> None:
    set_revision(migrated, "0002")

    assert schema.state(migrated) == schema.SchemaState("0002", HEAD, Condition.NEXT)
    schema.check(migrated)
    assert schema.migrate(migrated) == ("0002", "0002")


@pytest.mark.slow
def test_tables_of_a_host_are_left_alone(empty: Database) -> None:
    def host_tables(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('host')"))
        connection.execute(text("CREATE TABLE invoices (id INTEGER)"))

    empty.write(host_tables)
    schema.migrate(empty)

    assert empty.read(lambda connection: connection.scalars(text("SELECT * FROM alembic_version")).all()) == ["host"]
    assert "invoices" in empty.read(lambda connection: inspect(connection).get_table_names())
    assert empty.read(differences) == []


def test_failed_migration_leaves_nothing(empty: Database) -> None:
    # The last table of the revision is in the way.
    last = list(tables.metadata.tables)[-1]
    empty.write(lambda connection: connection.execute(text(f"CREATE TABLE {last} (id INTEGER)")))

    with pytest.raises((ProgrammingError, StorageUnavailable)):
        schema.migrate(empty)

    assert empty.read(lambda connection: inspect(connection).get_table_names()) == [last]


@pytest.mark.parametrize("empty_url", ["postgres"], indirect=True)
def test_a_row_that_a_migration_can_t_insert_ends_it_at_once(empty: Database) -> None:
    # The first statement of the migration fails; a second try would pass.
    empty.write(
        lambda connection: connection.exec_driver_sql("""
            CREATE SEQUENCE tries;
            CREATE FUNCTION refuse_once() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
              IF nextval('tries') = 1 THEN RAISE unique_violation USING MESSAGE = 'two rows have one key'; END IF;
            END $$;
            CREATE EVENT TRIGGER refuse_once ON ddl_command_start EXECUTE FUNCTION refuse_once();
        """)
    )

    with pytest.raises(IntegrityError, match="two rows have one key"):
        schema.migrate(empty)

    assert empty.read(lambda connection: inspect(connection).get_table_names()) == []


def set_revision(database: Database, revision: str) -> None:
    statement = text("UPDATE fairlane_schema_version SET version_num = :revision")
    database.write(lambda connection: connection.execute(statement, {"revision": revision}))


def test_a_file_that_is_not_there_is_told_without_what_the_pool_did_and_as_the_default_where_nobody_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAIRLANE_URL", raising=False)
    with Fairlane() as fl, pytest.raises(ConfigurationError) as refused:
        fl.organizations.list()
    assert str(refused.value).startswith(
        f"There is no database {tmp_path / 'fairlane.db'}; it is the default, as neither"
    )
    assert not [one for one in refused.traceback if "sqlalchemy" in str(one.path)]
    assert refused.value.__suppress_context__
