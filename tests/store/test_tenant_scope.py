"""The guard that watches all tests: what it catches, what it lets pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, and_, create_engine, delete, func, literal, or_, select, text, true, tuple_, update
from sqlalchemy.dialects import postgresql

from fairlane.store.tables import cancel_requests, execution_log, job_parents, jobs, organizations, progress, workers
from tests.store import scope_guard
from tests.store.scope_guard import REASONS, check

mine = jobs.c.organization_id == "acme"
child = jobs.alias("child")
same_job = (cancel_requests.c.organization_id == jobs.c.organization_id) & (cancel_requests.c.job_id == jobs.c.id)
by_id_only = cancel_requests.c.job_id == jobs.c.id
dead = select(jobs.c.organization_id, jobs.c.id).where(mine).subquery()
everyones = select(jobs.c.organization_id, jobs.c.id).subquery()
picked = select(jobs.c.organization_id, jobs.c.id).where(mine).limit(5).cte("picked")
requested = select(cancel_requests.c.job_id)

SCOPED = {
    "select": select(jobs).where(mine, jobs.c.id == 1),
    "several organizations": select(jobs).where(jobs.c.organization_id.in_(["acme", "other"])),
    "by key": update(jobs).where(tuple_(jobs.c.organization_id, jobs.c.id).in_([("acme", 1)])).values(ready=True),
    "every branch of OR": select(jobs).where(or_(and_(mine, jobs.c.ready), jobs.c.organization_id == "other")),
    "join": select(jobs).join(cancel_requests, same_job).where(mine),
    "join bound by the joined": select(jobs)
    .join(cancel_requests, same_job)
    .where(cancel_requests.c.organization_id == "acme"),
    "outer join": select(jobs).outerjoin(cancel_requests, same_job).where(mine),
    "alias": select(child).where(child.c.organization_id == "acme"),
    "over a table of organizations": select(jobs)
    .join(organizations, jobs.c.organization_id == organizations.c.id)
    .where(organizations.c.id == "acme"),
    "correlated": select(jobs).where(mine, requested.where(same_job).exists()),
    "scalar subquery": select(
        jobs.c.id,
        select(func.count())
        .select_from(progress)
        .where(progress.c.organization_id == jobs.c.organization_id)
        .scalar_subquery(),
    ).where(mine),
    "subquery": select(func.count()).select_from(dead),
    "joined with a subquery": select(jobs).join(
        dead, (dead.c.organization_id == jobs.c.organization_id) & (dead.c.id == jobs.c.id)
    ),
    "common table expression": update(jobs).where(mine, jobs.c.id.in_(select(picked.c.id))).values(ready=True),
    "union": select(jobs.c.id)
    .where(mine)
    .union_all(select(progress.c.job_id).where(progress.c.organization_id == "a")),
    "update": update(jobs).where(mine).values(ready=True),
    "delete": delete(jobs).where(mine),
    "insert": progress.insert().values(organization_id="acme", job_id=1),
    "insert from select": progress.insert().from_select(
        ["organization_id", "job_id"], select(jobs.c.organization_id, jobs.c.id).where(mine)
    ),
    "upsert": postgresql.insert(progress).values(organization_id="acme").on_conflict_do_nothing(),
    "text": text("SELECT id FROM fairlane_jobs WHERE organization_id = :organization"),
    "text of two tables": text(
        "SELECT 1 FROM fairlane_jobs j JOIN fairlane_progress p ON p.organization_id = j.organization_id "
        "WHERE j.organization_id = :organization"
    ),
    "text that inserts": text("INSERT INTO fairlane_progress (organization_id, job_id) VALUES (:organization, :id)"),
    "a driver's SQL": "DELETE FROM fairlane_jobs WHERE organization_id = ?",
    "no tenant data": select(workers),
    "nothing": select(literal(1)),
    "across, with a reason": select(jobs).execution_options(fairlane_across="claim"),
    "text across, with a reason": text("SELECT 1 FROM fairlane_jobs").execution_options(fairlane_across="stage"),
}

UNSCOPED = {
    "select": select(jobs).where(jobs.c.id == 1),
    "select without WHERE": select(jobs.c.id),
    "aggregate": select(func.count()).select_from(jobs),
    "one branch of OR": select(jobs).where(or_(mine, jobs.c.ready)),
    "negated": select(jobs).where(~mine),
    "compared with itself": select(jobs).where(jobs.c.organization_id == jobs.c.organization_id),
    "compared otherwise": select(jobs).where(jobs.c.organization_id > "acme"),
    "join by id alone": select(jobs).join(cancel_requests, by_id_only).where(mine),
    "outer join by id alone": select(jobs).outerjoin(cancel_requests, by_id_only).where(mine),
    "outer join binds its nullable side only": select(jobs).outerjoin(cancel_requests, same_job & mine),
    "joined tables, both unbound": select(jobs).join(cancel_requests, same_job),
    "alias beside the bound table": select(jobs, child).where(mine, child.c.id == jobs.c.id),
    "over all organizations": select(jobs).join(organizations, jobs.c.organization_id == organizations.c.id),
    "correlated by id alone": select(jobs).where(mine, requested.where(by_id_only).exists()),
    "subquery in a list": select(jobs).where(mine, jobs.c.id.in_(requested)),
    "organization from a subquery": select(jobs).where(jobs.c.organization_id.in_(select(progress.c.organization_id))),
    "subquery": select(func.count()).select_from(everyones),
    "not correlated": select(jobs).where(
        mine, select(jobs.c.id, requested.subquery()).where(jobs.c.ready).correlate(None).exists()
    ),
    "union, one half": select(jobs.c.id).where(mine).union_all(select(progress.c.job_id)),
    "update": update(jobs).where(jobs.c.id == 1).values(ready=True),
    "update from another table": update(jobs).where(mine, by_id_only).values(ready=true()),
    "delete": delete(execution_log).where(execution_log.c.job_id == 1),
    "insert": execution_log.insert().values(job_id=1),
    "insert from select": progress.insert().from_select(["job_id"], select(jobs.c.id).where(mine)),
    "insert from an unbound select": progress.insert().from_select(
        ["organization_id", "job_id"], select(jobs.c.organization_id, jobs.c.id)
    ),
    "common table expression": select(select(job_parents.c.job_id).cte("everyone")),
    "text": text("SELECT id FROM fairlane_jobs WHERE id = :id"),
    "text of two tables, one bound": text(
        "SELECT 1 FROM fairlane_jobs j, fairlane_progress p WHERE j.organization_id = :organization AND p.job_id = j.id"
    ),
    "text that updates": text("UPDATE fairlane_jobs SET ready = true"),
    "a driver's SQL": "DELETE FROM fairlane_jobs",
    "across, for no known reason": select(jobs).execution_options(fairlane_across="because"),
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
    with pytest.raises(AssertionError, match=r"fairlane_cancel_requests\. Compare organization_id.*fairlane_across"):
        check(UNSCOPED["join by id alone"])


def test_every_reason_is_explained() -> None:
    assert all(REASONS.values())


class TestWatching:
    """The listener: our code's statements only, and an error that was swallowed still fails the test."""

    def test_our_own_statement_is_watched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scope_guard, "_OURS", __file__)
        with connected() as connection:
            with pytest.raises(AssertionError, match="fairlane_jobs"):
                look(connection)
            assert len(scope_guard.violations) == 1

        scope_guard.violations.clear()

    def test_a_test_may_look_at_everything(self) -> None:
        with connected() as connection:
            jobs.create(connection)

            assert look(connection) == 0


@contextmanager
def connected() -> Iterator[Connection]:
    """To a database of its own, in memory."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def look(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(jobs)).scalar_one()
