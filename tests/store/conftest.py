"""Databases of hosts: Fairlane's tables beside a table of the host, `parcels`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import once
from tests.postgres import OneDatabase, create_database, database_on
from tests.store.hosts import create_table


@pytest.fixture
def sqlite(sqlite_url: str) -> str:
    """The URL of a host's SQLite database."""
    create_table(sqlite_url)
    return sqlite_url


@pytest.fixture
def postgres(one_host_database: OneDatabase) -> Iterator[str]:
    """The URL of a host's PostgreSQL database."""
    with one_host_database.lent() as url:
        yield url


@pytest.fixture(scope="session")
def one_host_database(run_directory: Path, postgres_server: str, postgres_template: str) -> Iterator[OneDatabase]:
    """Yield the host's database that tests borrow: a table that a test makes would cost the next test a new one."""

    def make() -> str:
        name = f"{run_directory.name}_host"
        create_database(postgres_server, name, template=postgres_template)
        create_table(database_on(postgres_server, name))
        return name

    database = OneDatabase(postgres_server, once(run_directory, "postgres-host", make))
    yield database
    database.drop()
