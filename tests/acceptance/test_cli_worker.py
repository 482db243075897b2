"""`fairlane worker` as processes of their own, told by signals and watched by the lines they write."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from fairlane import Fairlane, JobStatus
from fairlane.engine.supervisor import EXIT_REPLACE
from tests.acceptance.program import Program
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

SERVES: Final = r"Worker \S+?:(\d+) serves"
HANDLERS: Final = """
import asyncio, atexit, ctypes, logging, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated
from pydantic import AfterValidator
from fairlane import Fairlane
from fairlane.engine import slots

fl = Fairlane()

if "VALUE_LIMIT" in os.environ:
    slots.VALUE_LIMIT = float(os.environ["VALUE_LIMIT"])

def endless(text: str) -> str:
    print("validates", file=sys.stderr, flush=True)
    for _ in range(1_000_000):
        time.sleep(0.001)  # asks for the interpreter's lock again and again, behind pydantic's native code

@fl.job_type("validate", dedup_window=0, timeout=0.5)
async def validate(ctx, text: Annotated[str, AfterValidator(endless)]) -> None: ...

@atexit.register
def linger() -> None:
    print("leaves", file=sys.stderr, flush=True)
    if os.environ.get("LINGERS"):
        print("lingers", file=sys.stderr, flush=True)
        if os.environ["LINGERS"] == "python":
            threading.Event().wait()
        # As a native library does that waits for its threads: no signal is heard meanwhile.
        mutex = ctypes.create_string_buffer(64)
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
        ctypes.CDLL(None).pthread_mutex_lock(mutex)

# Taken down with its module, when nothing of Python's own hears signals any more.
class Fading:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(2, b"fades\\n")
        sleep(1)

if os.environ.get("FADES"):
    fading = Fading()

@fl.job_type("greet", dedup_window=0)
async def greet(ctx, name: str) -> str:
    ctx.progress(50, "thinking")
    return f"Hello, {name}!"

@fl.job_type("say", dedup_window=0)
async def say(ctx, words: str) -> None:
    logging.getLogger("shop").info(words)

@fl.job_type("say.apart", dedup_window=0, isolation="process")
def say_apart(ctx, words: str) -> None:
    logging.getLogger("shop").info(words)

letters = ThreadPoolExecutor(1)

@fl.job_type("write", dedup_window=0)
async def write(ctx) -> None:
    letters.submit(slowly)

def slowly() -> None:
    time.sleep(3)  # longer than a worker takes to hear that it is drained
    print("has written", file=sys.stderr, flush=True)

@fl.job_type("leave", dedup_window=0, timeout=0.5, max_retries=0)
async def leave(ctx, fifo: str) -> None:
    await asyncio.to_thread(open, fifo)

@fl.job_type("wait", dedup_window=0)
def wait(ctx, fifo: str) -> str:
    print("waiting", file=sys.stderr, flush=True)
    with open(fifo) as line:
        return line.read()

@fl.job_type("deaf", dedup_window=0, timeout=0.05, max_retries=0)
def deaf(ctx) -> None:
    threading.Event().wait()

@fl.job_type("swallow", dedup_window=0, timeout=0.05, max_retries=0)
async def swallow(ctx) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

@fl.job_type("stuck", queue="stuck", dedup_window=0, timeout=0.05)
async def stuck(ctx) -> None:
    print("stuck", file=sys.stderr, flush=True)
    threading.Event().wait()

# A pipe that is full: a thread that writes waits, and so do all others that would.
class Full(logging.Handler):
    def emit(self, record):
        threading.Event().wait()

@fl.job_type("wordy", queue="stuck", dedup_window=0, timeout=0.05)
async def wordy(ctx) -> None:
    logging.getLogger().addHandler(Full())
    logging.getLogger("wordy").warning("too much")
"""


Start = Callable[..., Program]


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The database, SQLite unless a test asks for both kinds: to what the processes do it makes no difference."""
    kind = getattr(request, "param", "sqlite_url")
    found: str = request.getfixturevalue(kind)
    return found


