"""The way of a job through the code: how many files it takes, and that a reader finds it in nine of them."""

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

import fairlane
from fairlane import Fairlane, JobContext, JobStatus, PermanentError, Settings
from tests.engine.sealed_engine import FIRST
from tests.patience import PATIENCE

SRC: Final = Path(fairlane.__file__).parent
PAGE: Final = SRC.parents[1] / "docs" / "architecture.md"
# It takes 49 on SQLite and 46 on PostgreSQL, and two more on a busy machine, where looks are bounded in time.
FILES: Final = {"sqlite": 51, "postgresql": 48}
# What goes by its own clock may have its turn while a job runs, and is not on the job's way.
UPKEEP: Final = {
    *("engine/loop_watch.py", "engine/breakers.py", "domain/breaker.py"),
    "store/statements/outcomes.py",
}
INTERVALS: Final = ("poll_interval", "stage_interval", "watch_interval", "cleanup_interval", "lease")
IDLE: Final = 3600.0  # seconds, in which nothing else looks at the database


class Trace:
    """The files of Fairlane's whose functions are called while it is on, call by call."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.in_threads: set[str] = set()  # files of which something was called in a thread of a worker
        self.is_on = False

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if self.is_on and event == "call":
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(SRC):
                self.files.append(path.relative_to(SRC).as_posix())
                if threading.current_thread().name.startswith("fairlane-database"):
                    self.in_threads.add(self.files[-1])


@pytest.fixture
def trace() -> Iterator[Trace]:
    trace = Trace()
    threading.setprofile(trace)
    yield trace
    threading.setprofile(None)


@pytest.fixture
def fl(database_url: str, trace: Trace) -> Iterator[Fairlane]:
    with served(database_url) as fl:
        yield fl


@contextmanager
def served(url: str, **settings: Any) -> Iterator[Fairlane]:
    """Have a worker that looks at the database only when it is told to."""
    idle: dict[str, Any] = dict.fromkeys(INTERVALS, IDLE)
    with Fairlane(Settings(url=url, artifacts_url="memory:///", **idle, **settings)) as fl:
        fl.organizations.create("acme")

        @fl.job_type("work", dedup_window=0, max_retries=0)
        async def work(ctx: JobContext, fails: bool) -> None:
            if fails:
                raise PermanentError("as it was asked to")

        worker = fl.worker()
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield fl
        finally:
            worker.stop(at_once=True)
            thread.join(PATIENCE)


@contextmanager
def profiled(trace: Trace) -> Iterator[None]:
    """Trace this thread, too."""
    trace.files, trace.in_threads, trace.is_on = [], set(), True
    sys.setprofile(trace)
    try:
        yield
    finally:
        sys.setprofile(None)


def way(fl: Fairlane, trace: Trace, *, fails: bool = False, submitter: Fairlane | None = None) -> list[str]:
    """Submit a job, see it ended, and return the files on its way, call by call."""
    with profiled(trace):
        job = (submitter or fl).submit("work", organization="acme", parameters={"fails": fails})
    ended = fl.wait(job.id, organization="acme", timeout=PATIENCE)
    trace.is_on = False
    assert ended.status is (JobStatus.DEAD_LETTER if fails else JobStatus.COMPLETED)
    return [file for file in trace.files if file not in UPKEEP]


@pytest.mark.slow
def test_a_plain_job_takes_few_files(fl: Fairlane, trace: Trace) -> None:
    way(fl, trace)  # sets up what the others find
    files = set.intersection(*[set(way(fl, trace)) for _ in range(5)])
    assert len(files) <= FILES[fl.database.engine.dialect.name], f"{len(files)} files: {', '.join(sorted(files))}"


@pytest.mark.parametrize("has_key", [pytest.param(False, marks=pytest.mark.slow), True])
def test_claim_begin_and_end_take_no_thread_on_postgresql_also_where_no_answer_about_keys_is_kept(
    postgres_url: str, trace: Trace, has_key: bool
) -> None:
    with served(postgres_url, encryption_keys=FIRST) as fl, Fairlane(fl.settings) as other:
        if has_key:
            fl.keys.enable(organization="acme")
        way(fl, trace)  # registers the type, and makes the connections
        fl.keyring.forget("acme")
        way(fl, trace, submitter=other)
        assert trace.in_threads.isdisjoint(
            {"engine/claiming.py", "engine/start_checks.py", "store/statements/finish.py"}
        )


def test_the_nine_files_of_the_architecture_page_are_the_way_of_a_job_in_their_order_and_the_rescue(
    fl: Fairlane, trace: Trace
) -> None:
    chapter = PAGE.read_text().partition("## Read these nine files first")[2].partition("\n## ")[0]
    nine = re.findall(r"^\d\. .*?\(\.\./src/fairlane/(\S+\.py)\)", chapter, re.MULTILINE)
    assert len(nine) == 9
    way(fl, trace)
    calls = iter(way(fl, trace, fails=True))
    missed = [file for file in nine if file not in calls]  # which goes on from the last one that was found
    assert missed == ["engine/rescue.py"]  # which no job needs whose worker lives
