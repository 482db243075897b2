"""Behind PgBouncer in transaction mode the session may change with each transaction: Fairlane leaves nothing in it."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import cast

import psycopg
import pytest
from sqlalchemy import Connection, event, text

from fairlane import (
    DuplicateJob,
    Fairlane,
    InstallationError,
    JobContext,
    JobStatus,
    Settings,
    StorageUnavailable,
    Submission,
)
from fairlane.store.hints import Listener
from fairlane.store.row_security import EVERYONE, Administered, DatabaseRole, Scope
from tests.store.as_owner import in_role
from tests.store.logins import bound_logins
from tests.store.pgbouncer import IS_HERE, pgbouncer

pytestmark = [
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
    pytest.mark.skipif(not IS_HERE, reason="no pgbouncer here (Debian: apt install pgbouncer)"),
]
SESSION = (
    "SELECT current_user, coalesce(current_setting('fairlane.organizations', true), ''), "
    "current_setting('lock_timeout'), "
    "(SELECT count(*) FROM pg_prepared_statements) + (SELECT count(*) FROM pg_listening_channels())"
)


@pytest.fixture
def through(database_url: str) -> Iterator[str]:
    with pgbouncer(database_url) as url:
        yield url


@pytest.fixture
def fl(database_url: str, through: str) -> Iterator[Fairlane]:
    with Fairlane(Settings(url=through, worker_url=database_url, owner_url=database_url)) as fl:

        @fl.job_type("work")
        async def work(ctx: JobContext, n: int = 0) -> int:
            return n

        fl.migrate()
        for one in ("acme", "rival"):
            fl.organizations.create(one)
        yield fl


def test_nothing_of_ours_is_left_for_the_next_client(fl: Fairlane, through: str) -> None:
    submissions = [Submission("work", organization="acme", parameters={"n": n}) for n in range(600)]
    with psycopg.connect(through, autocommit=True, prepare_threshold=None) as other:
        login = other.info.user
        for verb in (
            lambda: fl.submit("work", organization="acme", parameters={"n": -1}),
            lambda: fl.submit_many(submissions),
            lambda: asyncio.run(aio(fl)),
            lambda: asyncio.run(listened(fl)),
            lambda: fl.list(organization="acme"),
            fl.metrics,
            lambda: fl.cancel(submissions[0].id, organization="acme"),
            lambda: fl.submit("work", organization="acme", delay=60, parameters={"n": -2}),
        ):
            verb()
            assert other.execute(SESSION).fetchone() == (login, "", "0", 0)
        with pytest.raises(DuplicateJob):
            fl.submit("work", organization="acme", parameters={"n": -1})
        assert other.execute(SESSION).fetchone() == (login, "", "0", 0)


def test_a_lock_that_is_not_given_costs_no_connection(fl: Fairlane, database_url: str, through: str) -> None:
    def submissions(*numbers: int) -> list[Submission]:
        return [Submission("work", organization="acme", parameters={"n": n}) for n in numbers]

    with Fairlane(Settings(url=through, owner_url=database_url, lock_timeout=0.2)) as late:
        late.job_type("work")(lambda ctx, n=0: None)
        late.submit("work", organization="acme")
        closed: list[object] = []  # a hint may make one, beside the submission
        event.listen(late.database.engine, "close", lambda *_: closed.append(_))
        with psycopg.connect(database_url) as theirs:
            fl.submit_many(submissions(7), connection=theirs)
            for numbers in ([7], [7, 8]):
                with pytest.raises(StorageUnavailable, match="lock"):
                    late.submit_many(submissions(*numbers))
            theirs.rollback()
        assert [len(late.submit_many(submissions(*numbers))) for numbers in ([7], [8, 9])] == [1, 2]
        assert closed == []


async def aio(fl: Fairlane) -> None:
    ends = await asyncio.gather(
        *(fl.aio.submit("work", organization="acme", parameters={"n": n}) for n in range(1000, 1010))
    )
    assert len({job.id for job in ends}) == 10


async def listened(fl: Fairlane) -> None:
    """Listen like `fairlane serve` for live events."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    listener = Listener(fl.database, lambda _: loop.call_soon_threadsafe(told.set), loop)
    listener.start()
    await told.wait()
    listener.stop()


