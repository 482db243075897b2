"""Every test finds its PostgreSQL database like a new one, whatever the test before has done there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from fairlane import Fairlane
from tests.postgres import OneDatabase, database_on


@pytest.fixture
def one(postgres_server: str, postgres_template: str) -> Iterator[OneDatabase]:
    one = OneDatabase(postgres_server, postgres_template)
    yield one
    one.drop()


def fill(url: str) -> int:
    """Register a job type and submit a job; return the number of the log's last entry."""
    with Fairlane(url) as fl:

        @fl.job_type("greet")
        def greet(ctx: object) -> None: ...

        fl.organizations.create("acme")
        fl.submit("greet", organization="acme")
    with psycopg.connect(url) as connection:
        number: int = connection.execute("SELECT max(id) FROM fairlane_execution_log").fetchall()[0][0]
    return number


def test_the_next_test_finds_no_rows_and_the_same_numbers(one: OneDatabase):
    with one.lent() as url:
        first = fill(url)
    with one.lent() as again:
        assert again == url
        assert fill(again) == first


def test_what_a_migration_writes_is_put_back(one: OneDatabase):
    version = "SELECT version_num FROM fairlane_schema_version"
    with one.lent() as url, psycopg.connect(url, autocommit=True) as connection:
        before = connection.execute(version).fetchall()
        connection.execute("DELETE FROM fairlane_schema_version")
    with one.lent() as again, psycopg.connect(again) as connection:
        assert again == url
        assert connection.execute(version).fetchall() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE shop (id int)",
        "ALTER TABLE fairlane_jobs DISABLE ROW LEVEL SECURITY",
        "GRANT SELECT ON fairlane_jobs TO PUBLIC",
        "ANALYZE fairlane_schema_version",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = on', current_database()); END $$",
        "INSERT INTO fairlane_pauses SELECT 'queue', n, now(), '' FROM generate_series(1, 5000) AS n",
    ],
)
def test_after_more_than_a_few_rows_the_next_test_has_a_new_database(one: OneDatabase, change: str):
    with one.lent() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(change)
    with one.lent() as another:
        assert another != url


def test_sessions_that_are_still_connected_are_cut_off(one: OneDatabase):
    with one.lent() as url:
        connection = psycopg.connect(url)
        connection.execute("LOCK TABLE fairlane_jobs")
    with one.lent() as another:
        assert another != url
        fill(another)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()


def test_nothing_stays_on_the_server(one: OneDatabase, postgres_server: str):
    with one.lent() as url:
        pass
    one.drop()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    psycopg.connect(database_on(postgres_server, "postgres")).close()


@pytest.mark.slow
def test_the_next_run_ends_the_server_of_a_run_that_was_killed(tmp_path: Path):
    test = tmp_path / "test_it.py"
    test.write_text("def test_it(postgres_url): print('at', postgres_url, flush=True); input()")
    run = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-s", str(test)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    environment.pop("FAIRLANE_TEST_POSTGRES_URL", None)
    with subprocess.Popen(
        run, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        url = next(line for line in killed.stdout if "at postgresql" in line).split()[-1]
        killed.kill()
    psycopg.connect(url).close()
    subprocess.run([*run, "--collect-only"], cwd=tmp_path, env=environment, check=True)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