@pytest.fixture
def fl(url: str) -> Iterator[Fairlane]:
    """Yield an engine without handlers, like any process that submits."""
    with Fairlane(url) as made:
        made.organizations.create("acme")
        yield made


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Start]:
    """Start workers of the module `handlers`; end them after the test."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    started: list[Program] = []

    def begin(*arguments: str, **environment: str) -> Program:
        started.append(Program(tmp_path, url, "worker", *arguments, **environment))
        return started[-1]

    yield begin
    for program in started:
        with program:
            """Its end."""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Make the pipe at which a job of type wait waits until the test writes."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("url", ["sqlite_url", "postgres_url"], indirect=True)
def test_a_job_submitted_elsewhere_runs(start: Start, fl: Fairlane, tmp_path: Path, url: str) -> None:
    worker = start("--name", "one")
    worker.line("Worker one serves all queues with 100 slots")

    submit = [sys.executable, "-m", "fairlane", "jobs", "submit", "greet", "-o", "acme", "-p", "name=Bo", "--wait"]
    ended = subprocess.run(
        submit, cwd=tmp_path, env=os.environ | {"FAIRLANE_URL": url}, check=False, capture_output=True, text=True
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(r"Job (\S+) is queued\.\nJob \1 is completed\.\n", ended.stdout)
    (job,) = fl.list(organization="acme").items
    assert fl.result(job.id, organization="acme").value == "Hello, Bo!"
    worker.line(f"greet {job.id} of acme: completed")
    assert "\x1b" not in "".join(worker.seen)


def test_sigterm_lets_running_jobs_finish(start: Start, fl: Fairlane, fifo: Path) -> None:
    worker = start()
    worker.line(SERVES)
    job = fl.submit("wait", organization="acme", parameters={"fifo": str(fifo)})
    worker.line("waiting")

    worker.send(signal.SIGTERM)
    worker.line("claims no more; unfinished jobs: 1, with 30 s to end")
    fifo.write_text("done")

    assert worker.end() == 0
    assert fl.get(job.id, organization="acme").status is JobStatus.COMPLETED


def test_a_signal_that_comes_when_it_has_signed_off_is_no_failure(start: Start, fl: Fairlane) -> None:
    worker = start(LINGERS="python")
    worker.line(SERVES)
    worker.send(signal.SIGTERM)
    worker.line("lingers")
    assert fl.reads.workers() == ()
    worker.send(signal.SIGTERM)
    assert worker.end() == 0


def test_a_signal_that_comes_when_python_takes_itself_down_is_no_failure(start: Start) -> None:
    worker = start(FADES="1")
    worker.line(SERVES)
    worker.send(signal.SIGTERM)
    worker.line("fades")
    worker.send(signal.SIGTERM)
    assert worker.end() == 0


def test_a_second_signal_gives_running_jobs_back(start: Start, fl: Fairlane, fifo: Path) -> None:
    worker = start(FAIRLANE_STOP_GRACE="0.1")
    worker.line(SERVES)
    job = fl.submit("wait", organization="acme", parameters={"fifo": str(fifo)})
    worker.line("waiting")

    worker.send(signal.SIGINT)
    worker.line("claims no more")
    worker.send(signal.SIGINT)

    worker.line("has stopped; jobs given back unfinished: 1")
    assert worker.end() == 0
    assert fl.get(job.id, organization="acme").status is JobStatus.QUEUED


def test_a_worker_with_too_many_deaf_handlers_asks_to_be_replaced(start: Start, fl: Fairlane) -> None:
    worker = start("--concurrency", "1", FAIRLANE_STOP_GRACE="0.1")
    worker.line(SERVES)
    fl.submit("deaf", organization="acme")

    assert worker.end() == EXIT_REPLACE
    assert any("leaves" in line for line in worker.seen), "what the application registered for the end is not run"


@pytest.mark.parametrize("job_type", ["deaf", "swallow"])
def test_a_worker_that_is_replaced_does_not_wait_for_what_never_ends(start: Start, fl: Fairlane, job_type: str) -> None:
    """It stayed where the handler's own process, or a thread of it, was waited for as it ended."""
    worker = start("--concurrency", "1", FAIRLANE_STOP_GRACE="0.1", LINGERS="native")
    worker.line(SERVES)
    fl.submit(job_type, organization="acme")

    worker.line("lingers")
    assert worker.end() == EXIT_REPLACE


def test_a_drained_worker_waits_for_what_the_application_began(start: Start, fl: Fairlane) -> None:
    """The process ended amid the work of the application's own threads, though no handler was left behind."""
    worker = start(FAIRLANE_LEASE="1")
    worker.line(SERVES)
    job = fl.submit("write", organization="acme")
    assert fl.wait(job.id, organization="acme").status is JobStatus.COMPLETED
    fl.workers.drain(fl.workers.list()[0].id)

    worker.line("has written")
    assert worker.end() == EXIT_REPLACE


def test_a_drained_worker_waits_no_longer_than_its_grace(start: Start, fl: Fairlane, fifo: Path) -> None:
    """For a thread that a handler began, and that never ends, as `asyncio.to_thread` leaves one."""
    worker = start(FAIRLANE_LEASE="1", FAIRLANE_GRACE="0.5")
    worker.line(SERVES)
    job = fl.submit("leave", organization="acme", parameters={"fifo": str(fifo)})
    assert fl.wait(job.id, organization="acme").status is JobStatus.DEAD_LETTER
    fl.workers.drain(fl.workers.list()[0].id)

    assert worker.end() == EXIT_REPLACE


def test_a_worker_with_a_validator_that_never_returns_asks_to_be_replaced(start: Start, fl: Fairlane) -> None:
    worker = start("--concurrency", "1", VALUE_LIMIT="0.5")
    worker.line(SERVES)
    job = fl.submit("validate", organization="acme", parameters={"text": "x" * 20_000})

    assert worker.end() == EXIT_REPLACE
    assert (fl.get(job.id, organization="acme").error_message or "").startswith(
        "its parameters were still being decoded"
    )


