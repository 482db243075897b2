"""R11: what a handler says while it runs."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from fairlane import FairlaneError, Job, JobContext, PermanentError, StorageUnavailable
from fairlane.domain.events import JobProgressed
from fairlane.domain.statuses import OrganizationStatus
from fairlane.store.statements import organizations
from fairlane.store.tables import progress as progress_table
from tests.acceptance.apps import handlers
from tests.engine.worker_kit import Engine, Gate, engine, running, until


@pytest.fixture
def fl(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """Yield an engine with a progress interval longer than any test."""
    with engine(database_url, progress_interval=3600.0, artifacts_url=(tmp_path / "artifacts").as_uri()) as fl:
        yield fl


def writes(fl: Engine, job: Job) -> int:
    """Return how often the progress of a job was written."""
    mine = select(progress_table.c.sequence).where(
        progress_table.c.organization_id == "acme", progress_table.c.job_id == job.id
    )
    return fl.database.read(lambda connection: connection.scalars(mine).one_or_none()) or 0


def lines(fl: Engine, job: Job) -> list[tuple[int, str, str]]:
    return [(line.attempt, line.level, line.message) for line in fl.log_lines(job.id, organization="acme")]


@pytest.mark.parametrize("has_reported", [False, True])
def test_what_comes_after_the_attempt_is_refused(fl: Engine, *, has_reported: bool) -> None:
    contexts: list[JobContext] = []

    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        contexts.append(ctx)
        if has_reported:
            ctx.checkpoint("in time")

    job = fl.give("work")
    fl.drain()

    assert fl.look(job).status == "completed"
    with pytest.raises(FairlaneError, match=r"^This attempt is over; nothing more is kept for it\.$"):
        contexts[0].checkpoint("too late")


def test_the_first_progress_is_written_at_once_and_the_last_always(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        ctx.progress(1, "first")
        gate.wait()
        for percent in range(2, 100):
            ctx.progress(percent, "between")
        ctx.progress(100, "last")

    job = fl.give("work")
    assert fl.look(job).progress_at is None
    with running(fl.worker()):
        until(lambda: fl.look(job).progress_message == "first")
        first = fl.look(job)
        assert first.started_at is not None
        assert first.progress_at is not None
        assert first.progress_at >= first.started_at
        gate.open()
        assert fl.ended(job).status == "completed"
    assert (fl.look(job).progress, fl.look(job).progress_message) == (100.0, "last")
    assert writes(fl, job) == 2
    assert len(fl.events.of(JobProgressed, job_id=job.id)) == 100


def test_progress_in_between_is_written_when_its_time_has_come(database_url: str) -> None:
    with engine(database_url, progress_interval=0.1) as fl:
        first, second = Gate(), Gate()

        @fl.job_type("work")
        def work(ctx: JobContext) -> None:
            ctx.progress(1, "first")
            first.wait()
            ctx.progress(2, "second")
            second.wait()

        job = fl.give("work")
        with running(fl.worker()):
            until(lambda: fl.look(job).progress_message == "first")
            first.open()
            until(lambda: fl.look(job).progress_message == "second")
            second.open()
            fl.ended(job)
        assert writes(fl, job) == 2


def test_an_async_handler_may_await_its_progress_or_not(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None:
        ctx.progress(10)
        await ctx.progress(20, "awaited")

    job = fl.give("work")
    fl.drain()
    assert (fl.look(job).progress, fl.look(job).progress_message) == (20.0, "awaited")


def test_track_counts_for_the_handler(fl: Engine) -> None:
    @fl.job_type("work")
    def work(ctx: JobContext) -> int:
        return sum(ctx.track([1, 2, 3, 4]))

    job = fl.give("work")
    fl.drain()
    assert fl.value(job) == 10
    assert (fl.look(job).progress, fl.look(job).progress_message) == (100.0, "4 of 4")


@pytest.mark.slow
def test_a_process_reports_like_the_others(fl: Engine) -> None:
    fl.job_type("work", isolation="process", backoff=[0], max_retries=1)(handlers.report_and_fail_once)
    job = fl.give("work")
    fl.drain()
    assert fl.value(job) == {"resumed from": {"page": 3}}
    assert fl.look(job).progress == 30.0
    assert lines(fl, job) == [(1, "info", "page 3"), (2, "warning", "resuming")]
    assert fl.artifact(job.id, "page.txt", organization="acme") == b"from attempt 2"


def test_the_next_attempt_resumes_from_the_last_checkpoint(fl: Engine) -> None:
    seen: list[bytes] = []

    @fl.job_type("work")
    async def work(ctx: JobContext) -> None:
        await ctx.artifact("a.txt", "data")
        seen.append(await fl.aio.artifact(ctx.job_id, "a.txt", organization="acme"))

    fl.give("work")
    fl.drain()
    assert seen == [b"data"]


def test_a_file_that_the_storage_refuses_costs_no_log_line_and_not_the_job(fl: Engine, tmp_path: Path) -> None:
    """It is refused at once, although it may be for an outage: what waits for a storage keeps a slot."""

    @fl.job_type("work")
    def work(ctx: JobContext) -> str:
        ctx.artifact("a.txt", "data")
        folder.rename(tmp_path / "gone")
        folder.touch()  # no folder any more
        ctx.log("before")
        with pytest.raises(StorageUnavailable):
            ctx.artifact("b.txt", "data")
        ctx.log("after")
        return "done"

    folder = tmp_path / "artifacts"
    job = fl.give("work")
    fl.drain()
    assert fl.value(job) == "done"
    assert [message for _, _, message in lines(fl, job)] == ["before", "after"]


@pytest.mark.slow
def test_many_jobs_may_report_at_the_same_time(fl: Engine) -> None:
    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext) -> None:
        for number in range(5):
            ctx.log(f"line {number}")
            ctx.progress(number)
            await asyncio.sleep(0)

    jobs = [fl.give("work") for _ in range(30)]
    fl.drain()
    for job in jobs:
        assert [message for _, _, message in lines(fl, job)] == [f"line {number}" for number in range(5)]
        assert fl.look(job).progress == 4.0


def test_an_artifact_lies_under_its_organization(fl: Engine, tmp_path: Path) -> None:
    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        ctx.artifact("report.pdf", b"%PDF")

    job = fl.give("work")
    fl.drain()
    (artifact,) = fl.result(job.id, organization="acme").artifacts
    assert (artifact.name, artifact.size, artifact.content_type) == ("report.pdf", 4, "application/pdf")
    assert fl.artifact(job.id, "report.pdf", organization="acme") == b"%PDF"
    (file,) = files(tmp_path)
    assert file.relative_to(tmp_path / "artifacts").parts[0] == "acme"


ODD_NAMES = (
    *(".hidden", "-rf", "trailing.", " a ", "a ", "%2E%2E", "CON", "a:b", "a=b", "*?<>|'\"`$", "~"),
    *("\N{PILE OF POO}" * 200, "ü" * 200, "\u00e9", "e\u0301"),  # the last two look alike
)


@pytest.mark.slow
def test_files_of_odd_names_are_kept_and_handed_out_and_deleted(fl: Engine, tmp_path: Path) -> None:
    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        for name in ODD_NAMES:
            ctx.artifact(name, name)
        raise PermanentError("after all")

    job = fl.give("work")
    fl.drain()
    kept = fl.result(job.id, organization="acme").artifacts
    assert {one.name for one in kept} == set(ODD_NAMES)
    for name in ODD_NAMES:
        assert fl.artifact(job.id, name, organization="acme") == name.encode()
    assert {file.relative_to(tmp_path).parts[:2] for file in files(tmp_path)} == {("artifacts", "acme")}
    fl.dead_letters.delete(job.id, organization="acme")
    fl.drain()
    assert files(tmp_path) == []


ODD_ORGANIZATIONS = (
    *(".", "..", "...", "%2E", "%2E%2E", ".hidden", "a b", " ", "\\", "..\\..", "a=b", "a\u0301", "\u00e1"),
    *("x" * 140, "ü" * 140, "ü" * 139 + "u", "\N{PILE OF POO}" * 140, " " * 140),
)


def add(fl: Engine, organization: str) -> None:
    """Add an organization with a name that only a host's directory can have: Fairlane refuses it."""

    def work(connection: Connection) -> bool:
        now = fl.database.clock.now(connection)
        values = {"id": organization, "name": organization, "status": OrganizationStatus.ACTIVE, "created_at": now}
        return organizations.create(connection, values)

    assert fl.database.write(work)


