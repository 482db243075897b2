"""Commands run in this process, by typer's CliRunner, on a migrated database: SQLite, or what a module says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Event
from typing import Any, Protocol

import pytest
import typer.testing
from typer.main import get_command
from typer.testing import CliRunner

from fairlane import Fairlane, Job, JobContext, PermanentError
from fairlane.cli.root import app
from fairlane.domain.breaker import Pair, opened
from fairlane.domain.events import WorkerStarted
from fairlane.domain.texts import time_of
from fairlane.store.statements import breakers
from tests.engine.worker_kit import running
from tests.patience import PATIENCE

# typer makes all commands anew for each run, from the signatures of their functions; a process needs them once.
_commands = cache(get_command)


class Outcome:
    """The output of a command."""

    def __init__(self, stdout: str, stderr: str) -> None:
        self.stdout = stdout
        self.stderr = stderr

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.stdout)


class Run(Protocol):
    """A function that runs a command and checks its exit code."""

    def __call__(self, *arguments: object, code: int = 0, answer: str | None = None) -> Outcome: ...


@pytest.fixture
def url(sqlite_url: str) -> str:
    """The database that commands work on; a module may have another."""
    return sqlite_url


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("FAIRLANE_APP", "FAIRLANE_ORGANIZATION", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAIRLANE_URL", url)
    monkeypatch.setattr(typer.testing, "_get_command", _commands)

    def call(*arguments: object, code: int = 0, answer: str | None = None) -> Outcome:
        result = CliRunner().invoke(app, [str(one) for one in arguments], input=answer, prog_name="fairlane")
        assert result.exit_code == code, result.output
        assert "\x1b" not in result.output
        return Outcome(result.stdout, result.stderr)

    return call


@pytest.fixture
def fl(url: str) -> Iterator[Fairlane]:
    """An application on the same database: organization acme with the member ana, job types greet and fail."""
    with Fairlane(url) as made:

        @made.job_type("greet", dedup_window=0)
        async def greet(ctx: JobContext, name: str = "World") -> str:
            ctx.log(f"greeting {name}")
            ctx.artifact("greeting.txt", name.encode())
            return f"Hello, {name}!"

        @made.job_type("fail", dedup_window=0)
        async def fail(ctx: JobContext) -> None:
            raise PermanentError("the file has no rows")

        made.migrate()
        made.organizations.create("acme", name="Acme")
        made.members.add("acme", "ana")
        yield made


@pytest.fixture
def resting(fl: Fairlane) -> str:
    """The breakers of greet and fail in acme are open; what is told of a job of fail, as no worker is alive either."""
    now = fl.database.read(fl.database.clock.now)
    breaker, other = (opened(Pair("acme", job_type), now) for job_type in ("fail", "greet"))
    fl.database.write(lambda connection: breakers.open_one(connection, breaker))
    fl.database.write(lambda connection: breakers.open_one(connection, other))
    return (
        f"Too much of fail failed in organization acme, so nothing of it starts until {time_of(breaker.until)}; "
        "then one job is on trial, and the others start once one has completed. "
        "An operator can let all start now: `fairlane types close-breaker fail -o acme`.\n"
        "No worker is alive. The team that runs Fairlane has to start one: `fairlane worker`.\n"
    )


@pytest.fixture
def dead(fl: Fairlane) -> Job:
    """A dead letter of acme."""
    job = fl.submit("fail", organization="acme", user="ana")
    fl.worker().drain()
    return fl.get(job.id, organization="acme")


@contextmanager
def running_worker(fl: Fairlane) -> Iterator[None]:
    """A worker of queue default that has one handler, of no use."""
    started = Event()

    @fl.job_type("useless")
    async def useless(ctx: JobContext) -> None: ...

    with running(fl.worker(subscribers=[lambda event: started.set() if isinstance(event, WorkerStarted) else None])):
        assert started.wait(PATIENCE)
        yield
