"""A job that is submitted beside an open transaction of the application: Python warns at the line that submits."""

import asyncio
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from fairlane import Fairlane, JobContext, TransactionNotUsed
from tests.store.hosts import django_host


@pytest.fixture
def fl(database_url: str) -> Iterator[Fairlane]:
    # With Django a transaction that has written would hold SQLite's only writer; those here have read.
    with Fairlane(database_url) as made:
        made.organizations.create("acme")

        @made.job_type("report", dedup_window=0)
        def report(ctx: JobContext) -> None: ...

        made.migrate()
        yield made


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as session:
        yield session
    engine.dispose()


def submit(fl: Fairlane, **more: Any) -> None:
    fl.submit("report", organization="acme", **more)


def test_a_session_that_was_passed_before_and_is_in_a_transaction(fl: Fairlane, session: Session):
    submit(fl, connection=session)
    session.commit()
    submit(fl)  # nothing is open
    session.execute(text("SELECT 1"))
    with pytest.warns(TransactionNotUsed, match=r"A SQLAlchemy Session .* Pass it as connection=") as told:
        fl.submit("report", organization="acme")
    assert told[0].filename == __file__


def test_in_the_hook_that_tells_of_the_commit_nothing_is_open_any_more(fl: Fairlane, session: Session):
    event.listen(session, "after_commit", lambda _: submit(fl))
    submit(fl, connection=session)
    session.commit()
    assert len(fl.list(organization="acme").items) == 2


def test_a_call_site_is_told_once(fl: Fairlane, session: Session):
    submit(fl, connection=session)
    session.commit()
    session.execute(text("SELECT 1"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            fl.submit("report", organization="acme")
        fl.submit("report", organization="acme")
    assert [one.category for one in told] == [TransactionNotUsed] * 2


def test_a_session_of_another_thread_or_that_was_never_passed_is_none_of_it(fl: Fairlane, session: Session):
    session.execute(text("SELECT 1"))
    submit(fl)
    session.commit()

    def elsewhere() -> None:
        submit(fl, connection=session)
        session.commit()
        session.execute(text("SELECT 1"))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    submit(fl)


async def test_an_async_session_in_its_task_and_in_no_other(fl: Fairlane, database_url: str):
    is_sqlite = database_url.startswith("sqlite")
    driver = "sqlite+aiosqlite://" if is_sqlite else "postgresql+psycopg://"
    engine = create_async_engine(driver + database_url.split("://", 1)[1])
    async with AsyncSession(engine) as session:
        await fl.aio.submit("report", organization="acme", connection=session)
        await session.commit()
        await session.execute(text("SELECT 1"))
        with pytest.warns(TransactionNotUsed) as told:
            await fl.aio.submit("report", organization="acme")
        assert told[0].filename == __file__
        await asyncio.gather(fl.aio.submit("report", organization="acme"))
    await engine.dispose()


def test_a_django_connection_in_an_atomic_block(fl: Fairlane, database_url: str):
    from django.db import transaction

    with django_host(database_url, atomic=False):
        submit(fl)
        with transaction.atomic(), pytest.warns(TransactionNotUsed, match="The Django connection 'default'") as told:
            fl.submit("report", organization="acme")
        assert told[0].filename == __file__


def test_a_django_connection_to_another_database_is_none_of_it(fl: Fairlane, sqlite_url: str, database_url: str):
    from django.db import transaction

    elsewhere = sqlite_url if database_url != sqlite_url else "sqlite:///:memory:"
    with django_host(elsewhere, atomic=False), transaction.atomic():
        submit(fl)