def test_a_worker_with_a_validator_that_never_returns_ends_at_a_signal(start: Start, fl: Fairlane) -> None:
    worker = start(FAIRLANE_STOP_GRACE="0.1", FAIRLANE_GRACE="0.1")
    worker.line(SERVES)
    job = fl.submit("validate", organization="acme", parameters={"text": "x" * 20_000})
    worker.line("validates")
    worker.send(signal.SIGTERM)

    assert worker.end() == 0
    assert fl.get(job.id, organization="acme").status is JobStatus.QUEUED


def test_a_worker_whose_loop_never_turns_again_ends_and_another_runs_its_jobs(
    start: Start, fl: Fairlane, fifo: Path
) -> None:
    options = {"FAIRLANE_LEASE": "1", "FAIRLANE_STOP_GRACE": "0.1"}
    worker = start(**options)
    worker.line(SERVES)
    job = fl.submit("wait", organization="acme", parameters={"fifo": str(fifo)})
    worker.line("waiting")
    fl.submit("stuck", organization="acme")
    worker.line("stuck")
    worker.send(signal.SIGTERM)  # which it can't hear

    worker.line("the event loop is blocked since .* Other workers get its jobs")
    assert worker.end() == EXIT_REPLACE
    other = start("--queue", "default", **options)
    other.line("waiting")
    fifo.write_text("done")
    assert fl.wait(job.id, organization="acme", timeout=PATIENCE).status is JobStatus.COMPLETED


def test_a_worker_whose_loop_waits_for_ever_for_whom_takes_its_log_lines_ends_as_well(
    start: Start, fl: Fairlane
) -> None:
    worker = start(FAIRLANE_LEASE="1", FAIRLANE_STOP_GRACE="0.1")
    worker.line(SERVES)
    fl.submit("wordy", organization="acme")
    worker.line("too much")

    assert worker.end() == EXIT_REPLACE


class TestProcesses:
    """`--processes 2`."""

    def test_they_stop_with_the_supervisor(self, start: Start, fl: Fairlane) -> None:
        supervisor = start("--processes", "2", "--name", "twin")
        found = [supervisor.line(r"Worker (twin-\d):(\d+) serves").groups() for _ in range(2)]
        assert {name for name, _ in found} == {"twin-1", "twin-2"}
        assert len({pid for _, pid in found} | {str(supervisor.pid)}) == 3

        supervisor.send(signal.SIGTERM)

        assert supervisor.end() == 0
        assert sum("has stopped" in line for line in supervisor.seen) == 2

    def test_one_that_is_killed_is_replaced(self, start: Start, fl: Fairlane) -> None:
        supervisor = start("--processes", "2")
        first, second = (int(supervisor.line(SERVES).group(1)) for _ in range(2))

        os.kill(first, signal.SIGKILL)

        supervisor.line(f"Worker process {first} was killed by SIGKILL; another one starts in 1 s")
        assert int(supervisor.line(SERVES).group(1)) not in (first, second, supervisor.pid)
        supervisor.send(signal.SIGINT)
        assert supervisor.end() == 0

    def test_they_do_not_outlive_a_killed_supervisor(self, start: Start, fl: Fairlane) -> None:
        supervisor = start("--processes", "2")
        for _ in range(2):
            supervisor.line(SERVES)

        supervisor.send(signal.SIGKILL)

        assert supervisor.end() == -signal.SIGKILL
        assert sum("has stopped" in line for line in supervisor.seen) == 2


def test_several_processes_on_a_terminal_write_lines_instead_of_over_each_other(start: Start, fl: Fairlane) -> None:
    workers = start("--processes", "2", "--name", "w", FORCE_COLOR="1")  # to rich it is a terminal
    workers.line(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ INFO +Worker w-\d:\d+ serves")
    workers.line(r"Worker w-\d:\d+ serves")
    workers.send(signal.SIGTERM)
    workers.end()
    assert "\x1b" not in "".join(workers.seen)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_each_log_line_is_an_object_of_json_with_the_fields_of_its_job(
    fl: Fairlane, start: Start, processes: str
) -> None:
    worker = start("--log-format", "json", "--processes", processes)
    worker.line("serves")
    jobs = [fl.submit(name, organization="acme", parameters={"words": "ink low"}) for name in ("say", "say.apart")]
    for job in jobs:
        fl.wait(job, organization="acme", timeout=PATIENCE)
    worker.send(signal.SIGTERM)
    assert worker.end() == 0
    lines = [json.loads(line) for line in worker.seen if line != "leaves\n"]  # the application prints that
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    told = {line["job_id"]: line for line in lines if line["message"] == "ink low"}
    assert {
        job_id: (line["logger"], line["organization"], line["job_type"], line["attempt"])
        for job_id, line in told.items()
    } == {str(job.id): ("shop", "acme", job.job_type, 1) for job in jobs}
    ended = [line["job_id"] for line in lines if ": completed" in line["message"]]
    assert sorted(ended) == sorted(told)
