"""A client that is frozen, or has vanished, holds no lock for ever, and in the middle of a claim none for long."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, event, select, text

from fairlane import JobStatus, StorageUnavailable
from fairlane.store import dialects
from fairlane.store.tables import jobs
from fairlane.store.transaction import Database
from tests.runtime.worker_kit import engine, until
from tests.runtime.worker_outages import own_server
from tests.runtime.worker_store import member, nothing

_LOCK = text("SELECT pg_advisory_xact_lock(1)")
_TRY = text("SELECT pg_try_advisory_xact_lock(1)")
SLOW: Final = timedelta(seconds=3)
_LARGE = b"SELECT repeat('x', 1000000) FROM generate_series(1, 100)"  # more than the sockets between them take


@pytest.mark.slow
def test_not_even_one_that_takes_no_more_of_an_answer(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL waits for it within a statement: neither a pause nor the statement's time is over."""
    monkeypatch.setattr(dialects, "_UNHEARD", 1)
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


def test_nor_a_worker_that_stands_still_for_a_lease_in_the_middle_of_a_claim(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has rows locked that others have claimed meanwhile, and their ends wait for it."""

    def stand_still(*_: object) -> None:
        until(lambda: fl.database.read(lambda one: one.scalar(free)))

    with engine(postgres_url) as fl:
        nothing(fl)
        job = fl.give("work")
        mine = select(jobs.c.id).where(jobs.c.organization_id == "acme", jobs.c.id == job.id)
        free = mine.with_for_update(skip_locked=True)
        worker = member(fl)
        worker.claims.lease = 1.0
        with monkeypatch.context() as patch:
            patch.setattr("fairlane.runtime.claims.note_starts", stand_still)
            with pytest.raises(StorageUnavailable):
                worker.claim()
        assert fl.look(job).status == JobStatus.QUEUED


def test_but_the_claim_of_a_process_that_is_slow_goes_on(postgres_url: str) -> None:
    """On a busy machine seconds may pass between two statements of a claim."""
    since = text("SELECT clock_timestamp() - state_change FROM pg_stat_activity WHERE pid = :pid")
    pauses: list[timedelta | None] = []  # None: the server has ended the session

    def pause(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if pauses or "UPDATE fairlane_jobs" not in statement:
            return
        driver: Any = connection.connection.driver_connection
        pid = {"pid": driver.info.backend_pid}

        def is_over() -> bool:
            seen: timedelta | None = observer.scalar(since, pid)
            if seen is None or seen > SLOW:
                pauses.append(seen)
            return bool(pauses)

        with other.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as observer:
            until(is_over)

    other = Database(postgres_url)
    with engine(postgres_url) as fl, closing(other):
        nothing(fl)
        job = fl.give("work")
        event.listen(Engine, "before_cursor_execute", pause)
        try:
            fl.drain()
        finally:
            event.remove(Engine, "before_cursor_execute", pause)
        assert pauses[0] is not None
        assert fl.way(job) == [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED]
