"""R21: a database that is away, locked, full or of another version: told in a sentence, and nothing is lost."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url, text

from fairlane import ConfigurationError, Fairlane, JobContext, StorageUnavailable
from fairlane.domain.events import JobStarted, ServiceFailed, StorageBack, StorageLost, WorkerStarted, WorkerStopped
from fairlane.engine.worker import Worker
from tests.engine.worker_kit import Engine, Gate, engine, running, started
from tests.engine.worker_outages import OwnServer, Quota, locked, own_server
from tests.engine.worker_store import nothing

pytestmark = pytest.mark.slow


@pytest.fixture
def server(run_directory: Path) -> Iterator[OwnServer]:
    with own_server(run_directory / f"own-{uuid4().hex}") as server:
        yield server


def gated(fl: Engine) -> Gate:
    """The job types "gated", whose handler says a line before the gate and one behind it, and "quiet"."""
    gate = Gate()

    @fl.job_type("gated", dedup_window=0)
    def handler(ctx: JobContext) -> str:
        ctx.log("before")
        gate.wait()
        ctx.log("after")
        return "held"

    @fl.job_type("quiet", dedup_window=0)
    def quiet(ctx: JobContext) -> str:
        gate.wait()
        return "quietly"

    return gate


def test_a_worker_goes_on_when_postgresql_is_back(server: OwnServer) -> None:
    # Its own lease runs out meanwhile: nobody else has one, so nobody takes its jobs.
    with engine(server.url, lease=3.0) as fl:
        gate = gated(fl)
        jobs = [fl.give("gated"), fl.give("quiet")]
        with running(fl.worker()):
            for job in jobs:
                started(fl, job)
            server.stop()
            for service, times in (("claim", 1), ("watch", 1), ("heartbeat", 5)):
                fl.events.wait(StorageLost, service=service, times=times)
            gate.open()  # the handlers end while nobody can write it down
            fl.events.wait(StorageLost, service="finisher", times=2)
            with pytest.raises(StorageUnavailable, match="did not answer"):
                fl.give("quiet")
            server.start()
            for job in jobs:
                assert fl.ended(job).status == "completed"
            for service in ("claim", "heartbeat", "watch", "finisher"):
                fl.events.wait(StorageBack, service=service)
            assert fl.ended(fl.give("quiet")).status == "completed"
        assert [fl.value(job) for job in jobs] == ["held", "quietly"]
        assert [fl.look(job).attempt for job in jobs] == [1, 1]
        assert [line.message for line in fl.log_lines(jobs[0].id, organization="acme")] == ["before", "after"]
        assert fl.events.of(ServiceFailed) == []


def test_a_server_without_a_free_connection_is_told_as_such(server: OwnServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as host:
        host.execute("ALTER SYSTEM SET max_connections = 5")
        host.execute("ALTER SYSTEM SET superuser_reserved_connections = 2")
        host.execute("CREATE ROLE shop LOGIN")
        host.execute("CREATE ROLE small LOGIN CONNECTION LIMIT 0")
    server.stop()
    server.start()

    def refused(url: str) -> bool:
        with Fairlane(url) as fl, pytest.raises(StorageUnavailable) as told:
            fl.organizations.list()
        return "too many connections open" in str(told.value) and "its server runs" not in str(told.value)

    shop, small = (make_url(server.url).set(username=role).render_as_string() for role in ("shop", "small"))
    with ExitStack() as held:
        assert refused(small)
        for _ in range(3):
            held.enter_context(psycopg.connect(shop))
        assert refused(shop)  # "remaining connection slots are reserved"
        for _ in range(2):
            held.enter_context(psycopg.connect(server.url))
        assert refused(server.url)  # "sorry, too many clients already"


def test_nobody_says_that_the_database_is_back_before_it_is_and_one_line_a_minute_says_that_it_is_away(
    server: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that runs nothing looks for its jobs only every so many rounds: the rounds between say nothing."""
    caplog.set_level(logging.INFO, logger="fairlane")
    with engine(server.url, lease=1.0, watch_interval=0.01) as fl:
        nothing(fl)
        with running(fl.worker()):
            fl.events.wait(WorkerStarted)
            server.stop()
            fl.events.wait(StorageLost, service="watch", times=3)
            assert fl.events.of(StorageBack) == []
            server.start()
            lost = {event.service for event in fl.events.of(StorageLost)}
            for service in lost:
                fl.events.wait(StorageBack, service=service)
        events = [type(vars(record).get("event")) for record in caplog.records]
        assert [event for event in events if event in (StorageLost, StorageBack)] == [StorageLost, StorageBack]
        assert len(lost) > 2


