"""R19: what a running attempt writes goes by the keys that its organization has then, not by those of its claim."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select

from fairlane import JobContext, JobStatus, Snooze
from fairlane.domain.timing import KEYS_KEPT
from fairlane.encryption import keys, resealing
from fairlane.store.statements import keys as statements
from fairlane.store.tables import results
from fairlane.testing import ManualClock
from tests.encryption import settled_keys
from tests.engine.sealed_engine import FIRST, SECOND, dump, left_by_a_handler
from tests.engine.worker_kit import Engine, Gate, another, engine, running, until
from tests.patience import PATIENCE

CANARY = "canary-4711"
KEPT = 0.0  # seconds for which keys are kept here: as if all the time had passed for which others keep them


def register(fl: Engine, gate: Gate) -> None:
    @fl.job_type("work", max_retries=0)
    def work(ctx: JobContext, fails: bool = False) -> Any:
        gate.wait()
        ctx.progress(50, f"{CANARY}-progress")
        ctx.log(f"{CANARY}-line")
        ctx.checkpoint(f"{CANARY}-checkpoint")
        ctx.artifact("file.txt", f"{CANARY}-file")
        if fails:
            raise ValueError(f"{CANARY}-error")
        return {"value": f"{CANARY}-result"}


def enable(fl: Engine) -> int:
    return fl.keys.enable(organization="acme").version


def rotate(fl: Engine) -> int:
    return fl.keys.rotate(organization="acme").version


def destroy_and_enable(fl: Engine) -> int:
    fl.keys.destroy(organization="acme")
    return fl.keys.enable(organization="acme").version


@pytest.mark.slow
@pytest.mark.parametrize("change", [enable, rotate, destroy_and_enable])
def test_what_an_attempt_writes_after_a_change_of_keys_is_sealed_under_the_new_one(
    database_url: str, change: Callable[[Engine], int]
) -> None:
    gate = Gate()
    with engine(database_url, encryption_keys=FIRST) as fl, another(fl, encryption_keys=FIRST) as elsewhere:
        fl.keyring._max_age = KEPT
        if change is not enable:
            fl.keys.enable(organization="acme")
        register(fl, gate)
        good, bad = fl.give("work"), fl.give("work", parameters={"fails": True})
        with running(fl.worker()):
            until(lambda: all(fl.look(one).status is JobStatus.RUNNING for one in (good, bad)))
            gate.reached()
            version = change(elsewhere)
            gate.open()
            assert fl.ended(good).status is JobStatus.COMPLETED
            assert fl.ended(bad).status is JobStatus.DEAD_LETTER
        stored = dump(fl)
        assert CANARY not in stored
        assert f"fl2:{version}" in stored
        with fl.database.engine.connect() as connection:
            assert str(connection.scalar(select(results.c.value))).startswith(f"fl1:{version}:")
        assert elsewhere.value(good) == {"value": f"{CANARY}-result"}
        assert fl.artifact(good.id, "file.txt", organization="acme") == f"{CANARY}-file".encode()
        assert elsewhere.look(good).progress_message == f"{CANARY}-progress"
        assert elsewhere.look(bad).error_message == f"{CANARY}-error"
        assert [one.message for one in elsewhere.log_lines(bad.id, organization="acme")] == [f"{CANARY}-line"]


def test_what_an_attempt_writes_after_its_keys_were_destroyed_is_erased(database_url: str) -> None:
    gate = Gate()
    with engine(database_url, encryption_keys=FIRST) as fl:
        fl.keyring._max_age = KEPT
        fl.keys.enable(organization="acme")

        @fl.job_type("work")
        def work(ctx: JobContext) -> Any:
            gate.wait()
            ctx.log(f"{CANARY}-line")
            ctx.checkpoint(f"{CANARY}-checkpoint")
            return f"{CANARY}-result"

        @fl.job_type("read", max_retries=0)
        def read(ctx: JobContext) -> Any:
            return [parent.result for parent in ctx.parents]

        job = fl.give("work")
        child = fl.give("read", depends_on=job)
        with running(fl.worker()):
            gate.reached()
            fl.keys.destroy(organization="acme")
            gate.open()
            assert fl.ended(job).status is JobStatus.COMPLETED
            assert fl.ended(child).status is JobStatus.DEAD_LETTER
        assert CANARY not in dump(fl)
        assert fl.value(job) == "[erased]"
        assert [one.message for one in fl.log_lines(job.id, organization="acme")] == ["[erased]"]


def test_an_attempt_whose_worker_lacks_the_master_key_of_a_new_key_keeps_nothing_open_and_is_given_back(
    database_url: str,
) -> None:
    gate = Gate()
    with engine(database_url, encryption_keys=SECOND) as fl, another(fl, encryption_keys=FIRST) as elsewhere:
        fl.keyring._max_age = KEPT

        @fl.job_type("work")
        def work(ctx: JobContext) -> Any:
            gate.wait()
            ctx.log(f"{CANARY}-line")
            return f"{CANARY}-result"

        job = fl.give("work")
        with running(fl.worker()):
            gate.reached()
            elsewhere.keys.enable(organization="acme")
            gate.open()
            until(lambda: fl.look(job).status is JobStatus.QUEUED)
        assert CANARY not in dump(fl)
        assert "can't use the organization's encryption key" in fl.reasons(job)
        assert fl.look(job).retry_count == 0


def test_a_job_that_is_snoozed_by_a_worker_without_the_key_waits_for_its_own_time(database_url: str) -> None:
    with engine(database_url, encryption_keys=SECOND) as fl, another(fl, encryption_keys=FIRST) as elsewhere:
        fl.keyring._max_age = KEPT

        @fl.job_type("work")
        def work(ctx: JobContext) -> Any:
            elsewhere.keys.enable(organization="acme")
            raise Snooze(3600, f"{CANARY}-reason")

        job = fl.give("work")
        fl.drain()
        found = fl.look(job)
        assert found.next_retry_at is not None
        assert found.next_retry_at - found.created_at > timedelta(minutes=59)
        assert CANARY not in dump(fl)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_has_long_waited_for_locks_is_sealed_when_all_is(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl, another(fl, encryption_keys=FIRST) as elsewhere:

        @fl.job_type("work")
        def work(ctx: JobContext, text: str) -> None: ...

        def give(**options: Any) -> Any:
            return fl.give("work", parameters={"text": CANARY}, dedup_key="mine", **options)

        fl.give("work", parameters={"text": "registers the type, and keeps that there is no key"})
        with ThreadPoolExecutor(2) as threads:
            with fl.database.engine.connect() as holder, holder.begin() as held:
                give(connection=holder)
                late = threads.submit(give)
                until(lambda: fl.database.look(_waiting) == 1)
                elsewhere.keys.enable(organization="acme")
                waits: list[float] = []
                sealed = threads.submit(elsewhere.keys.reencrypt, organization="acme", on_wait=waits.append)
                until(lambda: waits)
                held.rollback()
            job = late.result(PATIENCE)
            sealed.result(PATIENCE)
        assert waits == [resealing.WRITERS_TIMEOUT]
        assert CANARY not in dump(fl)
        assert fl.look(job).parameters == {"text": CANARY}


@pytest.mark.parametrize("change", [rotate, destroy_and_enable])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_change_of_keys_that_had_to_wait_is_as_old_as_when_it_was_made(
    database_url: str, change: Callable[[Engine], int]
) -> None:
    gate = Gate()

    def hold(connection: Connection) -> None:
        statements.lock(connection, "acme")
        gate.wait()

    with engine(database_url, encryption_keys=FIRST) as fl, ThreadPoolExecutor(2) as threads:
        fl.keys.enable(organization="acme")
        if change is destroy_and_enable:
            fl.keys.destroy(organization="acme")
        held = threads.submit(fl.database.write, hold, of="acme")
        gate.reached()
        changed = threads.submit(fl.keys.rotate if change is rotate else fl.keys.enable, organization="acme")
        until(lambda: fl.database.look(_waiting) == 1)
        still = fl.database.look(fl.database.clock.now)
        gate.open()
        held.result(PATIENCE)
        assert changed.result(PATIENCE).created_at > still


def test_a_file_that_was_on_its_way_when_the_key_came_is_stored_sealed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl, another(fl, encryption_keys=FIRST) as elsewhere:
        fl.keyring._max_age = KEPT
        put = fl.artifacts.put

        def slow(path: str, data: Any) -> None:
            put(path, data)
            elsewhere.keys.enable(organization="acme")  # as if this had taken so long

        monkeypatch.setattr(fl.artifacts, "put", slow)
        _, kept = left_by_a_handler(fl, f"{CANARY}-file")
        assert CANARY.encode() not in kept


def _waiting(connection: Connection) -> int:
    here = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
    return len(connection.exec_driver_sql(here).all())


def test_what_is_stored_by_who_has_not_heard_of_the_key_is_sealed_when_all_is(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settled_keys.REAL > KEYS_KEPT
    monkeypatch.setattr(keys, "KEYS_SETTLE", 0.5)
    clock = ManualClock()
    with (
        engine(database_url, encryption_keys=FIRST, clock=clock) as fl,
        another(fl, encryption_keys=FIRST) as elsewhere,
    ):

        @fl.job_type("work")
        def work(ctx: JobContext, text: str) -> None: ...

        def give() -> Any:
            return fl.give("work", parameters={"text": CANARY}, dedup_window=0)

        waits = []

        def waiting(seconds: float) -> None:
            waits.append(seconds)
            fl.keyring._kept["acme"] = time.monotonic(), None  # it has looked just before there was a key
            jobs.append(give())
            assert CANARY in dump(fl)

        jobs = [give()]
        elsewhere.keys.enable(organization="acme")
        elsewhere.keys.reencrypt(organization="acme", on_wait=waiting)
        clock.advance(0.5)
        elsewhere.keys.reencrypt(organization="acme", on_wait=waiting)  # the key is old now
        fl.keyring.forget("acme")  # as if it had grown old
        jobs.append(give())
        assert waits == [0.5]
        assert CANARY not in dump(fl)
        assert [fl.look(one).parameters for one in jobs] == [{"text": CANARY}] * 3
