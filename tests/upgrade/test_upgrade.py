"""Two releases, side by side on one database, lose no job, and no writer waits for the migration."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import func, select

from fairlane import Fairlane, JobStatus, Submission
from fairlane.store.tables import execution_log, live
from tests.acceptance.program import Program
from tests.conftest import once
from tests.depth import far
from tests.engine.worker_kit import until_none
from tests.patience import PATIENCE
from tests.upgrade.releases import Release, last_release, last_tag, next_release, this_code
from tests.upgrade.watch import watched

MANY: Final = far(15_000, 50_000, 50_000)  # jobs that are there before
BATCH: Final = 2_500
FEED: Final = 25  # jobs that are submitted to each queue at a time meanwhile
LONGEST_WAIT: Final = 1.0  # seconds
CUT_OFF: Final = "its claim was cut off"  # what the log says of an attempt that never began


@pytest.fixture
def fl(database_url: str) -> Iterator[Fairlane]:
    """Yield the submitter: this code, whatever release the workers have."""
    with Fairlane(database_url) as made:
        made.organizations.create("acme")
        yield made


@pytest.fixture(autouse=True)
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which handlers write the jobs that they ran."""
    monkeypatch.setenv("EFFECTS", str(tmp_path / "effects"))
    return tmp_path / "effects"


@pytest.fixture
def following(tmp_path: Path) -> Release:
    """This code with one revision more."""
    return next_release(tmp_path / "next")


@pytest.fixture(scope="session")
def last(run_directory: Path) -> Release:
    """The last release that has a tag, in an environment of its own."""
    tag = last_tag()
    if tag is None:
        pytest.skip("no release is tagged yet, so there is none whose workers could run beside this code")
    directory = run_directory / "last-release"
    once(run_directory, "last-release-made", lambda: last_release(tag, directory).python)
    return Release(str(directory / "environment" / "bin" / "python"), directory / "src")


def test_a_filled_database_is_migrated_beside_workers_of_both_releases(
    fl: Fairlane, following: Release, effects: Path
) -> None:
    upgrade(fl, this_code(), following, effects)


def test_the_last_release_and_this_code_work_on_each_others_schema(
    last: Release, empty_url: str, effects: Path
) -> None:
    """The last release makes the database; this code migrates it if it has a revision more."""
    ended(last, empty_url, "migrate")
    with Fairlane(empty_url) as fl:
        fl.organizations.create("acme")
        upgrade(fl, last, this_code(), effects)


def test_a_migration_that_has_to_wait_holds_up_no_writer(postgres_url: str, following: Release) -> None:
    """A reader's transaction stays open; a migration that waits for its lock makes others wait behind."""
    ended(this_code(), postgres_url, "migrate")  # which registers the job type
    with Fairlane(postgres_url) as fl, psycopg.connect(postgres_url) as reader, watched(postgres_url) as watch:
        fl.organizations.create("acme")
        reader.execute("SELECT count(*) FROM fairlane_live")
        with following.begin(postgres_url, "migrate") as migration:
            watch.sees("AccessExclusiveLock", times=2)
            feed(fl)
            reader.commit()
            assert migration.end(3 * PATIENCE) == 0, migration.seen
        assert watch.longest < LONGEST_WAIT


def upgrade(fl: Fairlane, old: Release, new: Release, effects: Path) -> None:
    """Migrate a filled database from `old` to `new` beside workers of both, and see that nothing happens to a job."""
    ended(old, fl.settings.url, "migrate")
    fill(fl)
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(fl, release, queue)) for release, queue in ((old, "old"), (new, "new"))]
        with watched(fl.settings.url) as watch, fed(fl) as given:
            ended(new, fl.settings.url, "migrate")
        assert watch.longest < LONGEST_WAIT
        # Those that were there go on, and an old one may still be started.
        workers.append(stack.enter_context(worker(fl, old, "old")))
        given += feed(fl)
        until_none(lambda: number_of(fl, JobStatus.QUEUED, JobStatus.RUNNING))
        for one in workers:
            one.send(signal.SIGTERM)
            assert one.end() == 0, one.seen
            assert not [line for line in one.seen if "ERROR" in line or "WARNING" in line]
    assert counts(fl) == {"completed": len(given), "pending": MANY}
    each_ran_once(fl, given, effects)
    for release in (old, new):
        ended(release, fl.settings.url, "migrate")  # to run it again, or after the other, does no harm


