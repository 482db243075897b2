"""An engine for tests: quick to look, with one organization, and with a memory of its events to wait for."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

from fairlane import Directory, Fairlane, Job, JobContext, JobStatus, Settings
from fairlane.domain.events import Event, JobStarted
from fairlane.engine.worker import Worker
from fairlane.store.clock import Clock
from fairlane.testing import ManualClock
from tests.patience import PATIENCE

E = TypeVar("E", bound=Event)

QUICK: Mapping[str, Any] = {
    "artifacts_url": "memory:///",
    "poll_interval": 0.02,
    "stage_interval": 0.02,
    "watch_interval": 0.02,
    "cleanup_interval": 3600.0,
    "stop_grace": 2.0,
}


class Events:
    """A subscriber that remembers what it was told, and waits for more."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._news = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._news:
            self.all.append(event)
            self._news.notify_all()

    def of(self, kind: type[E], **attributes: object) -> list[E]:
        """The events of this kind and with these attributes so far."""
        return [
            event
            for event in list(self.all)
            if isinstance(event, kind) and all(getattr(event, name) == value for name, value in attributes.items())
        ]

    def wait(self, kind: type[E], *, times: int = 1, **attributes: object) -> E:
        """Wait for the event, or for the last of so many of them."""
        with self._news:
            came = self._news.wait_for(lambda: len(self.of(kind, **attributes)) >= times, PATIENCE)
        assert came, f"waited for {times} × {kind.__name__} {attributes}, there were only {self.all}"
        return self.of(kind, **attributes)[times - 1]


class Engine(Fairlane):
    """A `Fairlane` with short ways to say what tests say often; its organization is acme, ana is a member of it."""

    def __init__(
        self, url: str, *, directory: Directory | None = None, clock: Clock | None = None, **settings: Any
    ) -> None:
        self.events = Events()
        super().__init__(
            Settings(url=url, **{**QUICK, **settings}), directory=directory, clock=clock, subscribers=[self.events]
        )

    def give(self, job_type: str, **options: Any) -> Job:
        """Submit a job to acme."""
        return self.submit(job_type, **{"organization": "acme", **options})

    def look(self, job: Job) -> Job:
        """The job as it is now."""
        return self.get(job.id, organization=job.organization)

    def ended(self, job: Job) -> Job:
        """The job, once it has ended."""
        return self.wait(job.id, organization=job.organization, timeout=PATIENCE)

    def value(self, job: Job) -> Any:
        """Return the value that the job's handler returned."""
        return self.result(job.id, organization=job.organization).value

    def way(self, job: Job) -> list[JobStatus]:
        """The statuses that it went through."""
        return [entry.to_status for entry in self.history(job.id, organization=job.organization)]

    def reasons(self, job: Job) -> str:
        """The messages of its execution log, a line each."""
        return "\n".join(entry.message for entry in self.history(job.id, organization=job.organization))

    def drain(self, **options: Any) -> None:
        """Run a worker until there is nothing left to do."""
        self.worker(**options).drain()


@contextmanager
def engine(url: str, **options: Any) -> Iterator[Engine]:
    """An engine on a migrated database, or in memory, with the organization acme and its member ana."""
    with Engine(url, **options) as fl:
        if url == "sqlite://":
            fl.migrate()
        if "directory" not in options:
            fl.organizations.create("acme")
            fl.members.add("acme", "ana")
        yield fl


@contextmanager
def another(fl: Engine, **settings: Any) -> Iterator[Engine]:
    """A second engine on the same database, as another process would have it."""
    clock = fl.database.clock if isinstance(fl.database.clock, ManualClock) else None
    with Engine(fl.settings.url, clock=clock, **settings) as other:
        yield other


@contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    """The worker runs in a thread until the block ends; then whatever it runs is given no grace."""
    # What it raises fails the test: pytest makes a warning of it, and warnings are errors here.
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop(at_once=True)
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the worker did not end"


class Gate:
    """A gate that holds handlers until the test opens it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reached = threading.Event()

    def open(self) -> None:
        """Let them go on."""
        self._event.set()

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait in a thread."""
        self._reached.set()
        assert self._event.wait(seconds), "the gate was never opened"

    def reached(self) -> None:
        """Wait until a handler is at it, which is later than that its job has started."""
        assert self._reached.wait(PATIENCE), "no handler came to the gate"


class Hold:
    """Handlers that go on only when the test lets their jobs go, so that the test says how long each job runs."""

    def __init__(self) -> None:
        self._held: dict[UUID, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}
        self._ended: set[UUID] = set()

    def job_type(self, fl: Engine, name: str, **options: Any) -> None:
        """Make a job type with such a handler; in the end it says a line and returns a result."""

        @fl.job_type(name, dedup_window=0, **options)
        async def handler(ctx: JobContext) -> str:
            go_on = asyncio.Event()
            self._held[ctx.job_id] = asyncio.get_running_loop(), go_on
            await go_on.wait()
            ctx.log("all done")
            self._ended.add(ctx.job_id)
            return "done"

    def let_go(self, *jobs: Job) -> None:
        """Let the handlers of these jobs go on, once they run, and wait until they have ended."""
        ids = {job.id for job in jobs}
        until(lambda: ids <= self._held.keys())
        for loop, go_on in [self._held.pop(one) for one in ids]:
            loop.call_soon_threadsafe(go_on.set)
        until(lambda: ids <= self._ended)


def running_jobs(fl: Engine, *organizations: str) -> list[Job]:
    """The jobs of these organizations that run now."""
    return [job for name in organizations for job in fl.list(organization=name, status="running", limit=1000).items]


def running_by_organization(fl: Engine, *organizations: str) -> Counter[str]:
    """Count the running jobs of these organizations."""
    return Counter(job.organization for job in running_jobs(fl, *organizations))


def started(fl: Engine, job: Job, attempt: int = 1) -> None:
    """Wait until an attempt of the job has begun."""
    fl.events.wait(JobStarted, job_id=job.id, attempt=attempt)


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so in the database, where nothing tells of it."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < PATIENCE, "it never came to be"
        # Each look is a statement: the longer it has taken already, the less a moment matters.
        time.sleep(min(0.01 + waited / 20, 0.05))


def until_none(number: Callable[[], int]) -> None:
    """Wait until there is none left; give up once the number has not changed for as long as `until` waits."""
    left = number()
    while left:
        before = left
        until(lambda: number() != before)  # noqa: B023 - it is called at once
        left = number()
