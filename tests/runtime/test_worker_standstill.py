"""A worker before jobs that are all held back asks once each round whether that has changed, and sees it at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from tests.runtime.worker_kit import Engine, engine
from tests.runtime.worker_store import Member, give, job_type, member


@contextmanager
def statements(fl: Engine) -> Iterator[list[str]]:
    """What this thread asks of its database; that a transaction begins, is not.

    The hint of a submit goes out by a thread of its own, a moment after it.
    """
    asked: list[str] = []
    ours = threading.get_ident()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.get_ident() == ours:
            asked.append(statement)

    event.listen(fl.database.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(fl.database.engine, "before_cursor_execute", note)


def pause(fl: Engine) -> Callable[[], object]:
    fl.job_types.pause("pdf")
    return lambda: fl.job_types.resume("pdf")


def allow_none(fl: Engine) -> Callable[[], object]:
    fl.job_types.limit("pdf", max_running=0)
    return lambda: fl.job_types.limit("pdf", max_running=1)


def take_all(fl: Engine) -> Callable[[], object]:
    fl.organizations.update("acme", max_running=1)
    other = member(fl, "other")
    taken = other.claim()
    return lambda: other.end(*taken)


def suspend(fl: Engine) -> Callable[[], object]:
    fl.organizations.suspend("acme")
    return lambda: fl.organizations.activate("acme")


def rounds(one: Member, number: int) -> None:
    for _ in range(number):
        assert not one.claim()


@pytest.mark.parametrize("hold", [pause, allow_none, take_all, suspend])
def test_what_is_held_back_costs_a_look_and_starts_when_it_is_let_go(
    database_url: str, hold: Callable[[Engine], Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a look takes long, and then no round is spared.
    monkeypatch.setattr("fairlane.runtime.outlook._DEAR", 1e9)
    with engine(database_url) as fl:
        job_type(fl, "pdf")
        give(fl, 3)
        worker, let_go = member(fl), hold(fl)
        rounds(worker, 3)
        with statements(fl) as asked:
            rounds(worker, 4)
        # On SQLite each question is a statement, and none of them locks.
        assert len(asked) == 4 or not fl.database.is_postgres
        assert not any("FOR KEY SHARE" in one or "BEGIN IMMEDIATE" in one for one in asked)
        let_go()
        assert worker.claim()


def test_another_job_beside_what_is_held_back_starts_at_once(database_url: str) -> None:
    with engine(database_url) as fl:
        job_type(fl, "pdf")
        job_type(fl, "mail")
        give(fl, 3)
        worker = member(fl)
        pause(fl)
        rounds(worker, 4)
        give(fl, 1, "mail")
        assert [one.claimed.job_type for one in worker.claim()] == ["mail"]


def test_what_time_alone_lets_go_is_tried_each_round(database_url: str) -> None:
    with engine(database_url) as fl:
        job_type(fl, "pdf", execution_rate=1)
        give(fl, 3)
        worker = member(fl)
        worker.end(*worker.claim(1))
        rounds(worker, 3)
        with statements(fl) as asked:
            rounds(worker, 1)
        assert any("fairlane_starts" in one for one in asked)
