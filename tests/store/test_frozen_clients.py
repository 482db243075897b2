"""A client that is frozen, or has vanished, holds no lock for ever, and in the middle of a claim none for long."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from fairlane import JobStatus, StorageUnavailable
from fairlane.store import dialects
from fairlane.store.tables import jobs
from fairlane.store.transaction import Database
from tests.runtime.worker_kit import engine, until
from tests.runtime.worker_outages import own_server
from tests.runtime.worker_store import member, nothing

_LOCK = text("SELECT pg_advisory_xact_lock(1)")
_TRY = text("SELECT pg_try_advisory_xact_lock(1)")
_LARGE = b"SELECT repeat('x', 1000000) FROM generate_series(1, 100)"  # more than the sockets between them take


def test_not_even_one_that_takes_no_more_of_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL waits for it within a statement: neither a pause nor the statement's time is over."""
    monkeypatch.setattr(dialects, "_UNHEARD", 1)
    with own_server(tmp_path) as server:
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


def test_nor_a_worker_that_stands_still_in_the_middle_of_a_claim(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has rows locked that others have claimed meanwhile, and their ends wait for it: too long, in a storm."""
    pauses: list[object] = []

    def stand_still(connection: Connection, *_: object) -> None:
        pauses.append(connection.scalar(text("SHOW idle_in_transaction_session_timeout")))
        until(lambda: fl.database.read(lambda one: one.scalar(free)))

    with engine(postgres_url) as fl:
        nothing(fl)
        job = fl.give("work")
        mine = select(jobs.c.id).where(jobs.c.organization_id == "acme", jobs.c.id == job.id)
        free = mine.with_for_update(skip_locked=True)
        worker = member(fl)
        with monkeypatch.context() as patch:
            patch.setattr("fairlane.runtime.claims.note_starts", stand_still)
            with pytest.raises(StorageUnavailable):
                worker.claim()
        assert pauses == ["2s"]
        assert fl.look(job).status == JobStatus.QUEUED
