"""R4: with many workers no limit is passed at any moment, and what a killed worker held is free again."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from random import Random

import pytest
from sqlalchemy import Connection, text

from fairlane import JobContext, Submission
from tests.acceptance.apps.worker import register
from tests.engine.worker_kit import Engine, another, engine, running, until, until_none
from tests.engine.worker_process import worker_process

LEASE = 2.5  # seconds
LOOK = 0.005  # seconds
ORGANIZATIONS = ("acme", "rival", "third")
RATE, WINDOW = 40, 0.5
# (organization, job type): None stands for all.
Subject = tuple[str | None, str | None]
Limits = dict[Subject, int]


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url, lease=LEASE) as fl:
        for name in ORGANIZATIONS[1:]:
            fl.organizations.create(name)
        yield fl


def running_now(connection: Connection) -> Counter[tuple[str, str]]:
    rows = connection.execute(
        text("SELECT organization_id, job_type, count(*) FROM fairlane_live WHERE status = 'running' GROUP BY 1, 2")
    )
    return Counter({(organization, name): number for organization, name, number in rows})


def number_of(subject: Subject, counted: Counter[tuple[str, str]]) -> int:
    organization, name = subject
    return sum(n for (one, other), n in counted.items() if organization in (None, one) and name in (None, other))


@contextmanager
def watched(fl: Engine, limits: Limits) -> Iterator[None]:
    """A watcher counts running rows in snapshots of its own, all the time."""
    over = threading.Event()
    seen: list[tuple[Subject, int]] = []

    def watch() -> None:
        with another(fl) as mine:
            while not over.wait(LOOK):
                counted = mine.database.read(running_now)
                seen.extend((subject, number_of(subject, counted)) for subject in limits)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert seen
    assert [(subject, number) for subject, number in seen if number > limits[subject]] == []


def log_keeps_to(fl: Engine, limits: Limits) -> None:
    """Afterwards the execution log says that no limit was passed, and that each was used in full."""
    with fl.database.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT log.at, log.to_status = 'running', log.organization_id, job_type"
                " FROM fairlane_execution_log AS log JOIN fairlane_jobs AS job"
                " ON job.organization_id = log.organization_id AND job.id = log.job_id"
                " WHERE 'running' IN (from_status, to_status)"
            )
        )
        # What ended at the very moment has made room.
        entries = sorted((at if isinstance(at, datetime) else datetime.fromisoformat(at), *more) for at, *more in rows)
    at_once, most = Counter[tuple[str, str]](), Counter[Subject]()
    for _, begins, organization, name in entries:
        at_once[organization, name] += 1 if begins else -1
        for subject in limits:
            most[subject] = max(most[subject], number_of(subject, at_once))
    assert most == limits


def rate_keeps_to(fl: Engine, rate: int, window: float) -> None:
    """Assert the number of starts in any window, by the log."""
    with fl.database.engine.connect() as connection:
        rows = connection.execute(text("SELECT at FROM fairlane_execution_log WHERE to_status = 'running'")).scalars()
        starts = sorted(at if isinstance(at, datetime) else datetime.fromisoformat(at) for at in rows)
    for first, beyond in zip(starts, starts[rate:], strict=False):
        assert beyond - first >= timedelta(seconds=window)


def limit(fl: Engine, limits: Limits) -> None:
    for (organization, name), number in limits.items():
        if name is None:
            assert organization is not None
            fl.organizations.update(organization, max_running=number)
        else:
            fl.job_types.limit(name, organization=organization, max_running=number)


def submit(fl: Engine, names: Sequence[str], each: int) -> int:
    jobs = [
        Submission(name, organization=organization)
        for name in names
        for organization in ORGANIZATIONS
        for _ in range(each)
    ]
    return len(fl.submit_many(jobs))


def undone(fl: Engine) -> int:
    return sum(number for status, number in fl.metrics().jobs_by_status.items() if status != "completed")


@pytest.mark.slow
def test_many_workers_pass_no_limit_and_use_each_in_full(fl: Engine) -> None:
    limits: Limits = {("acme", None): 5, (None, "pdf"): 6, ("rival", "pdf"): 2, ("third", "mail"): 1}
    with ExitStack() as stack:
        engines = [stack.enter_context(another(fl)) for _ in range(4)]
        for number, one in enumerate((fl, *engines)):
            register_naps(one, Random(number))
        submit(fl, ["pdf", "mail"], 20)
        limit(fl, limits)
        stack.enter_context(watched(fl, limits))
        for one in engines:
            stack.enter_context(running(one.worker(concurrency=30)))
        until_none(lambda: undone(fl))
    log_keeps_to(fl, limits)


def register_naps(fl: Engine, random: Random) -> None:
    """Two job types whose handlers take some hundredths of a second."""
    for name in ("pdf", "mail"):

        @fl.job_type(name, dedup_window=0)
        async def nap(ctx: JobContext) -> None:
            await asyncio.sleep(random.uniform(0.0, 0.05))


@pytest.mark.slow
def test_worker_processes_pass_no_limit_and_no_rate(fl: Engine) -> None:
    register(fl)
    limits: Limits = {("acme", None): 2, (None, "quick"): 4}
    submit(fl, ["quick"], 40)
    limit(fl, limits)
    fl.job_types.limit("quick", execution_rate=RATE, execution_rate_window=WINDOW)
    with watched(fl, limits), worker_process(fl), worker_process(fl), worker_process(fl):
        until_none(lambda: undone(fl))
    log_keeps_to(fl, limits)
    rate_keeps_to(fl, RATE, WINDOW)


@pytest.mark.slow
def test_what_a_killed_worker_held_is_free_again_for_others(fl: Engine) -> None:
    register(fl)
    limits: Limits = {(None, "thread"): 2}
    jobs = [fl.give("thread") for _ in range(4)]
    limit(fl, limits)
    with watched(fl, limits), worker_process(fl, lease=LEASE) as worker:
        for job in jobs[:2]:
            worker.wait("JobProgressed", job_id=job.id)
        worker.kill()
        with running(fl.worker()):
            for job in jobs[:2]:
                assert fl.ended(job).attempt == 2
            until(lambda: [fl.look(job).status for job in jobs[2:]] == ["running", "running"])
    log_keeps_to(fl, limits)
