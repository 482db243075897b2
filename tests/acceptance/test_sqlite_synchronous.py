"""Commits on SQLite wait for the disk or not, by a setting that each writing connection follows."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from fairlane import ConfigurationError, Fairlane, JobContext, JobStatus, Settings
from fairlane.store.engine import WRITE

# As PRAGMA synchronous says it.
NUMBERS = {"full": 2, "normal": 1}


@contextmanager
def commits() -> Iterator[set[tuple[str, int]]]:
    """Yield PRAGMA synchronous of each connection that writes, with the thread in which it commits."""
    seen: set[tuple[str, int]] = set()

    def note(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        if driver is not None and connection.get_execution_options().get(WRITE, False):
            seen.add((threading.current_thread().name, *driver.execute("PRAGMA synchronous").fetchone()))

    event.listen(Engine, "commit", note)
    yield seen
    event.remove(Engine, "commit", note)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, "full"), ({"sqlite_synchronous": "full"}, "full"), ({"sqlite_synchronous": "normal"}, "normal")],
)
def test_submitter_and_worker_go_by_it(sqlite_url: str, settings: dict[str, Any], expected: str) -> None:
    with Fairlane(Settings(url=sqlite_url, **settings)) as fl:

        @fl.job_type("work")
        def work(ctx: JobContext) -> None: ...

        fl.organizations.create("acme")
        with commits() as seen:
            job = fl.submit("work", organization="acme")
            fl.worker().drain()
        assert fl.get(job.id, organization="acme").status is JobStatus.COMPLETED
    assert {number for _, number in seen} == {NUMBERS[expected]}
    assert threading.current_thread().name in {name for name, _ in seen}
    assert len({name for name, _ in seen}) > 1, "the worker commits in threads of its own"


def test_the_environment_says_it(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLANE_SQLITE_SYNCHRONOUS", "normal")
    with Fairlane(sqlite_url) as fl, commits() as seen:
        fl.organizations.create("acme")
    assert {number for _, number in seen} == {NUMBERS["normal"]}


def test_what_is_no_such_setting_is_refused(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLANE_SQLITE_SYNCHRONOUS", "off")
    with pytest.raises(ConfigurationError, match="sqlite_synchronous: input should be 'full' or 'normal'"):
        Settings(url=sqlite_url)
