"""A worker with nothing to do waits, and asks the database no more than it has to."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine as SomeEngine
from sqlalchemy import event

from fairlane.runtime import service, shift
from fairlane.runtime.watch import Watch
from tests.runtime.worker_kit import engine
from tests.runtime.worker_store import nothing

ROUNDS = 5
SERVICES = ("scheduler", "bulk actions", "stage", "watch", "rescue", "cleanup", "breakers")


class Waits:
    """Records each wait of the worker's loops, and ends it at once."""

    def __init__(self) -> None:
        self.of_claims: list[float] = []
        self.of_services: list[float] = []
        self.statements: list[int] = []  # between two waits of the claim loop
        self.services_are_at_rest = asyncio.Event()
        self.enough = asyncio.Event()
        self._count = 0

    def on_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        """Count a statement of whatever engine: a worker has one of its own. The heartbeat keeps its own rhythm."""
        self._count += statement != "BEGIN" and not statement.startswith(
            ("UPDATE fairlane_w", "INSERT INTO fairlane_w")
        )

    async def claims_wait(self, stopping: asyncio.Event, seconds: float) -> bool:
        await self.services_are_at_rest.wait()
        self.of_claims.append(seconds)
        self.statements.append(self._count)
        self._count = 0
        if len(self.of_claims) >= ROUNDS:
            self.enough.set()
            await stopping.wait()
        return stopping.is_set()

    async def services_wait(self, ended: asyncio.Event, seconds: float) -> bool:
        self.of_services.append(seconds)
        if len(self.of_services) == len(SERVICES):
            self.services_are_at_rest.set()
        return await ended.wait()


async def test_an_idle_worker_waits_between_its_rounds(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(database_url, poll_interval=0.2) as fl:
        nothing(fl)
        waits = Waits()
        event.listen(SomeEngine, "before_cursor_execute", waits.on_statement)
        monkeypatch.setattr(shift, "wait_until", waits.claims_wait)
        monkeypatch.setattr(service, "wait_until", waits.services_wait)
        worker = fl.worker()
        task = asyncio.create_task(worker.run_async())
        await waits.enough.wait()
        worker.stop()
        await task
        event.remove(SomeEngine, "before_cursor_execute", waits.on_statement)
        assert waits.of_claims[:ROUNDS] == [0.2] * ROUNDS
        assert all(seconds > 0 for seconds in waits.of_services)
        # Which lanes have something to claim.
        assert waits.statements[1:ROUNDS] == [1] * (ROUNDS - 1)


async def test_nothing_is_asked_about_running_jobs_while_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with engine("sqlite://") as fl:
        nobody: Any = SimpleNamespace(leases=frozenset)
        watch = Watch(fl.database, nobody, nobody, asyncio.get_running_loop(), interval=1.0)
        monkeypatch.setattr(fl.database, "read", None)  # would fail if it were called
        assert watch.run_once() == 0
