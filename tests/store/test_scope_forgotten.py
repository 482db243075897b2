"""A query for tenants' rows that does not name the tenant is refused on each database, instead of seeing nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, select, text

from fairlane import Fairlane, Settings
from fairlane.store.row_security import EVERYONE, DatabaseRole, ScopeForgotten, is_of_tenants
from fairlane.store.tables import job_types, jobs, metadata
from fairlane.store.transaction import Database
from tests.store.as_owner import in_role

pytestmark = pytest.mark.both_databases

Work = Callable[[Connection], object]
TABLES = {table.name: table for table in metadata.sorted_tables}
OF_TENANTS = [name for name, table in TABLES.items() if is_of_tenants(table)]
MINE = select(jobs.c.id).where(jobs.c.organization_id == "acme")


@pytest.fixture
def fl(database_url: str) -> Iterator[Fairlane]:
    with Fairlane(Settings(url=database_url, artifacts_url="memory:///")) as fl:
        fl.organizations.create("acme")
        yield fl


def verbs(database: Database) -> list[Callable[..., object]]:
    return [database.write, database.read, database.look]


@pytest.mark.parametrize(
    "statement", [MINE, text("SELECT id FROM fairlane_jobs WHERE organization_id = 'acme'")], ids=["core", "text"]
)
def test_it_is_refused_whichever_way_it_is_run(fl: Fairlane, statement: Any):
    for verb in verbs(fl.database):
        with in_role(), pytest.raises(ScopeForgotten, match=r"fairlane_jobs .* pass of=organization"):
            verb(lambda connection: connection.execute(statement))


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_TENANTS)
def test_no_table_of_tenants_is_forgotten(fl: Fairlane, name: str):
    table: Table = TABLES[name]
    for work in (select(table), table.delete(), insert(table).from_select(list(table.c), select(table))):
        with in_role(), pytest.raises(ScopeForgotten, match=f"on {name} in"):
            fl.database.write(lambda connection, work=work: connection.execute(work))  # type: ignore[misc]


def test_what_is_nobody_s_needs_no_scope(fl: Fairlane):
    asked: list[Work] = [fl.database.clock.now, lambda connection: connection.execute(select(job_types)).all()]
    with in_role():
        for verb in verbs(fl.database):
            for work in asked:
                verb(work)


@pytest.mark.parametrize("of", ["acme", ["acme"], (), EVERYONE], ids=["one", "some", "nobody", "everyone"])
def test_a_query_that_says_whose_rows_it_wants_may_run(fl: Fairlane, of: Any):
    with in_role():
        for verb in verbs(fl.database):
            verb(lambda connection: connection.execute(MINE).all(), of=of)


def test_a_refusal_leaves_nothing_behind(fl: Fairlane):
    """Neither what the transaction had written before, nor the refusal itself on its pooled connection."""

    def work(connection: Connection) -> None:
        job_type = {"name": "odd", "schema": "{}", "options": "{}"}
        connection.execute(insert(job_types), job_type | {"registered_at": fl.database.clock.now(connection)})
        connection.execute(MINE)

    for _ in range(20):
        with in_role(), pytest.raises(ScopeForgotten):
            fl.database.write(work)
    assert [one.name for one in fl.job_types.list()] == []
    assert fl.list(organization="acme").total == 0


def test_workers_need_no_scope(fl: Fairlane):
    database = fl.database.sibling(pool_size=1, role=DatabaseRole.WORKER)
    with in_role():
        assert database.read(lambda connection: connection.execute(MINE).all()) == []
    database.close()
