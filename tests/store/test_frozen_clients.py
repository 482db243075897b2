"""A client that is frozen, or has vanished, holds no lock for ever, and in the middle of a claim none for long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text

from fairlane import Job, JobContext, JobStatus
from fairlane.domain.events import WorkerStarted
from fairlane.store.postgres import engine as postgres
from fairlane.store.transaction import Database
from tests.engine.worker_kit import Engine, another, engine, running, until
from tests.engine.worker_outages import held_table, own_server
from tests.store.races.race import waiting_for_locks
from tests.storm.proxy import Proxy

_LOCK = text("SELECT pg_advisory_xact_lock(1)")
_TRY = text("SELECT pg_try_advisory_xact_lock(1)")
LEASE: Final = 1.5  # seconds
SLOW: Final = 3.0  # seconds
_LARGE = b"SELECT repeat('x', 1000000) FROM generate_series(1, 100)"  # more than the sockets between them take


@pytest.mark.slow
def test_not_even_one_that_takes_no_more_of_an_answer(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL waits for it within a statement: neither a pause nor the statement's time is over."""
    monkeypatch.setattr(postgres, "_UNHEARD", 1)
    with own_server(run_directory / f"own-{uuid4().hex}") as server:
        url = server.listen()
        frozen, other = Database(url), Database(url)
        with frozen.engine.connect() as connection:
            connection.execute(_LOCK)
            driver: Any = connection.connection.driver_connection
            driver.pgconn.send_query(_LARGE)  # and nobody reads
            assert not other.read(lambda one: one.scalar(_TRY))
            until(lambda: other.read(lambda one: one.scalar(_TRY)))
            connection.invalidate()
        frozen.close()
        other.close()


class Still:
    """A worker stands still in the middle of the claim of a job, until it goes on. `begun`: whose handlers began."""

    def __init__(self, url: str, proxy: Proxy) -> None:
        self._url, self._proxy = url, proxy
        self.begun: list[str] = []

    @contextmanager
    def standing(self, **settings: Any) -> Iterator[tuple[Engine, Job]]:
        there = make_url(self._url).set(host="127.0.0.1", port=self._proxy.port, query={})
        worker_url = there.render_as_string(hide_password=False)
        with engine(self._url, worker_url=worker_url, **settings) as fl:
            self.register(fl, "the one that stood still")
            fl.queues.pause("default")
            job = fl.give("work")
            with running(fl.worker()):
                fl.events.wait(WorkerStarted)
                with held_table(self._url, "fairlane_execution_log"):
                    fl.queues.resume("default")
                    until(lambda: waiting_for_locks(self._url))
                    self._proxy.hold()
                yield fl, job

    def register(self, fl: Engine, worker: str) -> None:
        @fl.job_type("work")
        async def work(ctx: JobContext) -> None:
            self.begun.append(worker)


@pytest.mark.slow
def test_nor_a_worker_that_stands_still_for_a_lease_in_the_middle_of_a_claim(postgres_url: str, proxy: Proxy) -> None:
    """Another has its job by the time that it goes on, and then it does not start it."""
    still = Still(postgres_url, proxy)
    with still.standing(lease=LEASE) as (fl, job), another(fl, lease=LEASE) as elsewhere:
        still.register(elsewhere, "the other")
        with running(elsewhere.worker()):
            assert elsewhere.ended(job).status == JobStatus.COMPLETED
        proxy.go_on()
    assert still.begun == ["the other"]


@pytest.mark.slow
def test_but_the_claim_of_a_process_that_is_slow_goes_on(postgres_url: str, proxy: Proxy) -> None:
    """On a busy machine seconds may pass in the middle of a claim."""
    still = Still(postgres_url, proxy)
    with still.standing() as (fl, job):
        began = time.monotonic()
        until(lambda: time.monotonic() - began > SLOW)
        proxy.go_on()
        assert fl.ended(job).status == JobStatus.COMPLETED
        assert fl.way(job) == [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED]
    assert len(still.begun) == 1
