"""`connection_of`: the application says once on which connection its transaction is open."""

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from fairlane import ConfigurationError, Fairlane, JobContext, JobNotFound, JobType, Submission

current: ContextVar[Any] = ContextVar("current", default=None)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Leave no connection behind for the next test."""
    yield
    current.set(None)


@pytest.fixture
def fl(database_url: str) -> Iterator[Fairlane]:
    with Fairlane(database_url, connection_of=current.get) as made:
        made.organizations.create("acme")
        yield made


@pytest.fixture
def report(fl: Fairlane) -> JobType[..., None]:
    @fl.job_type("report")
    def report(ctx: JobContext, n: int = 0) -> None: ...

    fl.migrate()
    return report


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as session:
        current.set(session)
        yield session
    engine.dispose()


@pytest.mark.parametrize("how", ["submit", "submit_many", "typed"])
def test_a_submission_is_part_of_the_transaction_that_it_names(
    fl: Fairlane, report: JobType[..., None], session: Session, how: str
):
    def submit() -> Any:
        if how == "typed":
            return report.submit(organization="acme")(n=1)
        if how == "submit_many":
            return fl.submit_many([Submission("report", organization="acme")])[0]
        return fl.submit("report", organization="acme")

    undone = submit()
    session.rollback()
    with pytest.raises(JobNotFound):
        fl.get(undone.id, organization="acme")
    done = submit()
    session.commit()
    assert fl.get(done.id, organization="acme").id == done.id


def test_where_it_names_none_the_job_is_there_at_once(fl: Fairlane, report: JobType[..., None]):
    job = fl.submit("report", organization="acme")
    assert fl.get(job.id, organization="acme") == job


def test_a_connection_that_is_passed_wins(fl: Fairlane, report: JobType[..., None], database_url: str):
    current.set("none of your business")
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        job = fl.submit("report", organization="acme", connection=connection)
    engine.dispose()
    assert fl.get(job.id, organization="acme").id == job.id


def test_what_it_returns_is_refused_as_a_connection_is(fl: Fairlane, report: JobType[..., None]):
    with pytest.raises(ConfigurationError) as passed:
        fl.submit("report", organization="acme", connection="no connection")
    current.set("no connection")
    with pytest.raises(ConfigurationError) as named:
        fl.submit("report", organization="acme")
    assert str(named.value) == str(passed.value)


def test_what_is_no_function_is_refused():
    wrong: Any = "current"
    with pytest.raises(ConfigurationError, match="connection_of must be a function"):
        Fairlane("sqlite://", connection_of=wrong)


@pytest.mark.parametrize("many", [False, True])
async def test_an_async_twin_asks_in_the_task_that_submits(fl: Fairlane, report: JobType[..., None], many: bool):
    asked = 0

    def ask() -> Any:
        nonlocal asked
        asked += 1
        return current.get()

    url = str(fl.settings.url)
    driver = "sqlite+aiosqlite://" if url.startswith("sqlite") else "postgresql+psycopg://"
    engine = create_async_engine(driver + url.split("://", 1)[1])
    with Fairlane(url, connection_of=ask) as other:

        async def submit() -> Any:
            if many:
                return (await other.aio.submit_many([Submission("report", organization="acme")]))[0]
            return await other.aio.submit("report", organization="acme")

        async with AsyncSession(engine) as session:
            current.set(session)
            job = await submit()
            await session.rollback()
            current.set(None)
        with pytest.raises(JobNotFound):
            await fl.aio.get(job.id, organization="acme")
        kept = await submit()
        assert (await fl.aio.get(kept.id, organization="acme")).id == kept.id
    assert asked == 2
    await engine.dispose()
