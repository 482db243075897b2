"""Whatever connection is lost at whatever statement: no job is lost, and none takes effect twice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select

from fairlane.domain.statuses import LIVE, EdgeState
from fairlane.store.tables import job_parents, workers
from tests.faults.fault import Fault
from tests.faults.injection import Faults, injecting
from tests.faults.load import CONTENT, FILE, Book, assert_books_balance, register, submit
from tests.runtime.worker_kit import Engine, another, engine, running
from tests.store.races.agreement import assert_all_logs_agree

RATE, SEED = 0.02, 1
ROUNDS = 8
LEASE = 10.0  # seconds; the heartbeat may fail a few times
OPTIONS: Final[Mapping[str, Any]] = {
    "lease": LEASE,
    "poll_interval": 0.05,
    "cleanup_interval": 0.2,
    "watch_interval": 0.05,
}


def lived_through(url: str, folder: Path, faults: Faults) -> list[Fault]:
    """Two workers run the load to its end, with these faults; the books are checked."""
    book, options = Book(), {**OPTIONS, "artifacts_url": folder.as_uri()}
    with engine(url, **options) as fl, another(fl, **options) as other:
        for one in (fl, other):
            register(one, book)
        with injecting(faults), running(fl.worker()), running(other.worker()):
            jobs = [fl.ended(job) for job in submit(fl, ROUNDS)]
        assert_books_balance(jobs, book)
        for job in jobs:
            if job.job_type == "file":
                assert fl.artifact(job.id, FILE, organization="acme") == CONTENT
        assert_all_logs_agree(fl)
        assert_nothing_is_left(fl)
    return faults.injected


def assert_nothing_is_left(fl: Engine) -> None:
    """No live job, no child that was not told, no worker that kept its row."""
    assert fl.list(organization="acme", status=[status.value for status in LIVE]).total == 0
    untold = select(func.count()).where(
        job_parents.c.organization_id == "acme", job_parents.c.state != EdgeState.SETTLED
    )
    with fl.database.engine.begin() as connection:
        assert connection.scalar(untold) == 0
        assert connection.scalar(select(func.count()).select_from(workers)) == 0


def test_no_job_is_lost_and_none_takes_effect_twice(database_url: str, tmp_path: Path) -> None:
    injected = lived_through(database_url, tmp_path, Faults(RATE, SEED, "promises"))
    assert {one.has_effect for one in injected} == {False, True}
    assert any(one.is_commit and one.has_effect for one in injected)
    assert {"Claims.claim_round", "Finisher._finish"} <= {one.place for one in injected}
