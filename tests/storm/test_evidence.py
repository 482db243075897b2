"""Evidence from the database after a storm: jobs that were taken from workers, and writes of foreign attempts."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Executable, Table, delete, insert, select, update

from fairlane import JobContext, TransientError, new_id
from fairlane.domain.statuses import JobStatus
from fairlane.store.row_security import EVERYONE
from fairlane.store.tables import artifacts, checkpoints, ended, execution_log, live, log_lines, progress
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, engine
from tests.engine.worker_store import LEASE, later, member, nothing
from tests.storm import evidence, handlers, ledger
from tests.storm.clocks import Clocks

LEAVING = {log_lines: "report", progress: "report", artifacts: "file"}


class TestLosses:
    """Losses in the engine's log of a job whose workers fall silent."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def fl(self, database_url: str, clock: ManualClock) -> Iterator[Engine]:
        with engine(database_url, clock=clock) as fl:
            nothing(fl)
            yield fl

    def test_each_is_told_with_its_worker_and_from_when_to_when_that_had_the_job(
        self, fl: Engine, clock: ManualClock
    ) -> None:
        survivor = member(fl, "survivor")
        survivor.is_steady()
        job, other = fl.give("work"), fl.give("work", delay=3600)
        for name in ("first", "second", "third"):
            member(fl, name).claim()
            later(clock, LEASE + 0.1, survivor)
            survivor.rescue.run_once()
        found = evidence.stored(fl, Clocks())
        losses = found[str(job.id)].losses
        assert [(one.attempt, one.worker) for one in losses] == [(1, "first"), (2, "second"), (3, "third")]
        assert all(one.ended - one.began == pytest.approx(LEASE + 0.1) for one in losses)
        assert found[str(job.id)].is_blamed
        assert (found[str(other.id)].losses, found[str(other.id)].is_blamed) == ((), False)

    def test_what_the_rows_say_is_found_out_when_the_transaction_is_over(
        self, fl: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a million jobs that took longer than a transaction may pause: a storm of two hours had no verdict."""
        fl.give("work")
        read, reading, found_out = fl.database.read, list[object](), list[int]()

        def noted(work: Callable[[Connection], Any], **options: Any) -> Any:
            reading.append(work)
            try:
                return read(work, **options)
            finally:
                reading.remove(work)

        monkeypatch.setattr(fl.database, "read", noted)

        def of_result(value: str | None) -> tuple[int | None, str | None]:
            found_out.append(len(reading))
            return None, value

        monkeypatch.setattr(evidence, "_of_result", of_result)
        assert len(evidence.stored(fl, Clocks())) == 1
        assert found_out == [0]


class TestWrites:
    """A job that leaves something, which has ended."""

    @pytest.fixture
    def fl(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
        monkeypatch.setattr(ledger, "write", lambda *_, **__: None)
        with engine(database_url) as fl:
            handlers.register(fl)
            yield fl

    def done(self, fl: Engine, way: str) -> UUID:
        job = fl.give(handlers.IN_LOOP, parameters={"seconds": 0.0, "way": way, "own": ""})
        fl.drain()
        assert fl.look(job).status is JobStatus.COMPLETED
        return job.id

    def change(self, fl: Engine, statement: Executable) -> None:
        fl.database.write(lambda connection: connection.execute(statement), of=EVERYONE)

    def findings(self, fl: Engine) -> list[str]:
        return [one.job for one in evidence.foreign_writes(fl)]

    @pytest.mark.parametrize("table", LEAVING, ids=str)
    def test_of_its_last_attempt_are_in_order(self, fl: Engine, table: Table) -> None:
        job = self.done(fl, LEAVING[table])
        assert fl.database.read(lambda c: c.scalars(select(table.c.job_id)).all(), of=EVERYONE) == [job]
        assert self.findings(fl) == []

    @pytest.mark.parametrize("table", [log_lines, progress], ids=str)
    def test_that_say_they_are_another_attempts_are_told(self, fl: Engine, table: Table) -> None:
        job = self.done(fl, "report")
        self.change(fl, update(table).values(message="7"))
        assert self.findings(fl) == [str(job)]

    @pytest.mark.parametrize("table", [log_lines, progress], ids=str)
    def test_after_the_end_are_told(self, fl: Engine, table: Table) -> None:
        job = self.done(fl, "report")
        self.change(fl, update(table).values(at=datetime.now(UTC) + timedelta(seconds=10)))
        assert self.findings(fl) == [str(job)]

    def test_of_a_file_by_another_attempt_are_told(self, fl: Engine) -> None:
        job = self.done(fl, "file")
        self.change(fl, update(artifacts).values(sha256="0" * 64))
        assert self.findings(fl) == [str(job)]

    def test_of_a_file_are_told_by_what_is_in_it_and_a_file_that_is_gone_is_lost(self, fl: Engine) -> None:
        job = self.done(fl, "file")
        path = fl.database.read(lambda c: c.scalars(select(artifacts.c.path)).one(), of=EVERYONE)
        fl.artifacts.put(path, b"7")
        assert self.findings(fl) == [str(job)]
        assert evidence.lost_outputs(fl) == []
        fl.artifacts.delete(path)
        assert self.findings(fl) == []
        assert [(one.what, one.job) for one in evidence.lost_outputs(fl)] == [("lost", str(job))]

    @pytest.mark.parametrize("table", LEAVING, ids=str)
    def test_that_are_gone_are_lost(self, fl: Engine, table: Table) -> None:
        job = self.done(fl, LEAVING[table])
        self.done(fl, "plain")
        assert evidence.lost_outputs(fl) == []
        self.change(fl, delete(table))
        assert [(one.what, one.job) for one in evidence.lost_outputs(fl)] == [("lost", str(job))]

    @pytest.mark.parametrize("table", [log_lines, progress], ids=str)
    def test_of_an_earlier_attempt_alone_are_lost(self, fl: Engine, table: Table) -> None:
        job = self.done(fl, "report")
        self.change(fl, update(table).values(attempt=0))
        assert [one.job for one in evidence.lost_outputs(fl)] == [str(job)]

    def test_of_a_checkpoint_after_the_end_are_told(self, fl: Engine) -> None:
        job = self.done(fl, "checkpoint")
        assert self.findings(fl) == []
        late = {"organization_id": "acme", "job_id": job, "attempt": 1, "state": "1", "at": datetime.now(UTC)}
        self.change(fl, insert(checkpoints).values(late))
        assert self.findings(fl) == [str(job)]


class TestPlaces:
    """A job that waits, beside one that has ended."""

    @pytest.fixture
    def fl(self, database_url: str) -> Iterator[Engine]:
        with engine(database_url) as fl:
            nothing(fl)
            fl.give("work")
            fl.drain()
            fl.give("work", delay=3600)
            yield fl

    def found(self, fl: Engine, statement: Executable) -> list[str]:
        fl.database.write(lambda connection: connection.execute(statement), of=EVERYONE)
        return [one.why for one in evidence.misplaced(fl)]

    def test_of_jobs_that_only_the_engine_wrote_to_are_in_order(self, fl: Engine) -> None:
        assert list(evidence.misplaced(fl)) == []

    @pytest.mark.parametrize("table", [live, ended], ids=str)
    def test_that_are_none_are_told(self, fl: Engine, table: Table) -> None:
        assert self.found(fl, delete(table)) == ["stands 0 times among live and ended jobs"]

    def test_that_are_two_are_told(self, fl: Engine) -> None:
        other = update(live).values(id=select(ended.c.id).scalar_subquery())
        told = [f"stands {number} times among live and ended jobs" for number in (0, 2)]
        assert sorted(self.found(fl, other)) == told

    def test_without_a_job_are_told(self, fl: Engine) -> None:
        other = update(ended).values(id=new_id())
        assert self.found(fl, other)[1:] == ["has a state, and no facts"]


class TestSteps:
    """The log of a job that failed once and completed, beside one that waits."""

    @pytest.fixture
    def fl(self, database_url: str) -> Iterator[Engine]:
        with engine(database_url) as fl:

            @fl.job_type("work", backoff=[0.0])
            def work(ctx: JobContext) -> None:
                if ctx.attempt == 1:
                    raise TransientError("as planned")

            job = fl.give("work")
            while fl.look(job).status is not JobStatus.COMPLETED:
                fl.drain()
            fl.give("work", delay=3600)
            yield fl

    def found(self, fl: Engine, statement: Executable | None = None) -> int:
        if statement is not None:
            fl.database.write(lambda connection: connection.execute(statement), of=EVERYONE)
        return len(evidence.illegal_steps(fl))

    def test_of_jobs_that_only_the_engine_wrote_to_are_legal(self, fl: Engine) -> None:
        assert self.found(fl) == 0

    @pytest.mark.parametrize("change", [{"sequence": 9}, {"from_status": "queued"}, {"attempt": 0}], ids=str)
    def test_that_do_not_follow_from_the_last_are_told(self, fl: Engine, change: dict[str, Any]) -> None:
        last = execution_log.c.to_status == JobStatus.COMPLETED
        assert self.found(fl, update(execution_log).where(last).values(change)) >= 1

    def test_that_end_an_attempt_twice_are_told(self, fl: Engine) -> None:
        columns = [one for one in execution_log.c if one.name not in {"id", "sequence"}]
        again = select(execution_log.c.sequence + 1, *columns).where(execution_log.c.to_status == JobStatus.COMPLETED)
        names = ["sequence", *(one.name for one in columns)]
        assert self.found(fl, insert(execution_log).from_select(names, again)) == 1

    @pytest.mark.parametrize("change", [{"status": JobStatus.CANCELED}, {"attempt": 7}], ids=str)
    def test_that_do_not_lead_to_the_row_are_told(self, fl: Engine, change: dict[str, Any]) -> None:
        assert self.found(fl, update(ended).values(change)) == 1

    def test_of_a_job_are_never_none(self, fl: Engine) -> None:
        assert self.found(fl, delete(execution_log).where(execution_log.c.attempt == 0)) >= 1


def test_the_log_says_how_many_ran_at_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "write", lambda *_, **__: None)
    with engine(database_url) as fl:
        handlers.register(fl)
        for _ in range(3):
            fl.give(handlers.LIMITED, parameters={"seconds": 0.0, "way": "plain", "own": ""}, dedup_window=0)
        fl.give(handlers.IN_LOOP, parameters={"seconds": 0.0, "way": "plain", "own": ""})
        fl.drain()
        runs = evidence.runs(fl, handlers.LIMITED, Clocks())
    assert len(runs) == 3
    assert all(began <= ended for began, ended in runs)