def fill(fl: Fairlane) -> None:
    """Submit as many jobs as an old database has; they are due tomorrow."""
    for first in range(0, MANY, BATCH):
        fl.submit_many([of("later", number, delay=86_400) for number in range(first, first + BATCH)])


def feed(fl: Fairlane) -> list[UUID]:
    """Jobs for the workers of both releases."""
    submitted = fl.submit_many([of(queue, number) for queue in ("old", "new") for number in range(FEED)])
    return [job.id for job in submitted]


@contextmanager
def fed(fl: Fairlane) -> Iterator[list[UUID]]:
    """Jobs are submitted and run all the time, from before the block begins until it has ended; then these are all."""
    over, one_more, given = threading.Event(), threading.Semaphore(0), list[UUID]()

    def go_on() -> None:
        while not over.is_set():
            given.extend(feed(fl))
            until_none(lambda: number_of(fl, JobStatus.QUEUED))
            one_more.release()

    # What it raises fails the test: pytest makes a warning of it, and warnings are errors here.
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert one_more.acquire(timeout=PATIENCE), "the workers run no jobs"
        yield given
    finally:
        over.set()
        thread.join()


def of(queue: str, number: int, *, delay: float | None = None) -> Submission:
    return Submission("double", organization="acme", parameters={"number": number}, queue=queue, delay=delay)


def number_of(fl: Fairlane, *statuses: JobStatus) -> int:
    """Count the jobs in these statuses; the count is asked again and again, so it asks for no more."""
    them = select(func.count()).where(live.c.organization_id == "acme", live.c.status.in_(statuses))
    with fl.database.engine.connect() as connection:
        return connection.execute(them).scalar_one()


def counts(fl: Fairlane) -> dict[str, int]:
    """Return how many jobs have each status, if any has it."""
    return {str(status): size for status, size in fl.metrics(organization="acme").jobs_by_status.items() if size}


def each_ran_once(fl: Fairlane, given: Sequence[UUID], effects: Path) -> None:
    """These are all that ran, by what the handlers say; and by the log each to its end in its first attempt.

    There those do not count that were given back unbegun, as when a worker heard too late of its claim.
    """
    log = select(execution_log.c.job_id, execution_log.c.to_status, execution_log.c.attempt, execution_log.c.message)
    ends = log.where(execution_log.c.organization_id == "acme", execution_log.c.from_status == JobStatus.RUNNING)
    with fl.database.engine.connect() as connection:
        rows = connection.execute(ends).all()
    unbegun = Counter(row.job_id for row in rows if row.message == CUT_OFF)
    ran = [(row.job_id, row.to_status, row.attempt - unbegun[row.job_id]) for row in rows if row.message != CUT_OFF]
    assert sorted(ran) == sorted((job_id, JobStatus.COMPLETED, 1) for job_id in given)
    assert sorted(UUID(line) for line in effects.read_text().splitlines()) == sorted(given)


@contextmanager
def worker(fl: Fairlane, release: Release, queue: str) -> Iterator[Program]:
    """A worker of a release for the queue, which serves when the block begins."""
    with release.begin(fl.settings.url, "worker", "--plain", "--queue", queue, "--queue", "default") as program:
        program.line("serves")
        yield program


def ended(release: Release, url: str, command: str) -> None:
    """Run a command of a release to its end, which has to be good. It gives up by itself after a minute."""
    with release.begin(url, command) as program:
        assert program.end(3 * PATIENCE) == 0, program.seen