@pytest.mark.parametrize(
    ("scope", "role", "seen"),
    [
        ("acme", DatabaseRole.TENANT, {"acme"}),
        (Administered("rival"), DatabaseRole.ADMIN, {"rival"}),
        (["acme", "rival"], DatabaseRole.APP, {"acme", "rival"}),
        ((), DatabaseRole.APP, set()),
        (EVERYONE, DatabaseRole.OPERATOR, {"acme", "rival"}),
    ],
)
def test_each_transaction_sees_its_own(fl: Fairlane, scope: Scope, role: DatabaseRole, seen: set[str]) -> None:
    for one in ("acme", "rival"):
        fl.submit("work", organization=one)

    def look(connection: Connection) -> None:
        whose = text("SELECT current_user, current_setting('lock_timeout') <> '0', organization_id FROM fairlane_jobs")
        assert {tuple(row) for row in connection.execute(whose)} == {(role, True, one) for one in seen}

    with in_role():
        for verb in (fl.database.look, fl.database.read, fl.database.write):
            verb(look, of=scope)


@pytest.mark.slow
def test_who_reads_at_the_same_time_reads_its_own(database_url: str) -> None:
    with (
        pgbouncer(database_url, size=2) as url,
        Fairlane(Settings(url=url, owner_url=database_url)) as first,
        Fairlane(url) as second,
    ):
        first.job_type("work")(lambda ctx, n=0: None)
        first.migrate()
        for one in ("acme", "rival"):
            first.organizations.create(one)
            first.submit("work", organization=one)

        def reads(fl: Fairlane, organization: str) -> set[str]:
            pages = [fl.list(organization=organization) for _ in range(50)]
            return {job.organization for page in pages for job in page.items}

        with ThreadPoolExecutor(4) as threads:
            asked = [(fl, one) for fl in (first, second) for one in ("acme", "rival")]
            ends = [threads.submit(reads, *one) for one in asked]
            assert [end.result() for end in ends] == [{one} for _, one in asked]


async def test_a_worker_has_a_url_of_its_own(fl: Fairlane) -> None:
    job = await fl.aio.submit("work", organization="acme", parameters={"n": 7})
    await fl.worker().drain_async()
    assert fl.get(job.id, organization="acme").status is JobStatus.COMPLETED
    assert fl.result(job.id, organization="acme").value == 7


def test_a_worker_without_one_is_told_what_to_do(fl: Fairlane, through: str) -> None:
    with Fairlane(through) as pooled:
        pooled.job_type("work")(lambda ctx, n=0: None)
        with pytest.raises(InstallationError, match="FAIRLANE_WORKER_URL"):
            asyncio.run(pooled.worker().run_async())


def test_a_migration_without_one_is_told_what_to_do(fl: Fairlane, through: str) -> None:
    with Fairlane(through) as pooled, pytest.raises(InstallationError, match="FAIRLANE_OWNER_URL"):
        pooled.migrate()


def test_a_login_without_rights_of_its_own_submits_in_each_way(fl: Fairlane, database_url: str) -> None:
    del fl  # which has migrated
    with (
        bound_logins(database_url) as logins,
        pgbouncer(logins["jobs"], size=2) as url,
        Fairlane(Settings(url=url, production=True)) as bound,
    ):
        bound.job_type("letter")(lambda ctx, n=0: None)
        bound.submit("letter", organization="acme")
        bound.submit_many([Submission("letter", organization="acme", parameters={"n": n}) for n in (1, 2)])
        bound.submit("letter", organization="acme", delay=60, parameters={"n": 3})
        asyncio.run(bound.aio.submit("letter", organization="acme", parameters={"n": 4}))  # type: ignore[arg-type]
        with bound.database.engine.connect() as theirs:
            bound.submit("letter", organization="acme", parameters={"n": 5}, connection=theirs)
            theirs.commit()
        assert bound.list(organization="acme").total == 6


def test_who_has_had_an_answer_keeps_no_session_of_the_server(fl: Fairlane, tmp_path: Path) -> None:
    """A message that a client sends after the end of a transaction makes PgBouncer keep a session until the next."""
    with ExitStack() as files:
        traces: dict[object, Path] = {}

        def trace(driver: psycopg.Connection, *_: object) -> None:
            if driver not in traces:
                traces[driver] = tmp_path / str(len(traces))
                driver.pgconn.trace(files.enter_context(traces[driver].open("w")).fileno())

        event.listen(fl.database.engine, "checkout", trace)
        job = fl.submit("work", organization="acme")
        fl.get(job.id, organization="acme")
        fl.close()
        for driver in traces:
            cast("psycopg.Connection", driver).pgconn.untrace()
    sent = [
        [line.split("\t")[3] for line in one.read_text().splitlines() if "\tF\t" in line] for one in traces.values()
    ]
    behind = [after for one in sent for kind, after in pairwise(one) if kind == "Flush"]
    assert behind
    assert {*behind} == {"Query"}, "of the transaction that the pipeline is a part of"
