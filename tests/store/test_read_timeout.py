"""A look that takes the database too long is stopped, and leaves nothing behind."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from fairlane import Fairlane, Settings, StatementTooSlow
from fairlane.store.transaction import Database, reading_within

pytestmark = pytest.mark.both_databases

FOR_EVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
LOOKS: list[Callable[[Database, str], object]] = [
    lambda database, statement: database.read(lambda c: c.execute(text(statement)).all(), of=()),
    lambda database, statement: database.look(lambda c: c.execute(text(statement)).all(), of=()),
]


@pytest.mark.parametrize("look", LOOKS, ids=["read", "look"])
def test_what_takes_too_long_is_stopped_and_the_connection_is_as_before(
    database_url: str, look: Callable[[Database, str], object]
):
    with Fairlane(Settings(url=database_url, pool_size=1)) as fl:
        slow = "SELECT pg_sleep(60)" if fl.database.kind.is_server else FOR_EVER
        with reading_within(0.02), pytest.raises(StatementTooSlow, match="Ask for less"):
            look(fl.database, slow)
        with reading_within(60):
            look(fl.database, "SELECT 1")
        # It holds for the look alone: not for what is written on the same connection, nor outside of requests.
        if fl.database.kind.is_server:
            for work in (fl.database.write, fl.database.read):
                assert work(lambda c: c.exec_driver_sql("SHOW statement_timeout").scalar_one(), of=()) == "0"
        else:
            longer = FOR_EVER.replace("FROM n)", "FROM n WHERE i < 300000)")
            assert fl.database.write(lambda c: c.exec_driver_sql(longer).scalar_one(), of=()) == 300_000
