"""The guard that watches all tests: what it catches, what it lets pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, and_, create_engine, delete, func, literal, or_, select, text, true, tuple_, update
from sqlalchemy.dialects import postgresql

from fairlane.store.tables import checkpoints, execution_log, job_parents, live, organizations, progress, workers
from tests.store import scope_guard
from tests.store.scope_guard import REASONS, check

mine = live.c.organization_id == "acme"
child = live.alias("child")
same_job = (checkpoints.c.organization_id == live.c.organization_id) & (checkpoints.c.job_id == live.c.id)
by_id_only = checkpoints.c.job_id == live.c.id
dead = select(live.c.organization_id, live.c.id).where(mine).subquery()
everyones = select(live.c.organization_id, live.c.id).subquery()
picked = select(live.c.organization_id, live.c.id).where(mine).limit(5).cte("picked")
requested = select(checkpoints.c.job_id)

SCOPED = {
    "select": select(live).where(mine, live.c.id == 1),
    "several organizations": select(live).where(live.c.organization_id.in_(["acme", "other"])),
    "by key": update(live).where(tuple_(live.c.organization_id, live.c.id).in_([("acme", 1)])).values(ready=True),
    "every branch of OR": select(live).where(or_(and_(mine, live.c.ready), live.c.organization_id == "other")),
    "join": select(live).join(checkpoints, same_job).where(mine),
    "join bound by the joined": select(live).join(checkpoints, same_job).where(checkpoints.c.organization_id == "acme"),
    "outer join": select(live).outerjoin(checkpoints, same_job).where(mine),
    "alias": select(child).where(child.c.organization_id == "acme"),
    "over a table of organizations": select(live)
    .join(organizations, live.c.organization_id == organizations.c.id)
    .where(organizations.c.id == "acme"),
    "correlated": select(live).where(mine, requested.where(same_job).exists()),
    "scalar subquery": select(
        live.c.id,
        select(func.count())
        .select_from(progress)
        .where(progress.c.organization_id == live.c.organization_id)
        .scalar_subquery(),
    ).where(mine),
    "subquery": select(func.count()).select_from(dead),
    "joined with a subquery": select(live).join(
        dead, (dead.c.organization_id == live.c.organization_id) & (dead.c.id == live.c.id)
    ),
    "common table expression": update(live).where(mine, live.c.id.in_(select(picked.c.id))).values(ready=True),
    "union": select(live.c.id)
    .where(mine)
    .union_all(select(progress.c.job_id).where(progress.c.organization_id == "a")),
    "update": update(live).where(mine).values(ready=True),
    "delete": delete(live).where(mine),
    "insert": progress.insert().values(organization_id="acme", job_id=1),
    "insert from select": progress.insert().from_select(
        ["organization_id", "job_id"], select(live.c.organization_id, live.c.id).where(mine)
    ),
    "upsert": postgresql.insert(progress).values(organization_id="acme").on_conflict_do_nothing(),
    "text": text("SELECT id FROM fairlane_live WHERE organization_id = :organization"),
    "text of two tables": text(
        "SELECT 1 FROM fairlane_live j JOIN fairlane_progress p ON p.organization_id = j.organization_id "
        "WHERE j.organization_id = :organization"
    ),
    "text that inserts": text("INSERT INTO fairlane_progress (organization_id, job_id) VALUES (:organization, :id)"),
    "a driver's SQL": "DELETE FROM fairlane_live WHERE organization_id = ?",
    "no tenant data": select(workers),
    "nothing": select(literal(1)),
    "across, with a reason": select(live).execution_options(fairlane_across="claim"),
    "text across, with a reason": text("SELECT 1 FROM fairlane_live").execution_options(fairlane_across="stage"),
}

UNSCOPED = {
    "select": select(live).where(live.c.id == 1),
    "select without WHERE": select(live.c.id),
    "aggregate": select(func.count()).select_from(live),
    "one branch of OR": select(live).where(or_(mine, live.c.ready)),
    "negated": select(live).where(~mine),
    "compared with itself": select(live).where(live.c.organization_id == live.c.organization_id),
    "compared otherwise": select(live).where(live.c.organization_id > "acme"),
    "join by id alone": select(live).join(checkpoints, by_id_only).where(mine),
    "outer join by id alone": select(live).outerjoin(checkpoints, by_id_only).where(mine),
    "outer join binds its nullable side only": select(live).outerjoin(checkpoints, same_job & mine),
    "joined tables, both unbound": select(live).join(checkpoints, same_job),
    "alias beside the bound table": select(live, child).where(mine, child.c.id == live.c.id),
    "over all organizations": select(live).join(organizations, live.c.organization_id == organizations.c.id),
    "correlated by id alone": select(live).where(mine, requested.where(by_id_only).exists()),
    "subquery in a list": select(live).where(mine, live.c.id.in_(requested)),
    "organization from a subquery": select(live).where(live.c.organization_id.in_(select(progress.c.organization_id))),
    "subquery": select(func.count()).select_from(everyones),
    "not correlated": select(live).where(
        mine, select(live.c.id, requested.subquery()).where(live.c.ready).correlate(None).exists()
    ),
    "union, one half": select(live.c.id).where(mine).union_all(select(progress.c.job_id)),
    "update": update(live).where(live.c.id == 1).values(ready=True),
    "update from another table": update(live).where(mine, by_id_only).values(ready=true()),
    "delete": delete(execution_log).where(execution_log.c.job_id == 1),
    "insert": execution_log.insert().values(job_id=1),
    "insert from select": progress.insert().from_select(["job_id"], select(live.c.id).where(mine)),
    "insert from an unbound select": progress.insert().from_select(
        ["organization_id", "job_id"], select(live.c.organization_id, live.c.id)
    ),
    "common table expression": select(select(job_parents.c.job_id).cte("everyone")),
    "text": text("SELECT id FROM fairlane_live WHERE id = :id"),
    "text of two tables, one bound": text(
        "SELECT 1 FROM fairlane_live j, fairlane_progress p WHERE j.organization_id = :organization AND p.job_id = j.id"
    ),
    "text that updates": text("UPDATE fairlane_live SET ready = true"),
    "a driver's SQL": "DELETE FROM fairlane_live",
    "across, for no known reason": select(live).execution_options(fairlane_across="because"),
}


@pytest.mark.parametrize("statement", SCOPED.values(), ids=SCOPED)
def test_statement_with_its_organization_passes(statement: Any) -> None:
    check(statement)


@pytest.mark.parametrize("statement", UNSCOPED.values(), ids=UNSCOPED)
def test_statement_without_its_organization_is_caught(statement: Any) -> None:
    with pytest.raises(AssertionError):
        check(statement)


def test_rows_of_an_insert_may_come_with_its_execution() -> None:
    check(progress.insert(), [{"organization_id": "acme", "job_id": 1}, {"organization_id": "acme", "job_id": 2}])
    with pytest.raises(AssertionError, match="fairlane_progress"):
        check(progress.insert(), [{"organization_id": "acme", "job_id": 1}, {"job_id": 2}])


def test_error_names_the_table_and_the_way_out() -> None:
    with pytest.raises(AssertionError, match=r"fairlane_checkpoints\. Compare organization_id.*fairlane_across"):
        check(UNSCOPED["join by id alone"])


def test_every_reason_is_explained() -> None:
    assert all(REASONS.values())


class TestWatching:
    """The listener: our code's statements only, and an error that was swallowed still fails the test."""

    def test_our_own_statement_is_watched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scope_guard, "_OURS", __file__)
        with connected() as connection:
            with pytest.raises(AssertionError, match="fairlane_live"):
                look(connection)
            assert len(scope_guard.violations) == 1

        scope_guard.violations.clear()

    def test_a_test_may_look_at_everything(self) -> None:
        with connected() as connection:
            live.create(connection)

            assert look(connection) == 0

    def test_what_a_test_has_looked_at_is_not_in_order_for_our_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with connected() as connection:
            live.create(connection)
            look(connection)
            monkeypatch.setattr(scope_guard, "_OURS", __file__)
            with pytest.raises(AssertionError, match="fairlane_live"):
                look(connection)

        scope_guard.violations.clear()


@contextmanager
def connected() -> Iterator[Connection]:
    """Yield a connection to a database of its own, in memory."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def look(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(live)).scalar_one()
