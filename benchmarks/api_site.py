"""`fairlane serve` as a process of its own, with organizations, their users and their tokens."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.databases import facts
from benchmarks.machine import machine
from benchmarks.own_postgres import postgres_in
from fairlane import Fairlane, JobContext, Settings

JOB_TYPE: Final = "report"
_JOBS: Final = 200  # of each organization, so that its lists are full
_READY: Final = re.compile(r"^Serving .*?(http://[\w.:]+)/")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who sends requests: their organization, their token, and a job of theirs."""

    organization: str
    token: str
    job: str


@dataclass(frozen=True, slots=True)
class ApiSite:
    """The API that is served at `url`, with each organization's callers; `about`: what the figures are of."""

    url: str
    callers: dict[str, list[Caller]]
    about: dict[str, Any]


@contextmanager
def served(organizations: dict[str, int], *, postgres: bool, **settings: str) -> Iterator[ApiSite]:
    """Serve the API of a fresh database.

    Args:
        organizations: how many users each has.
        settings: the server's, as its environment has them.
    """
    with TemporaryDirectory(prefix="fairlane-api-") as folder:
        directory = Path(folder)
        directory.chmod(0o755)  # PostgreSQL runs as another user, where root starts it
        if not postgres:
            with _served(f"sqlite:///{directory / 'jobs.db'}", organizations, settings) as site:
                yield site
            return
        with postgres_in(directory) as url, _served(url, organizations, settings) as site:
            yield site


@contextmanager
def _served(url: str, organizations: dict[str, int], settings: dict[str, str]) -> Iterator[ApiSite]:
    with Fairlane(Settings(url=url, artifacts_url="memory:///")) as fl:
        fl.migrate()
        fl.job_type(JOB_TYPE, dedup_window=0)(_report)
        callers = {name: _callers(fl, name, users) for name, users in organizations.items()}
        about = {"machine": machine(), "database": facts(fl.database)}
    command = [sys.executable, "-m", "fairlane", "serve", "--url", url, "--port", "0"]
    with subprocess.Popen(command, env=os.environ | settings, stderr=subprocess.PIPE, text=True) as server:
        try:
            yield ApiSite(_address(server), callers, about)
        finally:
            server.terminate()


def _callers(fl: Fairlane, organization: str, users: int) -> list[Caller]:
    fl.organizations.create(organization)
    made = []
    for number in range(users):
        user = f"{organization}-{number}"
        fl.members.add(organization, user)
        token = fl.tokens.create(organization=organization, as_user=user, name="bench")[1]
        jobs = [fl.submit(JOB_TYPE, organization=organization, user=user) for _ in range(_JOBS // users)]
        made.append(Caller(organization, token, str(jobs[0].id)))
    return made


def _report(ctx: JobContext) -> None:
    """No worker runs: what is measured is the API."""


def _address(server: "subprocess.Popen[str]") -> str:
    assert server.stderr is not None
    for line in server.stderr:
        if found := _READY.match(line):
            return f"{found[1]}/api/v1"
    raise RuntimeError("`fairlane serve` ended before it served anything.")
