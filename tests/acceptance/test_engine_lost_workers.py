"""R5: whatever kills a worker, its jobs run again elsewhere, and what is left of it disturbs nobody."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlane import FairlaneError, JobContext
from fairlane.domain.events import JobsRescued, LeaseLost
from fairlane.engine.heartbeat import Heartbeat
from fairlane.engine.worker import Worker
from tests.acceptance.apps.worker import register
from tests.engine.recording import Watched
from tests.engine.worker_kit import Engine, Gate, another, engine, running, started, until
from tests.engine.worker_process import worker_process
from tests.engine.worker_store import registered

LEASE = 2.5  # seconds; a worker process whose loop is held up for so long, by a busy machine, replaces itself
KINDS = ("async", "thread", "process")


@pytest.fixture
def fl(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    with engine(database_url, lease=LEASE, artifacts_url=(tmp_path / "artifacts").as_uri()) as fl:
        yield fl


@pytest.mark.slow
def test_jobs_of_a_killed_worker_run_again_elsewhere_and_its_processes_die_with_it(fl: Engine) -> None:
    register(fl, "process")
    jobs = {kind: fl.give(kind) for kind in KINDS}
    with worker_process(fl, "process", lease=LEASE) as worker:
        pids = {kind: int(worker.wait("JobProgressed", job_id=job.id)["message"]) for kind, job in jobs.items()}
        assert pids["async"] == pids["thread"] != pids["process"] != os.getpid()
        child = Watched(pids["process"])
        with running(fl.worker()):
            until(lambda: len(registered(fl)) == 2)
            worker.kill()
            assert child.has_ended()
            for job in jobs.values():
                assert fl.ended(job).status == "completed"
    for job in jobs.values():
        assert fl.value(job) == "second attempt"
        assert fl.way(job) == ["queued", "running", "queued", "running", "completed"]
        assert (fl.look(job).attempt, fl.look(job).retry_count) == (2, 0)
    assert sum(event.jobs for event in fl.events.of(JobsRescued)) == len(KINDS)


@pytest.mark.slow
def test_a_worker_that_comes_up_later_takes_the_jobs_and_the_cancels_of_one_that_was_killed(fl: Engine) -> None:
    register(fl)
    job, unwanted = fl.give("thread"), fl.give("thread", user="ana")
    with worker_process(fl, lease=LEASE, watch_interval=600.0) as worker:
        for one in (job, unwanted):
            worker.wait("JobProgressed", job_id=one.id)
        assert fl.cancel(unwanted.id, organization="acme", user="ana").status == "running"
        worker.kill()
    with running(fl.worker()):
        assert fl.ended(job).status == "completed"
        assert fl.ended(unwanted).canceled_by == "ana"
    assert fl.value(job) == "second attempt"
    assert fl.way(unwanted) == ["queued", "running", "canceled"]


def test_a_worker_presumed_dead_stops_its_handler_and_overwrites_nothing(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, but its heartbeat does not get through, so another worker has the job by the time that it is back."""
    second_runs, first_is_told = Gate(), Gate()
    refused: list[str] = []

    def handler(ctx: JobContext) -> str:
        if ctx.attempt == 2:
            ctx.artifact("a.txt", "second")
            second_runs.open()
            first_is_told.wait()
            return "second"
        ctx.interrupt.wait()
        second_runs.wait()
        try:
            ctx.raise_if_interrupted()
        finally:
            try:
                ctx.artifact("a.txt", "first")
            except FairlaneError as error:
                refused.append(type(error).__name__)
            first_is_told.open()
        return "first"

    with another(fl, lease=LEASE, artifacts_url=fl.settings.artifacts_url) as elsewhere:
        for one in (fl, elsewhere):
            one.job_type("work")(handler)
        job = fl.give("work")
        worker = fl.worker()
        silent = silence_heartbeat_of(worker, monkeypatch)
        with running(worker):
            started(fl, job)
            silent.set()
            with running(elsewhere.worker()):
                fl.events.wait(LeaseLost, job_id=job.id)
                assert elsewhere.ended(job).status == "completed"
    assert fl.value(job) == "second"
    assert fl.artifact(job.id, "a.txt", organization="acme") == b"second"
    assert fl.way(job) == ["queued", "running", "queued", "running", "completed"]
    assert len(fl.events.of(LeaseLost)) == 1


def silence_heartbeat_of(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that silences this worker's beats."""
    silent = threading.Event()
    beat = Heartbeat.run_once

    def run_once(self: Heartbeat) -> None:
        if not (silent.is_set() and self._card.id == worker.id):
            beat(self)

    monkeypatch.setattr(Heartbeat, "run_once", run_once)
    return silent