def test_a_worker_waits_for_a_database_that_is_not_there_yet(server: OwnServer) -> None:
    with engine(server.url) as fl:
        nothing(fl)
        job = fl.give("work")
        server.stop()
        with running(fl.worker()):
            fl.events.wait(StorageLost, service="worker", times=2)
            server.start()
            assert fl.ended(job).status == "completed"
            assert fl.events.of(StorageBack, service="worker")


def test_a_worker_that_waits_for_its_database_can_be_stopped(server: OwnServer) -> None:
    with engine(server.url) as fl:
        nothing(fl)
        server.stop()
        with running(fl.worker()) as worker:
            fl.events.wait(StorageLost, service="worker")
            worker.stop()
        assert fl.events.of(WorkerStarted) == []


def test_a_worker_that_is_stopped_in_an_outage_does_not_wait_for_its_end(server: OwnServer) -> None:
    with engine(server.url, grace=0.1, stop_grace=0.1) as fl:
        gate = gated(fl)
        job = fl.give("gated")
        with running(fl.worker()) as worker:
            started(fl, job)
            server.stop()
            gate.open()
            fl.events.wait(StorageLost, service="claim")
            worker.stop()
            fl.events.wait(WorkerStopped)
        server.start()
        # It is running still for all that anybody knows: rescue will find it.
        assert fl.look(job).status == "running"


def test_a_worker_outlasts_a_lock_on_its_sqlite_file(sqlite_url: str) -> None:
    with engine(sqlite_url, lock_timeout=0.1) as fl:
        gate = gated(fl)
        job = fl.give("gated")
        with running(fl.worker()):
            started(fl, job)
            with locked(sqlite_url):
                with pytest.raises(StorageUnavailable, match="locked for too long"):
                    fl.give("gated")
                gate.open()
                fl.events.wait(StorageLost, service="heartbeat", times=2)
            assert fl.ended(job).status == "completed"
            fl.events.wait(StorageBack, service="heartbeat")
            assert fl.ended(fl.give("gated")).status == "completed"
        assert fl.look(job).attempt == 1
        assert fl.events.of(ServiceFailed) == []


def test_results_wait_for_room_when_the_database_is_full(sqlite_url: str) -> None:
    with engine(sqlite_url) as fl:
        gate = Gate()

        @fl.job_type("large", dedup_window=0)
        def large(ctx: JobContext, data: str = "") -> str:
            gate.wait()
            return "x" * 500_000

        quota = Quota(fl)
        job = fl.give("large")
        with running(fl.worker()):
            started(fl, job)
            quota.no_more()
            with pytest.raises(StorageUnavailable, match="The database is full"):
                fl.give("large", parameters={"data": "x" * 200_000})
            gate.open()
            lost = fl.events.wait(StorageLost, service="finisher")
            quota.lift()
            assert fl.ended(job).status == "completed"
            fl.events.wait(StorageBack, service="finisher")
        quota.forget()
        assert lost.reason == "The database is full; nothing was changed. Free some space, then try again."
        assert len(fl.value(job)) == 500_000
        assert fl.list(organization="acme").total == 1


WAYS: dict[str, Callable[[Worker], object]] = {
    "run": lambda worker: worker.run(),
    "drain": lambda worker: worker.drain(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE fairlane_schema_version SET version_num = 'from the future'", "newer than this code's"),
        ("DELETE FROM fairlane_schema_version", "no Fairlane schema yet; run `fairlane migrate`"),
    ],
    ids=["newer", "missing"],
)
def test_a_worker_refuses_a_schema_that_is_not_its_own(
    database_url: str, way: str, statement: str, sentence: str
) -> None:
    with engine(database_url) as fl:
        nothing(fl)
        job = fl.give("work")
        with fl.database.engine.begin() as connection:
            connection.execute(text(statement))
        with pytest.raises(ConfigurationError, match=sentence):
            WAYS[way](fl.worker())
        assert fl.events.of(JobStarted, job_id=job.id) == []


def test_a_worker_without_job_types_says_so(database_url: str) -> None:
    with engine(database_url) as fl, pytest.raises(ConfigurationError, match="import the modules with your handlers"):
        fl.worker().run()


def test_a_worker_without_slots_says_so(database_url: str) -> None:
    with engine(database_url) as fl, pytest.raises(ConfigurationError, match="at least one slot"):
        fl.worker(concurrency=0)
