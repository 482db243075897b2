"""A job whose parents' results, or whose checkpoint, take long to read holds up no other job."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import event

from fairlane import Job, JobContext, JobStatus
from fairlane.domain.events import ServiceFailed
from fairlane.engine import attempt, reports
from fairlane.store.statements import attempts
from tests.engine.worker_kit import Engine, engine, running, started, until
from tests.patience import PATIENCE
from tests.store.logins import plain


@pytest.fixture
def fl(postgres_url: str) -> Iterator[Engine]:
    with engine(postgres_url, lock_timeout=0.2) as fl:

        @fl.job_type("number")
        def number(ctx: JobContext) -> int:
            return 7

        @fl.job_type("sum")
        def sum_up(ctx: JobContext) -> int:
            return sum(one.result for one in ctx.parents)

        fl.organizations.create("rival")
        yield fl


@contextmanager
def unreadable(fl: Engine) -> Iterator[None]:
    """Let nobody read what jobs left, until the block ends."""
    with psycopg.connect(plain(fl.settings.url)) as holder:
        holder.execute("LOCK TABLE fairlane_artifacts IN ACCESS EXCLUSIVE MODE")
        yield


def child(fl: Engine) -> Job:
    """A job that waits for nothing but to be claimed, and has parents."""
    parent = fl.give("number")
    fl.drain()
    return fl.give("sum", depends_on=[parent])


def test_a_job_whose_parents_take_long_to_read_holds_up_no_other(fl: Engine) -> None:
    waits = child(fl)
    with running(fl.worker()):
        with unreadable(fl):
            started(fl, waits)
            assert fl.ended(fl.give("number", organization="rival")).status is JobStatus.COMPLETED
        assert fl.ended(waits).attempt == 1
    assert fl.value(waits) == 7


def test_a_schema_that_is_wrong_for_a_while_ends_no_job(fl: Engine) -> None:
    waits, failed = child(fl), threading.Event()
    event.listen(sqlalchemy.Engine, "handle_error", on_error := lambda _: failed.set())
    with psycopg.connect(plain(fl.settings.url), autocommit=True) as owner:
        owner.execute("ALTER TABLE fairlane_artifacts RENAME TO elsewhere")
        with running(fl.worker()):
            started(fl, waits)
            assert failed.wait(PATIENCE)
            event.remove(sqlalchemy.Engine, "handle_error", on_error)
            owner.execute("ALTER TABLE elsewhere RENAME TO fairlane_artifacts")
            assert fl.ended(waits).attempt == 1
    assert fl.value(waits) == 7


@pytest.mark.slow
def test_the_history_says_why_what_parents_left_can_not_be_read(fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "START_LIMIT", 0.3)
    waits = child(fl)
    with psycopg.connect(plain(fl.settings.url), autocommit=True) as owner:
        owner.execute("ALTER TABLE fairlane_artifacts RENAME TO elsewhere")
        with running(fl.worker()):
            started(fl, waits, attempt=2)
            assert "storage did not serve it: ConfigurationError: " in fl.reasons(waits)
            owner.execute("ALTER TABLE elsewhere RENAME TO fairlane_artifacts")
            assert fl.ended(waits).status is JobStatus.COMPLETED


def test_what_parents_left_is_made_pythons_when_nothing_of_it_is_locked(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends a transaction that is idle for long, and a thousand large results take that long."""
    waits = child(fl)
    with psycopg.connect(plain(fl.settings.url), autocommit=True) as looker:
        held = "SELECT FROM pg_locks WHERE relation = 'fairlane_artifacts'::regclass"

        def bare(result: object) -> object:
            until(lambda: looker.execute(held).rowcount == 0)
            return result

        monkeypatch.setattr(reports, "bare", bare)
        with running(fl.worker()):
            assert fl.ended(waits).status is JobStatus.COMPLETED
    assert fl.value(waits) == 7


@pytest.mark.slow
@pytest.mark.parametrize("error", [SystemExit(3), KeyError("a mistake")], ids=["exit", "mistake"])
def test_a_job_whose_parents_can_not_be_read_for_a_mistake_fails_and_frees_its_slot(
    fl: Engine, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def parents_of(*_: object) -> NoReturn:
        raise error

    waits = child(fl)
    monkeypatch.setattr(attempts, "parents_of", parents_of)
    with running(fl.worker(concurrency=1)):
        fl.events.wait(ServiceFailed, service="attempt")
        until(lambda: fl.look(waits).error_type == type(error).__name__)
        assert fl.ended(fl.give("number")).status is JobStatus.COMPLETED


def test_a_job_is_canceled_while_its_parents_are_read(fl: Engine) -> None:
    waits = child(fl)
    with running(fl.worker()), unreadable(fl):
        started(fl, waits)
        fl.cancel(waits.id, organization="acme")
        assert fl.ended(waits).status is JobStatus.CANCELED


@pytest.mark.slow
def test_a_worker_that_stops_gives_back_what_it_has_not_read(fl: Engine) -> None:
    waits = child(fl)
    with unreadable(fl):
        with running(fl.worker()):
            started(fl, waits)
        assert fl.way(waits)[-2:] == ["running", "queued"]
    fl.drain()
    assert fl.value(waits) == 7
