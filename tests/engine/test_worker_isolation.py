"""R5, R6, R10: what a handler does to its process hurts nobody else, and readers of the job see what it was."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import pytest
from typer.testing import CliRunner

from fairlane import Job, JobContext, JobStatus
from fairlane.cli.root import app
from fairlane.domain.breaker import Pair
from fairlane.domain.events import HandlerAbandoned, JobEnded, WorkerUnfit
from fairlane.engine.executors import process
from fairlane.engine.executors.thread import ThreadExecutor
from fairlane.store.statements import outcomes
from tests.engine import handlers
from tests.engine.recording import Watched
from tests.engine.worker_kit import Engine, Gate, engine, running, until
from tests.patience import PATIENCE

SOON = 0.3  # seconds
WAYS = {
    "segfault": "ProcessDied: the handler's process was killed by SIGSEGV",
    "exit": "ProcessDied: the handler's process ended with exit code 7 before the handler did",
    "killed": "ProcessDied: the handler's process was killed by SIGKILL; Linux does that when memory runs out",
    "out of memory": "MemoryError",
}
DEAF = ("system call", "interpreter's lock")


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url, stop_grace=SOON) as fl:
        yield fl


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_each_way_in_which_a_process_ends_is_told_in_words_of_its_own(fl: Engine, how: str) -> None:
    fl.job_type("crash", isolation="process", max_retries=1, backoff=[0])(handlers.crash)
    job = fl.give("crash", parameters={"how": how})
    fl.drain()
    assert fl.way(job) == ["queued", "running", "failed", "queued", "running", "failed", "dead_letter"]
    now = fl.look(job)
    assert ": ".join(filter(None, (now.error_type, now.error_message))) == WAYS[how]
    shown = shown_of(fl, job)
    assert [WAYS[how] in line for line in shown if " failed " in line] == [True, True]
    assert [line.removeprefix("error").strip() for line in shown if line.startswith("error")] == [WAYS[how]]


def no_thread(_: ThreadExecutor) -> None:
    raise RuntimeError("can't start new thread")


def no_process(*_: object) -> None:
    raise BlockingIOError("Resource temporarily unavailable")


@pytest.mark.parametrize("isolation", ["auto", "process"])
def test_a_worker_that_gets_no_thread_or_process_gives_jobs_back_and_is_to_be_replaced(
    fl: Engine, isolation: Literal["auto", "process"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreadExecutor, "_start_thread", no_thread)
    monkeypatch.setattr(process, "ChildProcess", no_process)
    fl.job_type("work", isolation=isolation, max_retries=0, dedup_window=0)(handlers.pid)
    jobs = [fl.give("work") for _ in range(20)]
    worker = fl.worker(concurrency=10)
    with running(worker):
        until(lambda: worker.must_be_replaced)
    (unfit,) = fl.events.of(WorkerUnfit)
    assert "the system gives no thread or process" in unfit.reason
    now = [fl.look(job) for job in jobs]
    assert {(job.status, job.retry_count) for job in now} == {("queued", 0)}
    ran = [job for job in now if job.attempt]
    assert 0 < len(ran) <= 10, "it claimed more than it could run"
    for job in ran:
        assert "its worker had no thread or process to run it in" in fl.reasons(job)
    ever, pair = datetime(2000, 1, 1, tzinfo=UTC), Pair("acme", "work")
    assert fl.database.read(lambda c: outcomes.since(c, ever, [pair])) == {}, "it counts for a breaker"


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_a_process_that_ends_takes_no_other_job_along_and_the_next_one_runs(fl: Engine, how: str) -> None:
    gate = Gate()

    @fl.job_type("beside")
    def beside(ctx: JobContext) -> str:
        gate.wait()
        return "untouched"

    fl.job_type("process beside", isolation="process")(handlers.say_and_sleep)
    fl.job_type("crash", isolation="process", max_retries=0)(handlers.crash)
    fl.job_type("next", isolation="process")(handlers.add)
    with running(fl.worker()):
        thread, process = fl.give("beside"), fl.give("process beside")
        gate.reached()
        processes_of(fl, process)
        crash = fl.give("crash", parameters={"how": how})
        assert fl.ended(crash).status == "dead_letter"
        following = fl.give("next", parameters={"a": 1})
        assert fl.ended(following).status == "completed"
        assert [fl.look(job).status for job in (thread, process)] == ["running", "running"]
        gate.open()
        assert fl.ended(thread).status == "completed"
        fl.cancel(process.id, organization="acme")
        assert fl.ended(process).status == "canceled"
    assert [fl.look(job).attempt for job in (thread, process)] == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("how", DEAF)
def test_a_cancel_ends_a_process_that_hears_nothing_with_all_it_started(fl: Engine, how: str) -> None:
    fl.job_type("block", isolation="process")(handlers.block)
    job = fl.give("block", user="ana", parameters={"how": how})
    with running(fl.worker()):
        watched = processes_of(fl, job)
        fl.cancel(job.id, organization="acme", user="ana")
        assert all(process.has_ended() for process in watched)
        assert fl.ended(job).canceled_by == "ana"
    assert fl.way(job) == ["queued", "running", "canceled"]
    assert any("did not stop when asked to; its process was killed" in line for line in shown_of(fl, job))
    assert fl.events.of(HandlerAbandoned) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", DEAF)
def test_a_timeout_ends_a_process_that_hears_nothing_with_all_it_started(fl: Engine, how: str) -> None:
    fl.job_type("block", isolation="process", timeout=SOON, max_retries=0)(handlers.block)
    job = fl.give("block", parameters={"how": how})
    with running(fl.worker()):
        watched = processes_of(fl, job)
        assert all(process.has_ended() for process in watched)
        assert fl.ended(job).error_type == "TimedOut"
    assert fl.way(job) == ["queued", "running", "timed_out", "dead_letter"]
    assert any("TimedOut: ran past its timeout of 0.3 s" in line for line in shown_of(fl, job))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["returns", "fails", "forks twice"])
def test_what_a_handler_leaves_running_ends_with_it(fl: Engine, how: str) -> None:
    fl.job_type("leave", isolation="process", max_retries=0)(handlers.leave_process)
    fl.job_type("next", isolation="process")(handlers.add)
    job = fl.give("leave", parameters={"how": how})
    with running(fl.worker()):
        assert fl.ended(job).status == ("dead_letter" if how == "fails" else "completed")
        assert all(process.has_ended() for process in processes_of(fl, job))
        following = fl.give("next", parameters={"a": 1})
        assert fl.ended(following).status == "completed"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_that_an_async_handler_forks_ends_as_it_would_anywhere(fl: Engine) -> None:
    @fl.job_type("parent", max_retries=0)
    async def parent(ctx: JobContext) -> int | None:
        child = multiprocessing.get_context("fork").Process(target=abs, args=(3,))
        child.start()
        await asyncio.to_thread(child.join, PATIENCE)
        child.kill()
        return child.exitcode

    job = fl.give("parent")
    with running(fl.worker()):
        assert fl.ended(job).status == "completed"
    assert fl.result(job.id, organization="acme").value == 0


def processes_of(fl: Engine, job: Job) -> list[Watched]:
    """The processes of a handler, once it has named them."""
    until(lambda: fl.log_lines(job.id, organization="acme"))
    (line,) = fl.log_lines(job.id, organization="acme")
    return [Watched(int(pid)) for pid in line.message.removeprefix("pids").split()]


def shown_of(fl: Engine, job: Job) -> list[str]:
    """The lines that `fairlane jobs show` prints."""
    arguments = ["--url", fl.settings.url, "jobs", "show", str(job.id), "-o", job.organization]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_the_start_of_a_process_is_no_part_of_a_handler_s_seconds(fl: Engine) -> None:
    fl.job_type("imported", isolation="process")(handlers.imported)
    job = fl.give("imported")
    fl.drain()
    told = time.monotonic()
    assert told - fl.events.wait(JobEnded, job_id=job.id).seconds > fl.value(job)


def test_the_words_of_what_nobody_awaited_in_a_process_are_in_no_log(
    sqlite_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python and asyncio write them to the standard error of all that share the worker."""
    with engine(sqlite_url) as fl:
        fl.job_type("fail", isolation="process")(handlers.leave_failures)
        job = fl.give("fail", parameters={"word": "canary-4711"})
        fl.drain()
        assert fl.look(job).status is JobStatus.COMPLETED
    told = capfd.readouterr().err
    assert "ValueError" in told
    assert "OSError" in told
    assert "canary-4711" not in told