def test_organizations_of_odd_names_have_folders_of_their_own(fl: Engine, tmp_path: Path) -> None:
    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        ctx.artifact("a.txt", ctx.organization)
        raise PermanentError("after all")

    jobs = {}
    for organization in ODD_ORGANIZATIONS:
        add(fl, organization)
        jobs[organization] = fl.give("work", organization=organization)
    fl.drain()
    for organization, job in jobs.items():
        assert fl.artifact(job.id, "a.txt", organization=organization) == organization.encode()
    found = [file.relative_to(tmp_path / "artifacts") for file in files(tmp_path)]
    assert {len(path.parts) for path in found} == {3}
    assert len({path.parts[0] for path in found}) == len(ODD_ORGANIZATIONS)
    for organization, job in jobs.items():
        fl.dead_letters.delete(job.id, organization=organization)
    fl.drain()
    assert files(tmp_path) == []


def test_artifacts_are_deleted_with_their_job(fl: Engine, tmp_path: Path) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None:
        await ctx.artifact("report.pdf", b"%PDF")
        raise PermanentError("after all")

    job = fl.give("work")
    fl.drain()
    assert len(files(tmp_path)) == 1
    fl.dead_letters.delete(job.id, organization="acme")
    fl.drain()  # a worker's clean-up deletes the file
    assert files(tmp_path) == []


def files(directory: Path) -> list[Path]:
    return [path for path in (directory / "artifacts").rglob("*") if path.is_file()]


def test_an_artifact_of_the_next_attempt_takes_the_place_of_the_earlier(fl: Engine) -> None:
    @fl.job_type("work", backoff=[0])
    def work(ctx: JobContext) -> None:
        ctx.artifact("report.txt", f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise ConnectionError

    job = fl.give("work")
    fl.drain()
    assert fl.artifact(job.id, "report.txt", organization="acme") == b"attempt 2"
    assert len(fl.result(job.id, organization="acme").artifacts) == 1


def test_reports_come_from_any_thread_of_a_handler(fl: Engine) -> None:
    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        helper = threading.Thread(target=ctx.log, args=("from a helper",))
        helper.start()
        helper.join()

    job = fl.give("work")
    fl.drain()
    assert lines(fl, job) == [(1, "info", "from a helper")]
