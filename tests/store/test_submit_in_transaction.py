"""Submitting on a connection of the caller's, one test for every kind of caller (R1).

That the connection itself is left as it was is proved in `test_borrow.py`; here it is the job's turn.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import make_url

from fairlane import (
    ConfigurationError,
    DuplicateJob,
    Job,
    JobNotFound,
    JobStatus,
    ParentNotFound,
    QueueFull,
    Submission,
)
from tests.store.hosts import (
    AsyncHost,
    Host,
    async_host,
    committed,
    django_host,
    psycopg2_host,
    psycopg_host,
    session_host,
    sqlalchemy_host,
    sqlite_host,
)
from tests.store.races.agreement import steps
from tests.store.races.scene import Scene

# Some of these submit beside the host's transaction on purpose, to have something there that the host's meets.
pytestmark = pytest.mark.filterwarnings("ignore::fairlane.TransactionNotUsed")

Builder = Callable[[str], AbstractContextManager[Host]]
PYSQLITE, PSYCOPG, ASYNCPG, AIOSQLITE = (
    "sqlite+pysqlite",
    "postgresql+psycopg",
    "postgresql+asyncpg",
    "sqlite+aiosqlite",
)
HOSTS: dict[str, Builder] = {
    "sqlite: sqlite3": sqlite_host,
    "sqlite: Connection": partial(sqlalchemy_host, driver=PYSQLITE),
    "sqlite: Session": partial(session_host, driver=PYSQLITE),
    "sqlite: AsyncConnection": partial(async_host, driver=AIOSQLITE),
    "sqlite: AsyncSession": partial(async_host, driver=AIOSQLITE, session=True),
    "sqlite: Django": partial(django_host, atomic=True),
    "postgres: psycopg": psycopg_host,
    "postgres: psycopg2": psycopg2_host,
    "postgres: Connection": partial(sqlalchemy_host, driver=PSYCOPG),
    "postgres: Session": partial(session_host, driver=PSYCOPG),
    "postgres: AsyncConnection asyncpg": partial(async_host, driver=ASYNCPG),
    "postgres: AsyncSession asyncpg": partial(async_host, driver=ASYNCPG, session=True),
    "postgres: AsyncConnection psycopg": partial(async_host, driver=PSYCOPG),
    "postgres: AsyncSession psycopg": partial(async_host, driver=PSYCOPG, session=True),
    "postgres: Django": partial(django_host, atomic=True),
}


# `make test` takes one of each family.
QUICK = {
    "sqlite: sqlite3",
    "sqlite: Session",
    "postgres: psycopg",
    "postgres: AsyncSession asyncpg",
    "postgres: Django",
}


@pytest.fixture(params=[pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in HOSTS])
def kind(request: pytest.FixtureRequest) -> str:
    """Return a kind of caller."""
    name: str = request.param
    return name


@pytest.fixture
def scene(request: pytest.FixtureRequest, kind: str) -> Iterator[Scene]:
    """Yield a scene on the database that this kind of caller has."""
    with Scene(request.getfixturevalue(kind.partition(":")[0])) as scene:
        scene.add_type("letter")
        yield scene


@pytest.fixture
def host(scene: Scene, kind: str) -> Iterator[Host]:
    """A caller with a row of its own written and not committed."""
    with HOSTS[kind](scene.fl.settings.url) as host:
        host.insert(1)
        yield host


def submit(scene: Scene, host: Host, job_type: str = "report", **more: Any) -> Job:
    (job,) = submit_many(scene, host, [Submission(job_type, organization="acme", user="ana", **more)])
    return job


def submit_many(scene: Scene, host: Host, batch: list[Submission]) -> list[Job]:
    if isinstance(host, AsyncHost):
        return host._runner.run(_submit_many(scene, host, batch))
    return scene.fl.submit_many(batch, connection=host.lent)


async def _submit_many(scene: Scene, host: Host, batch: list[Submission]) -> list[Job]:
    return await scene.fl.aio.submit_many(batch, connection=host.lent)


def test_it_is_invisible_until_the_caller_commits(scene: Scene, host: Host):
    job = submit(scene, host)
    with pytest.raises(JobNotFound, match="one submitted by connection= or connection_of is found after its commit"):
        scene.fl.wait(job.id, organization="acme")
    host.commit()
    assert scene.get(job) == job
    assert committed(scene.fl.settings.url) == {1}
    (claimed,) = scene.worker().claim()
    assert claimed.id == job.id


def test_it_is_gone_when_the_caller_rolls_back(scene: Scene, host: Host):
    submit(scene, host, "letter", labels={"a": "b"})
    host.rollback()
    assert scene.total() == 0
    assert committed(scene.fl.settings.url) == set()
    scene.submit("letter")  # its key went with it


def test_a_refusal_takes_nothing_of_the_caller_s_along(scene: Scene, host: Host):
    before = scene.submit("letter") if scene.fl.settings.url.startswith("postgres") else submit(scene, host, "letter")
    kept = submit(scene, host)
    with pytest.raises(DuplicateJob) as refused:
        submit_many(
            scene,
            host,
            [
                Submission("report", organization="acme", user="ana"),
                Submission("letter", organization="acme", user="ana"),
            ],
        )
    assert (refused.value.index, refused.value.existing_id) == (1, before.id)
    with pytest.raises(ParentNotFound):
        submit(scene, host, depends_on=["no-id"])
    with pytest.raises(DuplicateJob) as again:
        submit_many(scene, host, [Submission("report", organization="acme", user="ana", id=kept.id)])
    assert (again.value.existing_id, again.value.existing_status) == (kept.id, JobStatus.QUEUED)
    host.insert(2)
    host.commit()
    assert committed(scene.fl.settings.url) == {1, 2}
    assert {job.id for job in scene.fl.list(organization="acme").items} == {before.id, kept.id}


def test_a_graph_grows_within_one_transaction(scene: Scene, host: Host):
    parent = submit(scene, host)
    child = submit(scene, host, depends_on=[parent])
    submit_many(
        scene, host, [Submission("report", organization="acme", user="ana", depends_on=[child.id]) for _ in range(2)]
    )
    host.commit()
    scene.stage()
    scene.end(*scene.worker().claim())
    assert steps(scene.fl, child) == [JobStatus.PENDING, JobStatus.QUEUED]
    assert scene.total() == 4


def test_a_duplicate_within_one_transaction_is_found(scene: Scene, host: Host):
    job = submit(scene, host, "letter")
    with pytest.raises(DuplicateJob) as refused:
        submit(scene, host, "letter")
    assert refused.value.existing_id == job.id
    assert submit(scene, host, "letter", on_duplicate="return") == job
    new = submit(scene, host, "letter", on_duplicate="replace")
    host.commit()
    assert [scene.get(one).status for one in (job, new)] == [JobStatus.CANCELED, JobStatus.QUEUED]


def test_a_child_of_a_parent_that_has_ended_badly_is_a_dead_letter_at_once(scene: Scene, host: Host):
    first = submit(scene, host, "letter")
    submit(scene, host, "letter", on_duplicate="replace")
    child = submit(scene, host, depends_on=[first])
    host.commit()
    assert [scene.get(one).status for one in (first, child)] == [JobStatus.CANCELED, JobStatus.DEAD_LETTER]


def test_limits_count_what_the_transaction_has_submitted(scene: Scene, host: Host):
    host.rollback()  # SQLite has one writer, and the limit is set by another
    scene.fl.organizations.update("acme", max_live_jobs=2)
    submit(scene, host)
    submit(scene, host)
    with pytest.raises(QueueFull):
        submit(scene, host)
    host.commit()
    assert scene.total() == 2


@pytest.mark.parametrize("kind", [kind for kind in HOSTS if "Async" in kind])
def test_an_async_connection_needs_the_async_verb(scene: Scene, host: Host):
    with pytest.raises(ConfigurationError, match=r"await fl\.aio\.submit"):
        scene.submit(connection=host.lent)


def test_the_async_verb_without_a_connection_leaves_the_loop_free(database_url: str):
    async def submit_beside_others(scene: Scene) -> list[Job]:
        return await asyncio.gather(*(scene.fl.aio.submit("report", organization="acme") for _ in range(10)))

    with Scene(database_url) as scene:
        jobs = asyncio.run(submit_beside_others(scene))
        assert {job.id for job in scene.fl.list(organization="acme").items} == {job.id for job in jobs}


def test_fairlane_takes_the_url_that_an_async_engine_takes(database_url: str):
    driver = AIOSQLITE if database_url.startswith("sqlite") else ASYNCPG
    url = make_url(database_url).set(drivername=driver).render_as_string(hide_password=False)
    with Scene(url) as scene, async_host(url, driver, session=True) as host:
        job = submit(scene, host)
        host.commit()
        assert scene.get(job).status is JobStatus.QUEUED
