"""No artifact's file is forgotten in the storage, whatever crashes, and none that a job has is deleted."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import obstore
import pytest
from sqlalchemy import Connection, func, insert, select

from fairlane import Job, JobContext, JobStatus, PermanentError, TransientError
from fairlane.domain.events import WorkerStopping
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.engine import cleanup
from fairlane.store.statements import attempts, doomed_files
from fairlane.store.tables import artifacts
from fairlane.store.tables import doomed_files as doomed_table
from fairlane.testing import ManualClock
from tests.engine.test_worker_cleanup import clean
from tests.engine.worker_kit import Engine, Gate, engine, running, until

DAY = 86_400.0
GRACE = doomed_files.GRACE.total_seconds()
SOON = timedelta(minutes=11).total_seconds()  # then another cleaner may take what one has taken


class Crash(BaseException):
    """The process is gone."""


def files(fl: Engine) -> list[bytes]:
    """Return the content of the storage."""
    return sorted(fl.artifacts.get(file["path"]) for page in obstore.list(fl.artifacts._store) for file in page)


def doomed(fl: Engine) -> int:
    """Return how many files are written down to be deleted."""
    return fl.database.read(lambda c: c.execute(select(func.count()).select_from(doomed_table)).scalar_one())


def keep(ctx: JobContext, *texts: str) -> None:
    """Give the job its file, again and again; one that the storage or the database refuses came to nothing."""
    for text in texts:
        with suppress(PermanentError):
            ctx.artifact("a.txt", text)


class TestStoring:
    @pytest.fixture
    def fl(self, database_url: str, clock: ManualClock) -> Iterator[Engine]:
        with engine(database_url, clock=clock, lease=DAY) as fl:
            yield fl

    def test_a_stored_file_is_its_job_s(self, fl: Engine, clock: ManualClock) -> None:
        fl.job_type("keep")(lambda ctx: keep(ctx, "data"))
        job = fl.give("keep")
        fl.drain()
        clock.advance(DAY)
        assert (clean(fl), doomed(fl)) == (0, 0)
        assert fl.artifact(job.id, "a.txt", organization="acme") == b"data"

    def test_a_job_may_leave_a_thousand_files(self, fl: Engine, clock: ManualClock) -> None:
        seen: list[str] = []

        @fl.job_type("keep")
        def handler(ctx: JobContext) -> None:
            left(fl, ctx.job_id, 999)
            for name in ("last.txt", "more.txt", "last.txt"):
                try:
                    ctx.artifact(name, "data")
                except PermanentError as error:
                    seen.append(str(error))
            if ctx.attempt == 1:
                raise TransientError("once more")

        job = fl.give("keep", max_retries=1)
        fl.drain()
        clock.advance(3600)
        fl.drain()
        assert len(fl.list_artifacts(job.id, organization="acme").artifacts) == 1_000
        assert len(seen) == 2
        assert seen[0] == seen[1]
        assert "1,000 files" in seen[0]

    def test_a_job_is_told_of_ten_thousand_files_of_its_parents(self, fl: Engine) -> None:
        fl.job_type("keep", max_retries=0)(lambda ctx: None)
        fl.job_type("count", max_retries=0)(lambda ctx: len(ctx.parents[0].artifacts))
        parent = fl.give("keep")
        fl.drain()
        left(fl, parent.id, 10_000)
        told = fl.give("count", depends_on=[parent])
        fl.drain()
        assert fl.value(told) == 10_000
        left(fl, parent.id, 10_001)
        refused = fl.give("count", depends_on=[parent])
        fl.drain()
        assert fl.get(refused.id, organization="acme").status is JobStatus.DEAD_LETTER
        assert "more than 10,000 files" in str(fl.explain(refused.id, organization="acme"))

    @pytest.mark.parametrize("point", ["before the upload", "after the upload", "at the row"])
    def test_a_file_that_came_to_nothing_goes_once_its_attempt_is_over(
        self, fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, point: str
    ) -> None:
        gate = Gate()

        @fl.job_type("keep")
        def handler(ctx: JobContext) -> None:
            keep(ctx, "data")
            gate.wait()

        break_at(monkeypatch, point)
        job = fl.give("keep")
        with running(fl.worker()):
            gate.reached()
            left = [] if point == "before the upload" else [b"data"]
            assert (files(fl), doomed(fl)) == (left, 1)
            clock.advance(GRACE + 1)
            assert clean(fl) == 0, "its attempt may still be at it"
            assert files(fl) == left
            gate.open()
            fl.ended(job)
        clean(fl)  # or the worker has, whose first round of clean-up may come as late
        assert (files(fl), doomed(fl)) == ([], 0)

    @pytest.mark.slow
    def test_an_upload_that_outlives_its_attempt_has_a_grace(
        self, fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its worker has left, and another has the job by the time that the upload ends."""
        gate, put = Gate(), ObjectStorage.put
        fl.job_type("keep")(lambda ctx: keep(ctx, "late" if ctx.attempt == 1 else "second"))
        job = fl.give("keep")

        def slowly(*file: Any) -> None:
            if not fl.look(job).attempt > 1:
                gate.wait()
            put(*file)

        async def leave_at_once() -> None:
            run = asyncio.create_task(fl.worker().run_async())
            await asyncio.to_thread(gate.reached)
            run.cancel()
            await asyncio.to_thread(fl.events.wait, WorkerStopping)
            run.cancel()
            with suppress(asyncio.CancelledError):
                await run

        monkeypatch.setattr(ObjectStorage, "put", slowly)
        asyncio.run(leave_at_once())
        fl.drain()
        assert files(fl) == [b"second"]
        gate.open()
        until(lambda: len(files(fl)) == 2)
        clock.advance(GRACE - 1)
        assert clean(fl) == 0
        assert files(fl) == [b"late", b"second"]
        clock.advance(2)
        assert clean(fl) == 1
        assert files(fl) == [b"second"]

    def test_a_file_that_another_takes_the_place_of_goes(self, fl: Engine) -> None:
        fl.job_type("keep")(lambda ctx: keep(ctx, "first", "second", "third"))
        job = fl.give("keep")
        fl.drain()
        clean(fl)  # where the worker that ran the job has not
        assert (files(fl), doomed(fl)) == ([b"third"], 0)
        assert fl.artifact(job.id, "a.txt", organization="acme") == b"third"

    def test_a_failed_attempt_to_replace_a_file_leaves_the_earlier_one(
        self, fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        @fl.job_type("keep")
        def handler(ctx: JobContext) -> None:
            keep(ctx, "first")
            break_at(monkeypatch, "at the row")
            keep(ctx, "second")

        job = fl.give("keep")
        fl.drain()
        clock.advance(GRACE + 1)
        assert clean(fl) == 1
        assert files(fl) == [b"first"]
        assert fl.artifact(job.id, "a.txt", organization="acme") == b"first"


def break_at(patch: pytest.MonkeyPatch, point: str) -> None:
    put = ObjectStorage.put

    def breaks(*_: Any) -> None:
        raise PermanentError("no")

    def put_and_break(*args: Any) -> None:
        put(*args)
        breaks()

    match point:
        case "before the upload":
            patch.setattr(ObjectStorage, "put", breaks)
        case "after the upload":
            patch.setattr(ObjectStorage, "put", put_and_break)
        case _:
            patch.setattr(attempts, "set_artifact", breaks)


class TestDeleting:
    @pytest.fixture
    def fl(self, database_url: str, clock: ManualClock) -> Iterator[Engine]:
        with engine(database_url, clock=clock) as fl:

            @fl.job_type("report", dedup_window=0)
            async def report(ctx: JobContext, text: str) -> None:
                await ctx.artifact("a.txt", text)
                if text == "broken":
                    raise PermanentError("for good")

            yield fl

    def left(self, fl: Engine, text: str = "text") -> Job:
        """A job that left a file."""
        job = fl.give("report", parameters={"text": text})
        fl.drain()
        return job

    def test_a_deleted_dead_letter_s_file_goes_with_the_next_clean_up(self, fl: Engine) -> None:
        letter = self.left(fl, "broken")
        fl.dead_letters.delete(letter.id, organization="acme")
        assert files(fl) == [b"broken"]
        assert clean(fl) == 1
        assert (files(fl), doomed(fl)) == ([], 0)

    @pytest.mark.slow
    @pytest.mark.parametrize("point", ["before the file", "after the file"])
    @pytest.mark.parametrize("cause", ["retention", "delete"])
    def test_a_cleaner_that_crashes_leaves_no_file_behind(
        self, fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, cause: str, point: str
    ) -> None:
        job = self.left(fl)
        if cause == "retention":
            clock.advance(31 * DAY)
        else:
            fl.delete(job, organization="acme")
        with monkeypatch.context() as patch:
            if point == "before the file":
                patch.setattr(fl.artifacts, "delete", crash)
            else:
                patch.setattr(doomed_files, "forget", crash)
            with pytest.raises(Crash):
                clean(fl)
        assert fl.list(organization="acme").total == 0
        assert (len(files(fl)), doomed(fl)) == (1 if point == "before the file" else 0, 1)
        assert clean(fl) == 0, "another cleaner may still be at it"
        clock.advance(SOON)
        assert clean(fl) == 1
        assert (files(fl), doomed(fl)) == ([], 0)

    def test_a_file_that_can_not_be_deleted_keeps_no_other_and_is_tried_again_later_and_later(
        self, fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for text in ("bad", "good"):
            self.left(fl, text)
        clock.advance(31 * DAY)
        tried: list[bytes] = []
        with monkeypatch.context() as patch:
            patch.setattr(fl.artifacts, "delete", refuse_bad(fl, tried))
            with pytest.raises(PermissionError):
                clean(fl)
            assert (files(fl), sorted(tried), doomed(fl)) == ([b"bad"], [b"bad", b"good"], 1)
            for minutes in (5, 5, 10, 20):
                clock.advance(minutes * 60 - 1)
                assert clean(fl) == 0
                clock.advance(1)
                with pytest.raises(PermissionError):
                    clean(fl)
        clock.advance(DAY)
        assert clean(fl) == 1
        assert (files(fl), doomed(fl)) == ([], 0)

    @pytest.mark.slow
    def test_a_storage_that_is_away_is_not_asked_for_every_file(
        self, fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cleanup, "_MOST_REFUSALS", 2)
        for text in ("bad", "bad", "bad"):
            self.left(fl, text)
        clock.advance(31 * DAY)
        tried: list[bytes] = []
        with monkeypatch.context() as patch:
            patch.setattr(fl.artifacts, "delete", refuse_bad(fl, tried))
            with pytest.raises(PermissionError):
                clean(fl)
        assert len(tried) == 2
        clock.advance(SOON)
        assert clean(fl) == 3
        assert (files(fl), doomed(fl)) == ([], 0)


def left(fl: Engine, job_id: UUID, number: int) -> None:
    """Have so many files be the job's, of which the storage has none."""
    row = {"organization_id": "acme", "job_id": job_id, "path": "", "size": 0, "content_type": "text/plain"}
    rows = [{**row, "sha256": "0" * 64, "at": datetime.now(UTC), "name": f"{place}.txt"} for place in range(number)]

    def fill(connection: Connection) -> None:
        there = set(connection.execute(select(artifacts.c.name).where(artifacts.c.job_id == job_id)).scalars())
        if new := [row for row in rows if row["name"] not in there]:
            connection.execute(insert(artifacts), new)

    fl.database.write(fill)


def crash(*_: Any) -> None:
    raise Crash


def refuse_bad(fl: Engine, tried: list[bytes]) -> Callable[[str], None]:
    """A storage's delete that refuses files with the content `bad`."""
    delete = fl.artifacts.delete

    def refuse(path: str) -> None:
        tried.append(fl.artifacts.get(path))
        if tried[-1] == b"bad":
            raise PermissionError(path)
        delete(path)

    return refuse
