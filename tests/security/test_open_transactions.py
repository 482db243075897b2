"""Transactions that the application's own login leaves open in its organization: no other organization waits for them.

Locks are waited for longer here than tests wait, so that a test fails where somebody waits for such a transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest

from fairlane import Fairlane, JobContext, StorageLost, StorageUnavailable, Submission
from fairlane.store.row_security import SETTING
from tests.engine.worker_kit import Engine, running, until
from tests.patience import PATIENCE
from tests.store.logins import bound_logins, plain

LONG = 2 * PATIENCE


@pytest.fixture
def logins(postgres_url: str) -> Iterator[dict[str, str]]:
    with bound_logins(postgres_url) as urls:
        with Fairlane(postgres_url) as owner:
            for organization in ("acme", "rival"):
                owner.organizations.create(organization)
        yield urls


@contextmanager
def release(logins: dict[str, str], *job_types: str, lock_timeout: float = LONG) -> Iterator[Engine]:
    """An application with these job types."""
    with Engine(logins["web"], worker_url=logins["workers"], production=True, lock_timeout=lock_timeout) as application:
        for name in job_types:
            application.job_type(name, dedup_window=0, max_retries=0)(handler)
        yield application


def handler(ctx: JobContext, fail: bool = False) -> None:
    if fail:
        raise ValueError


@contextmanager
def session_of_acme(logins: dict[str, str], *statements: str) -> Iterator[psycopg.Connection]:
    """A session whose transaction stays open behind these statements, as far as the database lets it say them."""
    with psycopg.connect(plain(logins["host"])) as session:
        session.execute("SELECT set_config(%s, 'acme', false)", [SETTING])
        for statement in statements:
            with suppress(psycopg.errors.InsufficientPrivilege), session.transaction():
                session.execute(statement)
        yield session


def test_no_row_of_a_limit_on_what_runs_is_planted(postgres_url: str, logins: dict[str, str]):
    rows = [
        f"INSERT INTO fairlane_quotas VALUES ('acme', '{subject}', now())"
        for subject in ("limit", "limit/greet", "live", "rate/greet/ana")
    ]
    with release(logins, "greet") as fl:
        with Fairlane(postgres_url) as operator:
            operator.organizations.update("acme", max_running=5)
        with session_of_acme(logins, *rows) as session:
            planted = session.execute("SELECT subject FROM fairlane_quotas ORDER BY subject").fetchall()
            assert planted == [("live",), ("rate/greet/ana",)], "what submissions need"
            held, other = fl.submit("greet", organization="acme"), fl.submit("greet", organization="rival")
            with running(fl.worker()):
                assert fl.ended(held).status == fl.ended(other).status == "completed"


@pytest.mark.slow
def test_dead_letters_that_are_held_stop_no_other_organization_s_bulk_actions(logins: dict[str, str]):
    with release(logins, "greet") as fl:
        for batch in map(str, range(10)):
            fl.submit("greet", organization="acme", labels={"batch": batch}, parameters={"fail": True})
        fl.drain()
        waiting = [Submission("greet", organization="rival", delay=3600.0) for _ in range(1000)]
        fl.submit_many(waiting)
        with session_of_acme(logins, "SELECT FROM fairlane_ended WHERE organization_id = 'acme' FOR UPDATE"):
            with release(logins, "greet", lock_timeout=0.1) as hasty:
                for batch in map(str, range(10)):
                    hasty.bulk.start("retry", {"label": {"batch": batch}}, organization="acme", seconds=0.0)
            assert [one.changed for one in fl.bulk.list(organization="acme")] == [0] * 10
            begun = fl.bulk.start("cancel", {}, organization="rival", seconds=0.0)
            with running(fl.worker()):
                until(lambda: fl.bulk.get(begun.id, organization="rival").ended_at)
        assert fl.list(organization="rival", status="canceled", limit=1).total == len(waiting)


PLANTED = """
INSERT INTO fairlane_job_types (name, schema, options, registered_at)
SELECT 'new', schema, options, now() FROM fairlane_job_types WHERE name = 'old'"""


@pytest.mark.slow
def test_a_job_type_that_is_held_keeps_no_other_one_of_a_release_out(postgres_url: str, logins: dict[str, str]):
    with release(logins, "old") as first:
        first.submit("old", organization="rival")
        first.drain()
    with release(logins, "old", "new", "newer") as fl, session_of_acme(logins, PLANTED) as session:
        job = fl.submit("old", organization="rival")
        with pytest.raises(StorageUnavailable, match=r"holds the rows of these job types.*: new.*then try again"):
            fl.submit("new", organization="rival")
        assert {one.name for one in fl.job_types.list()} == {"old", "newer"}
        with Engine(postgres_url) as owner:
            owner.job_type("new")(handler)
            with pytest.raises(StorageUnavailable, match=": new"):
                owner.migrate()
        with running(fl.worker()):
            assert fl.ended(job).status == "completed"
            told = fl.events.wait(StorageLost, service="registration")
            assert "job types in fairlane_job_types: new." in told.reason
            session.rollback()
            until(lambda: "new" in {one.name for one in fl.job_types.list()})
            assert fl.ended(fl.submit("new", organization="rival")).status == "completed"
